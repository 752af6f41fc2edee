package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// release is what testdata/<version>/release.json says of the data directory beside it.
type release struct {
	Commit string `json:"commit"`
	Made   string `json:"made"` // a day
	// Peers are in peers.db.
	Peers int `json:"peers"`
	// Boots are the sentry's starts. Events of those before the last are in the datasets or in
	// the stream; those of the last are in the spool alone.
	Boots []releaseBoot `json:"boots"`
	// Logged events are in the event logs of another sentry.
	Logged int `json:"logged"`
}

type releaseBoot struct {
	Sentry string `json:"sentry"`
	Boot   string `json:"boot"`
	Last   uint64 `json:"last"` // counter of its last event
}

// TestMakeReleaseFixture writes the fixture of VALTRACK_RELEASE, such as v0.1.0: `make
// release-fixture` sets it. It crawls a devnet of eight nodes and kills every process, so that
// the archive has what an upgrade may find: merged and unmerged parts, write-ahead logs, messages
// that were delivered and not acknowledged, and events that only the spool has.
func TestMakeReleaseFixture(t *testing.T) {
	version := os.Getenv("VALTRACK_RELEASE")
	if version == "" {
		t.Skip("VALTRACK_RELEASE is not set: make release-fixture")
	}
	dir := t.TempDir()
	f := fixture{t: t, dir: dir, data: filepath.Join(dir, "data"), network: filepath.Join(dir, "net"), keys: map[string]releaseBoot{}}
	devnet := start(t, "devnet", "--devnet-nodes", "8", "--devnet-slot", "500ms", "--devnet-dir", f.network)
	devnet.waitLog(t, "wrote the devnet files", time.Minute)

	f.crawl("1s", "5s", "merged parts and watched nodes", func() bool {
		merged, err := filepath.Glob(filepath.Join(f.data, "visit_events.parquet", "part-????????-????????.parquet"))
		return err == nil && len(merged) > 0 && exists(f.data, "changes.ndjson") && f.watched() >= 4
	})
	valtrack(t, "purge", "--data-dir", f.data, f.first())
	f.crawl("1h", "1h", "handshakes in the stream", func() bool { return f.spooled("metadata_received") >= 4 })
	f.pending()

	away := "nats://127.0.0.1:" + freePort(t)
	sentry := f.sentry("--data-dir", f.data, "--nats", away)
	waitFor(t, 2*time.Minute, "handshakes in the spool", func() bool { return f.spooled("metadata_received") >= 4 }, sentry)
	kill(sentry)
	f.count()

	second := filepath.Join(dir, "second")
	logger := f.sentry("--data-dir", second)
	waitFor(t, 2*time.Minute, "handshakes in the event log", func() bool { return lineCount(filepath.Join(second, "metadata_events.log")) >= 4 }, logger)
	logger.stop(t, syscall.SIGTERM, 0)
	kill(devnet)
	logs, err := filepath.Glob(filepath.Join(second, "*_events.log"))
	if err != nil || len(logs) != 3 {
		t.Fatal(logs, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, log := range logs {
		f.Logged += lineCount(log)
		if err := os.Rename(log, filepath.Join(dir, "logs", filepath.Base(log))); err != nil {
			t.Fatal(err)
		}
	}
	f.write(filepath.Join("testdata", version))
}

// fixture is one in the making.
type fixture struct {
	t                  *testing.T
	dir, data, network string
	boots              []string
	keys               map[string]releaseBoot
	release
}

// crawl runs sentry, stream and consumer until ok, and kills them.
func (f *fixture) crawl(segmentAge, compactEvery, what string, ok func() bool) {
	f.t.Helper()
	run := start(f.t, "run", "--data-dir", f.data, "--network-dir", f.network, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0",
		"--http", "127.0.0.1:0", "--segment-age", segmentAge, "--compact-every", compactEvery, "--watch-epochs", "1", "--revisit", "1", "--log-format", "text")
	run.waitLog(f.t, "msg=crawling", time.Minute)
	waitFor(f.t, 3*time.Minute, what, ok, run)
	kill(run)
	f.count()
}

func (f *fixture) sentry(more ...string) *process {
	f.t.Helper()
	args := []string{"sentry", "--network-dir", f.network, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--revisit", "1", "--log-format", "text"}
	s := start(f.t, append(args, more...)...)
	s.waitLog(f.t, "msg=crawling", time.Minute)
	return s
}

func kill(p *process) {
	p.cmd.Process.Kill()
	<-p.done
}

func exists(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}

// boot is that of the sentry's last start.
func (f *fixture) boot() string {
	f.t.Helper()
	var id struct {
		Sentry string      `json:"sentry_id"`
		Boot   json.Number `json:"boot"`
	}
	text, err := os.ReadFile(filepath.Join(f.data, "sentry.json"))
	if err == nil {
		err = json.Unmarshal(text, &id)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return id.Sentry + "-" + id.Boot.String()
}

// watched counts the nodes with a watched epoch.
func (f *fixture) watched() (n int) {
	f.t.Helper()
	for _, node := range reported(f.t, f.data) {
		if epochs, ok := node["epochs_watched"].(float64); ok && epochs > 0 {
			n++
		}
	}
	return n
}

func (f *fixture) first() string { return fmt.Sprint(reported(f.t, f.data)[0]["id"]) }

// spoolText is all that the spool has on disk.
func (f *fixture) spoolText() (text []byte) {
	f.t.Helper()
	segments, err := filepath.Glob(filepath.Join(f.data, "spool", "*.spool"))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, s := range segments {
		if b, err := os.ReadFile(s); err == nil { // it may have been removed meanwhile
			text = append(text, b...)
		}
	}
	return text
}

// spooled counts the events of a subject that the last boot has in the spool.
func (f *fixture) spooled(subject string) int {
	f.t.Helper()
	return len(regexp.MustCompile(f.boot()+`-\d+events\.`+subject).FindAll(f.spoolText(), -1))
}

// count notes the last event of each boot, which is in the datasets or in the spool: that keeps
// what consumers have not stored.
func (f *fixture) count() {
	f.t.Helper()
	if boot := f.boot(); !slices.Contains(f.boots, boot) {
		f.boots = append(f.boots, boot)
	}
	note := func(sentry, boot string, n uint64) {
		key := sentry + "-" + boot
		f.keys[key] = releaseBoot{sentry, boot, max(n, f.keys[key].Last)}
	}
	for _, m := range regexp.MustCompile(`([A-Z0-9]{26})-(\d+)-(\d+)events\.`).FindAllSubmatch(f.spoolText(), -1) {
		n, err := strconv.ParseUint(string(m[3]), 10, 64)
		if err != nil {
			f.t.Fatal(err)
		}
		note(string(m[1]), string(m[2]), n)
	}
	for _, s := range checked(f.t, f.data).Sentries {
		note(s.Sentry, s.Boot, s.Last)
	}
}

// pending is an error unless messages were delivered and not acknowledged. It looks at a copy.
func (f *fixture) pending() {
	f.t.Helper()
	store := filepath.Join(f.t.TempDir(), "jetstream")
	if err := os.CopyFS(store, os.DirFS(filepath.Join(f.data, "jetstream"))); err != nil {
		f.t.Fatal(err)
	}
	port := freePort(f.t)
	server := startNATS(f.t, port, store)
	defer kill(server)
	if c := durable(f.t, "nats://127.0.0.1:"+port); c.NumAckPending == 0 {
		f.t.Fatalf("no message waits for its acknowledgement: %+v", c)
	}
}

type durableState struct {
	Name          string `json:"name"`
	NumAckPending int    `json:"num_ack_pending"`
	NumPending    int    `json:"num_pending"`
}

// durable is the state of the stream's only consumer.
func durable(t *testing.T, url string) (c durableState) {
	t.Helper()
	names := consumerNames(t, url)
	if len(names) != 1 {
		t.Fatalf("durables %v", names)
	}
	if err := json.Unmarshal(natsCLI(t, url, "consumer", "info", "EVENTS", names[0], "--json"), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// write writes the archive and what it has to give.
func (f *fixture) write(to string) {
	f.t.Helper()
	for _, boot := range f.boots {
		f.Boots = append(f.Boots, f.keys[boot])
	}
	if len(f.Boots) != 3 || f.Boots[0].Last == 0 || f.Boots[1].Last == 0 || f.Boots[2].Last == 0 || len(f.keys) != 3 {
		f.t.Fatalf("boots %+v of %v", f.Boots, slices.Collect(maps.Keys(f.keys)))
	}
	commit, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		f.t.Fatal(err)
	}
	f.Commit, f.Made = strings.TrimSpace(string(commit)), time.Now().UTC().Format(time.DateOnly)
	f.Peers = len(sqlite(f.t, filepath.Join(f.data, "peers.db"), "SELECT 1 FROM peers"))
	if err := os.MkdirAll(to, 0o755); err != nil {
		f.t.Fatal(err)
	}
	text, err := json.MarshalIndent(f.release, "", "  ")
	if err != nil {
		f.t.Fatal(err)
	}
	archive, err := filepath.Abs(filepath.Join(to, "data.tar.gz"))
	if err != nil {
		f.t.Fatal(err)
	}
	tar := exec.Command("tar", "-c", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--exclude=*.lock", "--exclude=*.sock", "--exclude=truth*", "-I", "gzip -n9", "-f", archive, "data", "net", "logs")
	tar.Dir = f.dir
	if out, err := tar.CombinedOutput(); err != nil {
		f.t.Fatalf("tar: %v\n%s", err, out)
	}
	for name, content := range map[string][]byte{
		"release.json": append(text, '\n'),
		"report.json":  indented(f.t, valtrack(f.t, "report", "--json", "--data-dir", f.data)),
		"nodes.ndjson": valtrack(f.t, "report", "--nodes", "--json", "--data-dir", f.data),
	} {
		if err := os.WriteFile(filepath.Join(to, name), content, 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
}

func indented(t *testing.T, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
