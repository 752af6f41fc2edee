package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// testdata/before-places.tar.gz is what commit eff62e7, the last whose datasets have no
// columns of places, left of a devnet of eight nodes: the data directory of its consumer,
// merged and unmerged parts in it, the network's directory, and the event logs of a second
// sentry. `make upgrade-fixture` writes it.
const beforePlaces = "testdata/before-places.tar.gz"

// A data directory without the columns of places is taken over by this version's consumer
// while events come in. No event is lost, none is stored twice, and readers that refuse
// files of different columns open every table before, during and after.
//
// With VALTRACK_EARLIER, a binary of that commit, the directory is written by it under load
// first; with VALTRACK_READERS, a Python that has test/readers/requirements.txt, Polars and
// ClickHouse read too. `make upgrade` sets both.
func TestPlacesAreAddedUnderLoad(t *testing.T) {
	port := freePort(t)
	url := "nats://127.0.0.1:" + port
	server := startNATS(t, port, t.TempDir())
	var u upgrade
	if earlier := os.Getenv("VALTRACK_EARLIER"); earlier != "" {
		u = crawlWithEarlier(t, earlier, url)
	} else {
		u = unpackEarlier(t, url)
	}
	before := storedEvents(t, u.data)
	if before == 0 || hasPlaces(t, u.data, "validator_metadata_events") || hasPlaces(t, u.data, "peer_estimates") {
		t.Fatalf("%d events before; there may be none of places yet", before)
	}
	readers := watch(t, u.data)
	readers.await(t, 1)

	load := u.load()
	consumer := start(t, "consumer", "--nats", url, "--data-dir", u.data, "--network-dir", u.network, "--segment-age", "1s", "--compact-every", "1h", "--http", "", "--log-format", "text")
	consumer.waitLog(t, "msg=consuming", time.Minute)
	for _, want := range []string{"adding this version's columns", "added this version's columns"} {
		if !strings.Contains(consumer.text(), want) {
			t.Errorf("the consumer's log lacks %q:\n%s", want, consumer.tail())
		}
	}
	refusedMigration(t, u.data)
	want := load(consumer, server)
	waitFor(t, time.Minute, "everything stored", func() bool { return storedEvents(t, u.data) >= want }, consumer, server)
	readers.await(t, 2)
	consumer.stop(t, syscall.SIGTERM, 0)
	readers.end(t)

	if got := storedEvents(t, u.data); got != want || got <= before {
		t.Errorf("%d events stored, want %d; %d were there before", got, want, before)
	}
	var check struct {
		OK      bool   `json:"ok"`
		Missing uint64 `json:"missing"`
	}
	if err := json.Unmarshal(valtrack(t, "check", "data", "--json", "--data-dir", u.data), &check); err != nil || !check.OK || check.Missing != 0 {
		t.Errorf("check data: %+v, %v", check, err)
	}
	for _, table := range []string{"validator_metadata_events", "peer_estimates"} {
		if !hasPlaces(t, u.data, table) {
			t.Errorf("%s has no places", table)
		}
	}
	places, empty := 0, 0
	for _, row := range duckdb(t, filepath.Join(u.data, "validator_metadata_events.parquet")) {
		if row["geo_country"] != nil {
			places++
		} else {
			empty++
		}
	}
	if places == 0 || empty == 0 {
		t.Errorf("%d handshakes have a place and %d have none: want some of before and some of after", places, empty)
	}
	t.Logf("%d events before, %d after; reads: %s", before, want, readers)
}

// upgrade is a data directory of an earlier version.
type upgrade struct {
	data, network string
	// load begins to publish. What it returns waits for the end of that, and gives how many
	// events there are to be in the data directory then.
	load func() (end func(...*process) int)
}

func unpackEarlier(t *testing.T, url string) upgrade {
	t.Helper()
	dir := t.TempDir()
	unpack(t, beforePlaces, dir)
	logs, err := filepath.Glob(filepath.Join(dir, "logs", "*.log"))
	if err != nil || len(logs) != 3 {
		t.Fatalf("event logs %v, %v", logs, err)
	}
	data := filepath.Join(dir, "data")
	return upgrade{data, filepath.Join(dir, "net"), func() func(...*process) int {
		want := storedEvents(t, data)
		for _, log := range logs {
			want += len(readLines[json.RawMessage](t, log))
		}
		p := start(t, append([]string{"replay", "--nats", url}, logs...)...)
		return func(...*process) int {
			<-p.done
			if p.err != nil {
				t.Fatalf("replay: %v\n%s", p.err, p.tail())
			}
			return want
		}
	}}
}

