package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/cli"
)

// processEnv has this binary be one of the programs, so that -race holds for them.
const processEnv = "CRASH_TEST_PROCESS"

func TestMain(m *testing.M) {
	ctx := context.Background()
	switch os.Getenv(processEnv) {
	case "valtrack":
		os.Exit(cli.ExitCode(cli.Main(ctx, os.Args, os.Stdout, os.Stderr)))
	case string(sentry):
		os.Exit(runSentry())
	}
	if flag.Parse(); testing.Short() {
		os.Exit(0) // these run whole processes for a minute
	}
	os.Exit(m.Run())
}

func runSentry() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := sentryMain(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// seed of the moments; a run that failed can be had again, more or less.
var seed = flag.Uint64("crash.seed", uint64(time.Now().UnixNano()), "seed of the moments of the kills")

// patience bounds every wait.
const patience = 60 * time.Second

// stopWithin is what the consumer promises after SIGTERM.
const stopWithin = 10 * time.Second

const testRate, testPeers = 1000, 100

func testWorld(t *testing.T) *world {
	t.Helper()
	return testWorldIn(t, plainName)
}

// testWorldIn is testWorld with another name for the data directory.
func testWorldIn(t *testing.T, dataDir string) *world {
	t.Helper()
	cmd := exec.Command("go", "tool", "-modfile=tools/go.mod", "-n", "nats-server")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	server, err := cmd.Output()
	if err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, stderr.String())
	}
	self := func(name string) program { return program{path: os.Args[0], env: []string{processEnv + "=" + name}} }
	w, err := newWorld(t.Context(), programs{valtrack: self("valtrack"), sentry: self(string(sentry)), server: program{path: strings.TrimSpace(string(server))}},
		t.TempDir(), dataDir, 1, testRate, testPeers)
	if err != nil {
		t.Fatal(err)
	}
	w.patience = patience
	t.Cleanup(w.killAll)
	return w
}

// begin starts the roles' processes, in this order.
func (w *world) begin(t *testing.T, roles ...role) {
	t.Helper()
	for _, r := range roles {
		if err := w.start(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) until(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(drainPoll) {
		if err := w.check(); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("timed out after %v waiting for %s", within, what)
		}
	}
}

// untilPublished waits until the sentry has published n events more.
func (w *world) untilPublished(t *testing.T, n uint64) {
	t.Helper()
	count := func() uint64 {
		told, err := published(w.published())
		if err != nil {
			t.Fatal(err)
		}
		return told[w.boot]
	}
	want := count() + n
	w.until(t, patience+time.Duration(n)*time.Second/testRate, fmt.Sprint(n, " events"), func() bool { return count() >= want })
}

// untilLogged waits for a text in what a role logs from the offset on.
func (w *world) untilLogged(t *testing.T, r role, from int, text string) {
	t.Helper()
	w.until(t, patience, text, func() bool { return strings.Contains(w.logged(t, r)[from:], text) })
}

func (w *world) logged(t *testing.T, r role) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, string(r)+".log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

// end drains and compares.
func (w *world) end(t *testing.T) {
	t.Helper()
	if err := w.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, err := w.verify(t.Context())
	if err = errors.Join(err, v.sound()); err != nil {
		t.Error(err)
		for _, r := range []role{broker, sentry, storer} {
			t.Logf("%s:\n%s", r, w.logged(t, r))
		}
	}
	if v.events == 0 {
		t.Error("no event was stored")
	}
	t.Logf("%d events", v.events)
}

// The short form of `make soak`, in data directories whose names are patterns.
func TestKilledAtRandom(t *testing.T) {
	for _, name := range patternNames() {
		t.Run(name, func(t *testing.T) { killAtRandom(t, name) })
	}
}

func killAtRandom(t *testing.T, dataDir string) {
	t.Parallel()
	t.Logf("-crash.seed %d", *seed)
	w := testWorldIn(t, dataDir)
	r := run{
		kill: []role{broker, sentry, storer}, kills: 6, duckdb: duckdbProject(t),
		random: rand.New(rand.NewPCG(*seed, 1)), between: [2]time.Duration{100 * time.Millisecond, 2500 * time.Millisecond},
	}
	out, err := r.in(t.Context(), w)
	if err = errors.Join(err, out.err()); err != nil {
		t.Error(err)
	}
	if out.kills != r.kills || out.events == 0 || r.duckdb != "" && out.reads.all == 0 {
		t.Errorf("%d kills, %d events, %d reads", out.kills, out.events, out.reads.all)
	}
}

// duckdbProject is empty where DuckDB is not installed, but never in CI.
func duckdbProject(t *testing.T) string {
	project := filepath.Join("..", "duckdb")
	if _, err := os.Stat(filepath.Join(project, "node_modules")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("DuckDB is not installed: run `npm ci` in test/duckdb")
		}
		t.Log("DuckDB is not installed, nobody reads: run `npm ci` in test/duckdb")
		return ""
	}
	return project
}

