package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

// kills is how often the programs of these tests die: VALTRACK_KILLS, else 3.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("VALTRACK_KILLS")); err == nil {
		return n
	}
	return 3
}

// network starts a simulated network in a process of its own, which lives as long as the
// test, and returns its directory.
func (w *world) network(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(w.dir, "network")
	p, err := w.valtrack.start(t.Context(), w.dir, "devnet", "devnet", "--devnet-nodes", "20", "--devnet-slot", "250ms", "--devnet-dir", dir, "--json")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	w.procs["devnet"] = p
	w.untilLogged(t, "devnet", 0, "network_dir")
	return dir
}

// killOften starts a valtrack again and again, kills it at random moments once it visits
// nodes, and stops the last one.
func (w *world) killOften(t *testing.T, name role, args ...string) {
	t.Helper()
	t.Logf("-crash.seed %d", *seed)
	random := rand.New(rand.NewPCG(*seed, 6))
	for i := range kills() + 1 {
		from := len(w.logged(t, name))
		p, err := w.valtrack.start(t.Context(), w.dir, string(name), args...)
		if err != nil {
			t.Fatal(err)
		}
		w.procs[name] = p
		w.until(t, patience, "handshakes", func() bool { return lastNumber(w.logged(t, name)[from:], "handshaked=") > 0 })
		if i == kills() {
			if err := p.stop(stopWithin); err != nil {
				t.Fatal(err)
			}
			delete(w.procs, name)
			return
		}
		// Deliberately a time: any moment is as good as another.
		time.Sleep(time.Duration(random.Int64N(int64(1500 * time.Millisecond))))
		p.kill()
	}
}

// lastNumber is the number behind the last of a name in a log; 0 when there is none.
func lastNumber(text, name string) (n int) {
	if at := strings.LastIndex(text, name); at >= 0 {
		fmt.Sscan(text[at+len(name):], &n)
	}
	return n
}

// identity is the sentry's id in a data directory.
func identity(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "sentry.json"))
	var stored map[string]any
	if err == nil {
		err = json.Unmarshal(b, &stored)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(stored["sentry_id"])
}

// `valtrack run`, which has the broker, the sentry and the consumer in one process, dies
// again and again: it keeps its identity, no start fails, no event is lost or stored twice.
func TestRunKilled(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	network, data := w.network(t), filepath.Join(w.dir, "run-data")
	w.killOften(t, "run", "run", "--network-dir", network, "--data-dir", data, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0",
		"--segment-age", "500ms", "--compact-every", "2s", "--status-every", "200ms", "--log-format", "text")
	var stdout, stderr bytes.Buffer
	check := exec.Command(w.valtrack.path, "check", "data", "--data-dir", data, "--json")
	check.Env, check.Stdout, check.Stderr = append(os.Environ(), w.valtrack.env...), &stdout, &stderr
	if err := check.Run(); err != nil {
		t.Errorf("check data: %v\n%s%s", err, stdout.String(), stderr.String())
	}
	var health struct {
		OK       bool   `json:"ok"`
		Missing  uint64 `json:"missing"`
		Sentries []struct {
			Sentry string `json:"sentry"`
			Boot   string `json:"boot"`
			Stored int    `json:"stored"`
		} `json:"sentries"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &health); err != nil {
		t.Fatal(err)
	}
	if !health.OK || health.Missing != 0 || len(health.Sentries) != kills()+1 {
		t.Errorf("ok %v, %d missing, %d boots, want %d\n%s", health.OK, health.Missing, len(health.Sentries), kills()+1, w.logged(t, "run"))
	}
	id := identity(t, data)
	for _, s := range health.Sentries {
		if s.Sentry != id || s.Stored == 0 {
			t.Errorf("%d events of %s-%s, want some, of %s", s.Stored, s.Sentry, s.Boot, id)
		}
	}
}

// A sentry that writes log files dies again and again: each event that a later one follows
// is there once, on a line of its own.
func TestSentryWithLogFilesKilled(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	network, data := w.network(t), filepath.Join(w.dir, "sentry-data")
	w.killOften(t, "sentry-log", "sentry", "--network-dir", network, "--data-dir", data, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0",
		"--status-every", "200ms", "--log-format", "text")
	id, counters := identity(t, data), map[uint64]map[uint64]int{}
	files, err := filepath.Glob(filepath.Join(data, "*_events.log"))
	if err != nil || len(files) != 3 {
		t.Fatalf("log files %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			var e struct {
				Key string `json:"event_key"`
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Errorf("%s:%d: %v: %.100q", filepath.Base(file), n+1, err, line)
				continue
			}
			key, err := event.ParseKey(e.Key)
			if err != nil || key.Sentry != id {
				t.Errorf("%s:%d: key %q, %v, want one of %s", filepath.Base(file), n+1, e.Key, err, id)
				continue
			}
			if counters[key.Boot] == nil {
				counters[key.Boot] = map[uint64]int{}
			}
			counters[key.Boot][key.Counter]++
		}
	}
	if len(counters) != kills()+1 {
		t.Errorf("events of %d boots, want %d", len(counters), kills()+1)
	}
	for boot, times := range counters {
		for n := range uint64(len(times)) {
			if times[n+1] != 1 {
				t.Errorf("boot %d: event %d of %d is there %d times", boot, n+1, len(times), times[n+1])
			}
		}
	}
}
