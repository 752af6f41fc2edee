package e2e

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	_ "modernc.org/sqlite" // the driver
)

// testdata/v* has a directory for each release, which `make release-fixture` wrote:
//
//	data.tar.gz    data/ is what a killed `run`, and a sentry without NATS, left; net/ the network
//	               directory; logs/ the event logs of another sentry
//	release.json   what is in it
//	report.json, nodes.ndjson
//	               what that release's `report` says of data/
//	formats.json   the versions of its formats, as TestFormatsHaveAFixture of the root has them
//	events.ndjson  an event of each type with every field, for internal/event
//	clickhouse*    its tables in ClickHouse, for internal/clickhouse
type upgradeFrom struct {
	release
	fixtures, data, network, logs string
}

// eachRelease runs a test on a fresh copy of what each release left.
func eachRelease(t *testing.T, test func(t *testing.T, r upgradeFrom)) {
	t.Parallel()
	found, err := filepath.Glob("testdata/v*/release.json")
	if err != nil || len(found) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, path := range found {
		fixtures, dir := filepath.Dir(path), t.TempDir()
		t.Run(filepath.Base(fixtures), func(t *testing.T) {
			t.Parallel()
			r := upgradeFrom{readLines[release](t, path)[0], fixtures, filepath.Join(dir, "data"), filepath.Join(dir, "net"), filepath.Join(dir, "logs")}
			unpack(t, filepath.Join(fixtures, "data.tar.gz"), dir)
			test(t, r)
		})
	}
}

// The data directory of every release is read as that release read it, and `run` goes on with it:
// what was in its stream and its spool is stored, once.
func TestUpgradeFromReleases(t *testing.T) {
	eachRelease(t, func(t *testing.T, r upgradeFrom) {
		r.sameFormats(t)
		// Readers open it before any writer does, and change nothing.
		if h := checked(t, r.data); !h.OK {
			t.Errorf("check data before the first start: %+v", h)
		}
		var report map[string]any
		if err := json.Unmarshal(valtrack(t, "report", "--json", "--data-dir", r.data), &report); err != nil {
			t.Fatal(err)
		}
		before := readLines[map[string]any](t, filepath.Join(r.fixtures, "report.json"))[0]
		// It was when the newest handshake was; now a node that is watched is seen, too.
		then, now := before["validators"].(map[string]any), report["validators"].(map[string]any)
		if then["hour"].(float64) > now["hour"].(float64) {
			t.Errorf("report.validators.hour: %f, before %f", now["hour"], then["hour"])
		}
		delete(then, "hour")
		contains(t, "report", before, report)
		want, nodes := readLines[map[string]any](t, filepath.Join(r.fixtures, "nodes.ndjson")), reported(t, r.data)
		if len(nodes) != len(want) {
			t.Errorf("report has %d nodes, want %d", len(nodes), len(want))
		}
		for _, n := range want {
			i := slices.IndexFunc(nodes, func(m map[string]any) bool { return m["id"] == n["id"] })
			if i < 0 {
				t.Errorf("report does not have node %v", n["id"])
				continue
			}
			contains(t, fmt.Sprint("node ", n["id"]), n, nodes[i])
		}

		run := start(t, "run", "--nats", "embedded", "--data-dir", r.data, "--network-dir", r.network, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0",
			"--http", "127.0.0.1:0", "--segment-age", "1s", "--log-format", "text")
		run.waitLog(t, "msg=crawling", time.Minute)
		if want := "peers=" + strconv.Itoa(r.Peers); !strings.Contains(run.text(), want) {
			t.Errorf("the log lacks %q: the peer table was lost\n%s", want, run.tail())
		}
		waitFor(t, 2*time.Minute, "stream and spool are stored", func() bool { return checked(t, r.data).complete(r.Boots) }, run)
		run.stop(t, syscall.SIGTERM, 0)
		h := checked(t, r.data)
		if !h.OK || h.Missing != 0 || !h.complete(r.Boots) {
			t.Errorf("check data: %+v, want %+v complete", h, r.Boots)
		}
		for _, n := range reported(t, r.data) {
			if n["observations"].(float64) > 0 && n["validators"] == nil {
				t.Errorf("node %v has no estimate", n["id"])
			}
		}
	})
}

// A consumer goes on with the stream and the durable of every release: what that has not
// acknowledged is stored once, and so are its event logs.
func TestStreamOfReleases(t *testing.T) {
	eachRelease(t, func(t *testing.T, r upgradeFrom) {
		port := freePort(t)
		url := "nats://127.0.0.1:" + port
		startNATS(t, port, filepath.Join(r.data, "jetstream"))
		before := durable(t, url)
		if before.NumAckPending == 0 {
			t.Errorf("no message waits for its acknowledgement: %+v", before)
		}
		published := r.Boots[:len(r.Boots)-1]
		if checked(t, r.data).complete(published) {
			t.Error("everything of the stream is stored already")
		}
		consumer := start(t, "consumer", "--nats", url, "--data-dir", r.data, "--network-dir", r.network, "--http", "", "--segment-age", "1s", "--log-format", "text")
		consumer.waitLog(t, "msg=consuming", time.Minute)
		logs, err := filepath.Glob(filepath.Join(r.logs, "*.log"))
		if err != nil || len(logs) == 0 {
			t.Fatal(logs, err)
		}
		valtrack(t, append([]string{"replay", "--nats", url}, logs...)...)
		stored := func() (n uint64) {
			for _, s := range checked(t, r.data).Sentries {
				n += s.Stored + s.Removed
			}
			return n
		}
		want := uint64(r.Logged)
		for _, b := range published {
			want += b.Last
		}
		waitFor(t, 2*time.Minute, "stream and logs are stored", func() bool { return stored() >= want }, consumer)
		waitFor(t, time.Minute, "acknowledgements", func() bool { c := durable(t, url); return c.NumAckPending+c.NumPending == 0 }, consumer)
		consumer.stop(t, syscall.SIGTERM, 0)
		if after := durable(t, url); after.Name != before.Name {
			t.Errorf("the durable was %s and is %s", before.Name, after.Name)
		}
		if h := checked(t, r.data); !h.OK || h.Missing != 0 || !h.complete(published) || stored() != want {
			t.Errorf("%d events stored, want %d; check data: %+v", stored(), want, h)
		}
	})
}