// crawlWithEarlier has the earlier version store what a sentry of this version publishes,
// for long enough that there are merged parts, and kills it. The sentry goes on.
func crawlWithEarlier(t *testing.T, earlier, url string) upgrade {
	t.Helper()
	data, net := t.TempDir(), startDevnet(t, 60)
	old := startProgram(t, earlier, "consumer", "--nats", url, "--data-dir", data, "--network-dir", net, "--segment-age", "1s", "--compact-every", "5s", "--log-format", "text")
	old.waitLog(t, "consuming", 30*time.Second)
	sentry := start(t, "sentry", "--nats", url, "--network-dir", net, "--data-dir", t.TempDir(), "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--log-format", "text")
	merged := func() bool {
		found, err := filepath.Glob(filepath.Join(data, "validator_metadata_events.parquet", "part-????????-????????.parquet"))
		return err == nil && len(found) >= 5
	}
	waitFor(t, 3*time.Minute, "merged parts", merged, old, sentry)
	old.cmd.Process.Kill()
	<-old.done
	return upgrade{data, net, func() func(...*process) int {
		return func(others ...*process) int {
			before := storedEvents(t, data)
			waitFor(t, time.Minute, "100 more events", func() bool { return storedEvents(t, data) >= before+100 }, append(others, sentry)...)
			sentry.stop(t, syscall.SIGTERM, 0)
			return published(t, sentry)
		}
	}}
}

// refusedMigration checks that nobody migrates a directory that a consumer writes.
func refusedMigration(t *testing.T, data string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "migrate", "--data-dir", data)
	cmd.Env = environment()
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "process") {
		t.Errorf("migrate beside a consumer: %v\n%s", err, out)
	}
}

func hasPlaces(t *testing.T, data, table string) bool {
	t.Helper()
	rows := duckdb(t, filepath.Join(data, table+".parquet"))
	if len(rows) == 0 {
		t.Fatalf("%s is empty", table)
	}
	_, ok := rows[0]["geo_country"]
	return ok
}

// readers read a data directory again and again.
type readers struct {
	mu     sync.Mutex
	rounds map[string]int // complete ones, by reader
	rows   map[string]float64
	again  int
	wrong  []string
	stdin  []io.Closer
	done   sync.WaitGroup
}

// watch starts the readers that are installed.
func watch(t *testing.T, data string) *readers {
	t.Helper()
	r := &readers{rounds: map[string]int{}, rows: map[string]float64{}}
	commands := map[string][]string{"duckdb": {"node", "../duckdb/watch.mjs", data, "50"}}
	if python := os.Getenv("VALTRACK_READERS"); python != "" {
		commands["python"] = []string{python, "../readers/watch.py", data, "50"}
	}
	for name, args := range commands {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stderr = os.Stderr
		stdin, err1 := cmd.StdinPipe()
		stdout, err2 := cmd.StdoutPipe()
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		r.stdin = append(r.stdin, stdin)
		r.done.Go(func() {
			r.collect(name, stdout)
			cmd.Wait()
		})
	}
	return r
}

// collect reads a reader's lines: each read has all rows of the one before, each row once.
func (r *readers) collect(name string, from io.Reader) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		var line struct {
			Reader, Table, Error string
			Rows, Twice          float64
			Again                int
		}
		err := json.Unmarshal(lines.Bytes(), &line)
		reader := line.Reader
		if reader == "" {
			reader = name
		}
		r.mu.Lock()
		r.again += line.Again
		key := reader + " on " + line.Table
		switch {
		case err != nil || line.Error != "":
			r.wrong = append(r.wrong, fmt.Sprintf("%s: %s %v", key, line.Error, err))
		case line.Twice > 0 || line.Rows < r.rows[key]:
			r.wrong = append(r.wrong, fmt.Sprintf("%s: %.0f rows, %.0f twice, %.0f before", key, line.Rows, line.Twice, r.rows[key]))
		}
		r.rows[key] = line.Rows
		if line.Table == "peer_estimates" { // the last of a round
			r.rounds[reader]++
		}
		r.mu.Unlock()
	}
}

// await waits until every reader has read all tables so many times more.
func (r *readers) await(t *testing.T, more int) {
	t.Helper()
	r.mu.Lock()
	want := map[string]int{"duckdb": r.rounds["duckdb"] + more}
	if os.Getenv("VALTRACK_READERS") != "" {
		want["polars"], want["clickhouse"] = r.rounds["polars"]+more, r.rounds["clickhouse"]+more
	}
	r.mu.Unlock()
	waitFor(t, time.Minute, fmt.Sprintf("rounds %v of the readers", want), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for reader, n := range want {
			if r.rounds[reader] < n {
				return false
			}
		}
		return true
	})
}

func (r *readers) end(t *testing.T) {
	t.Helper()
	for _, in := range r.stdin {
		in.Close()
	}
	r.done.Wait()
	if len(r.wrong) > 0 {
		slices.Sort(r.wrong)
		t.Errorf("%d reads were wrong, such as\n%s", len(r.wrong), strings.Join(slices.Compact(r.wrong), "\n"))
	}
}

func (r *readers) String() string { return fmt.Sprintf("rounds %v, %d reads again", r.rounds, r.again) }