// The broker is away at the start, and again later, for as long as VALTRACK_OUTAGE
// says (3s).
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	outage, err := time.ParseDuration(os.Getenv("VALTRACK_OUTAGE"))
	if err != nil {
		outage = 3 * time.Second
	}
	n := uint64(outage.Seconds() * testRate)
	w := testWorld(t)
	w.begin(t, sentry, storer)
	w.untilPublished(t, 3*testRate)
	w.begin(t, broker)
	w.untilLogged(t, storer, 0, "consuming")
	w.untilPublished(t, testRate)
	w.procs[broker].kill()
	delete(w.procs, broker)
	w.untilPublished(t, n)
	w.begin(t, broker)
	w.end(t)
}

// The broker comes back with an older copy of its store. Events that the consumer
// has stored since come again, under sequence numbers that others had before.
func TestBrokerWithAnOlderStore(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	w.begin(t, broker, sentry, storer)
	w.untilLogged(t, storer, 0, "consuming")
	w.untilPublished(t, testRate)
	w.procs[broker].kill()
	store, older := filepath.Join(w.dir, "store"), filepath.Join(w.dir, "older")
	if err := os.CopyFS(older, os.DirFS(store)); err != nil {
		t.Fatal(err)
	}
	w.begin(t, broker)
	w.untilPublished(t, 2*testRate)
	w.procs[broker].kill()
	if err := errors.Join(os.RemoveAll(store), os.Rename(older, store)); err != nil {
		t.Fatal(err)
	}
	w.begin(t, broker)
	w.untilLogged(t, sentry, 0, "the broker lost events")
	w.untilPublished(t, testRate)
	w.end(t)
}

// The consumer's disk is full for a while.
func TestConsumerOnAFullDisk(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	free := w.onAFullDisk(t)
	w.untilPublished(t, testRate)
	failures := func() int { return strings.Count(w.logged(t, storer), "cannot write the data directory") }
	for most := failures() + 2; failures() < most; time.Sleep(10 * time.Millisecond) {
		// Opening it again works on a full disk, and that is no reason to be ready.
		if why, err := w.ready(t.Context(), storer); err != nil || !strings.Contains(why, "no space left") {
			t.Fatalf("/readyz on a full disk: %q, %v", why, err)
		}
	}
	if strings.Contains(w.logged(t, storer), "writable again") {
		t.Error("the consumer says that a full disk is writable")
	}
	free()
	w.untilLogged(t, storer, 0, "writable again")
	w.end(t)
}

// SIGTERM meanwhile: it ends well and in time, as the events are in the stream.
func TestConsumerStoppedOnAFullDisk(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	free := w.onAFullDisk(t)
	if err := w.procs[storer].stop(stopWithin); err != nil {
		t.Fatal(err)
	}
	delete(w.procs, storer)
	free()
	w.begin(t, storer)
	w.end(t)
}

// onAFullDisk begins with a consumer that cannot write, until free is called.
func (w *world) onAFullDisk(t *testing.T) (free func()) {
	t.Helper()
	mount := func(flags uintptr, size string) error {
		return syscall.Mount("tmpfs", w.data, "tmpfs", flags, "size="+size)
	}
	switch err := mount(0, "1m"); {
	case errors.Is(err, syscall.EPERM): // no root, or a container that may not
		t.Skipf("cannot mount a small disk: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(w.data, syscall.MNT_DETACH) })
	if err := w.nameConsumer(); err != nil {
		t.Fatal(err)
	}
	w.begin(t, broker, sentry, storer)
	w.untilLogged(t, storer, 0, "no space left")
	w.untilLogged(t, storer, 0, "cannot write the data directory")
	return func() {
		t.Helper()
		if err := mount(syscall.MS_REMOUNT, "512m"); err != nil {
			t.Fatal(err)
		}
	}
}

// SIGTERM under load: the consumer ends well and leaves nothing behind that would
// come again.
func TestConsumerStopped(t *testing.T) {
	t.Parallel()
	t.Logf("-crash.seed %d", *seed)
	random := rand.New(rand.NewPCG(*seed, 2))
	w := testWorld(t)
	w.begin(t, broker, sentry)
	for round := range 5 {
		from := len(w.logged(t, storer))
		w.begin(t, storer)
		if round == 0 { // the durable does not exist before
			w.untilLogged(t, storer, from, "consuming")
		}
		w.untilLogged(t, storer, from, "level=INFO") // it takes signals
		w.untilPublished(t, uint64(random.IntN(testRate)))
		if err := w.procs[storer].stop(stopWithin); err != nil {
			t.Fatal(err)
		}
		delete(w.procs, storer)
		// The server handles acks some time after it has got them; what was not
		// acknowledged would stay for AckWait, which is longer.
		var lag bus.Lag
		var err error
		for deadline := time.Now().Add(stopWithin); ; time.Sleep(drainPoll) {
			if lag, err = w.lag(t.Context()); err == nil && lag.AckPending == 0 || time.Now().After(deadline) {
				break
			}
		}
		if err != nil || lag.AckPending > 0 {
			t.Errorf("after the stop %+v, %v\n%s", lag, err, w.logged(t, storer)[from:])
		}
	}
	w.begin(t, storer)
	w.end(t)
}