// sameFormats compares the files' formats with formats.json.
func (r upgradeFrom) sameFormats(t *testing.T) {
	t.Helper()
	want := readLines[map[string]any](t, filepath.Join(r.fixtures, "formats.json"))[0]
	parts, err := filepath.Glob(filepath.Join(r.data, "*.parquet", "part-*.parquet"))
	segments, err2 := filepath.Glob(filepath.Join(r.data, "spool", "*.spool"))
	if err != nil || err2 != nil || len(parts) == 0 || len(segments) == 0 {
		t.Fatal(parts, segments, err, err2)
	}
	for _, part := range parts {
		if got := schemaOf(t, part); got != fmt.Sprint(want["parts"]) {
			t.Errorf("%s has format %s, want %v", filepath.Base(part), got, want["parts"])
		}
	}
	for _, file := range []string{"tracker.db", "peers.db"} {
		if got := sqlite(t, filepath.Join(r.data, file), "PRAGMA user_version")[0]; got != fmt.Sprint(want[file]) {
			t.Errorf("%s has format %s, want %v", file, got, want[file])
		}
	}
	frames, err := os.ReadFile(segments[0])
	if got := fmt.Sprintf("%q", frames[:min(4, len(frames))]); err != nil || got != want["spool"] {
		t.Errorf("the spool has format %s, want %v: %v", got, want["spool"], err)
	}
}

// schemaOf is the format that a part names in its footer.
func schemaOf(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	part, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	version, _ := part.Lookup("valtrack.schema")
	return version
}

// sqlite gives the first column of a query's rows. It opens a copy.
func sqlite(t *testing.T, path, query string) (values []string) {
	t.Helper()
	dir := t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "copy.db"+suffix), content, 0o600)
		}
		if err != nil && (suffix == "" || !os.IsNotExist(err)) {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "copy.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}

type health struct {
	OK       bool           `json:"ok"`
	Missing  uint64         `json:"missing"`
	Tracker  string         `json:"tracker"`
	Sentries []sentryHealth `json:"sentries"`
}

type sentryHealth struct {
	Sentry, Boot                             string
	Last, Stored, Removed, Rejected, Missing uint64
}

// checked is what `check data` finds, also when it finds fault.
func checked(t *testing.T, data string) (h health) {
	t.Helper()
	cmd := exec.Command(program, "check", "data", "--json", "--data-dir", data)
	cmd.Env = environment()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if json.Unmarshal(out, &h) != nil {
		t.Fatalf("check data: %v\n%s", err, stderr.String())
	}
	return h
}

// complete reports whether all events of these boots are stored, or were purged.
func (h health) complete(boots []releaseBoot) bool {
	for _, b := range boots {
		i := slices.IndexFunc(h.Sentries, func(s sentryHealth) bool { return s.Sentry == b.Sentry && s.Boot == b.Boot })
		if i < 0 || h.Sentries[i].Last != b.Last || h.Sentries[i].Stored+h.Sentries[i].Removed != b.Last {
			return false
		}
	}
	return true
}

// reported are the nodes of `report --nodes`.
func reported(t *testing.T, data string) (nodes []map[string]any) {
	t.Helper()
	for dec := json.NewDecoder(bytes.NewReader(valtrack(t, "report", "--nodes", "--json", "--data-dir", data))); dec.More(); {
		var n map[string]any
		if err := dec.Decode(&n); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// contains checks that a result has all of an earlier one; it may have more fields.
func contains(t *testing.T, where string, want, got any) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s: %v, want %v", where, got, want)
			return
		}
		for key, v := range w {
			field, ok := g[key]
			if !ok {
				t.Errorf("%s has no %s any more, which was %v", where, key, v)
				continue
			}
			contains(t, where+"."+key, v, field)
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			t.Errorf("%s: %v, want %v", where, got, want)
			return
		}
		for i := range w {
			contains(t, fmt.Sprintf("%s[%d]", where, i), w[i], g[i])
		}
	case float64:
		if g, ok := got.(float64); !ok || math.Abs(g-w) > 1e-8*math.Abs(w) { // reports have nine digits
			t.Errorf("%s: %v, want %v", where, got, want)
		}
	default:
		if got != want {
			t.Errorf("%s: %v, want %v", where, got, want)
		}
	}
}
