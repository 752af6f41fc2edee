// Package soak holds the sentry against a network whose nodes come, go, move and
// change their keys: who is up must be visited in every epoch, politely, and memory
// must stay as it is.
//
// `go test` runs a few epochs. `make soak-sentry` runs 24 hours' worth: 225 epochs
// of slots of 150 ms, eighteen minutes. `make soak-long` runs sentry, consumer and broker
// for SOAK_HOURS of real time, and fails when memory, goroutines, descriptors or files
// keep growing.
package soak

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/cli"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/tracker"
)

const (
	// asProgram makes this test binary valtrack itself.
	asProgram = "VALTRACK_SOAK_PROGRAM"
	// epochsVariable is the number of epochs of a long run.
	epochsVariable = "SOAK_EPOCHS"
	shortEpochs    = 5
	// warmUp is how many epochs the sentry has for its first crawl.
	warmUp       = 2
	slotDuration = 150 * time.Millisecond
	// longNodes is so many that 1 % of those that are up are two.
	longNodes = 250
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		tracker.HistoryHours = soakHistoryHours
		os.Exit(cli.ExitCode(cli.Main(context.Background(), os.Args, os.Stdout, os.Stderr)))
	}
	if flag.Parse(); testing.Short() {
		os.Exit(0) // a network in real time
	}
	os.Exit(m.Run())
}

// TestChurn: in the long run 99 % of the nodes that are up for a whole epoch, and
// were in the one before, are visited in it, every epoch. The short one, which
// shares a machine with other tests, wants that each of them is visited at all.
func TestChurn(t *testing.T) {
	epochs, nodes := shortEpochs, 40
	if text := os.Getenv(epochsVariable); text != "" {
		var err error
		if epochs, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s=%q: %v", epochsVariable, text, err)
		}
		nodes = longNodes
	}
	long := epochs > shortEpochs
	dir := filepath.Join(t.TempDir(), "devnet")
	d, err := devnet.Start(t.Context(), devnet.Config{
		Nodes: nodes, Seed: 3, Dir: dir, SlotDuration: slotDuration,
		Churn: devnet.Churn{Leave: 0.02, Return: 0.25, Move: 0.01, Rekey: 0.01},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close the devnet: %v", err)
		}
	})
	data := filepath.Join(t.TempDir(), "sentry")
	p := startSentry(t, dir, data)
	clock := d.Network().Clock
	first := clock.EpochAt(time.Now()) + warmUp
	memory := p.watch(t, clock, first+eth2.Epoch(epochs))
	p.stop(t)

	visits := readVisits(t, data)
	covered := coverage(d, visits, first, first+eth2.Epoch(epochs))
	reportCoverage(t, covered, long)
	checkManners(t, d, visits, long)
	if long {
		checkMemory(t, memory)
	}
}

// program is a running sentry.
type program struct {
	cmd      *exec.Cmd
	log      *os.File
	done     chan error
	replaced bool // another process continues its log
}

// startSentry starts a sentry, with options in place of those for a small network.
func startSentry(t *testing.T, dir, data string, options ...string) *program {
	t.Helper()
	if len(options) == 0 {
		options = []string{"--max-connections", "200", "--max-watched", "30"}
	}
	args := []string{"sentry", "--network-dir", dir, "--data-dir", data, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0"}
	return startProgram(t, filepath.Join(t.TempDir(), "sentry.log"), "", append(args, options...)...)
}

// startProgram starts a program, valtrack when path is empty. What it logs goes to the end
// of a file, whose last lines a test that fails shows.
func startProgram(t *testing.T, log, path string, args ...string) *program {
	t.Helper()
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		path = self
	}
	p := &program{cmd: exec.Command(path, args...), done: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	var err error
	if p.log, err = os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if t.Failed() && !p.replaced {
			text, _ := os.ReadFile(log)
			t.Logf("%s:\n%s", filepath.Base(log), text[max(0, len(text)-4000):])
		}
		_ = p.log.Close()
	})
	return p
}

// watch waits for the beginning of epoch end, and reads the sentry's memory once an
// epoch: resident bytes, 0 where the system does not say.
func (p *program) watch(t *testing.T, clock eth2.Clock, end eth2.Epoch) (memory []int64) {
	t.Helper()
	for e := clock.EpochAt(time.Now()) + 1; e <= end; e++ {
		select {
		case err := <-p.done:
			t.Fatalf("the sentry ended in epoch %d: %v", e, err)
		case <-time.After(time.Until(clock.EpochStart(e))):
		}
		if n, err := resident(p.cmd.Process.Pid); err == nil {
			memory = append(memory, n)
		}
	}
	return memory
}

func (p *program) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.done:
		if err != nil {
			t.Fatalf("the sentry: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the sentry still runs a minute after SIGTERM")
	}
}

// epochCoverage is one epoch's.
type epochCoverage struct {
	epoch   eth2.Epoch
	live    int
	missing []string // who, and why it seems
}

// coverage lists, for each epoch of [from, to), the honest nodes that were up in all of it
// and of the one before, and which of them had no visit.
func coverage(d *devnet.Devnet, visits map[string][]visit, from, to eth2.Epoch) []epochCoverage {
	var out []epochCoverage
	clock := d.Network().Clock
	for e := from; e < to; e++ {
		c := epochCoverage{epoch: e}
		start, end := clock.EpochStart(e), clock.EpochStart(e+1)
		for _, n := range d.Truth().LiveDuring(clock.EpochStart(e-1).Add(slotDuration), end.Add(-slotDuration)) {
			if n.Hostile {
				continue
			}
			c.live++
			if !slices.ContainsFunc(visits[n.PeerID], func(v visit) bool { return v.good() && v.overlaps(start, end) }) {
				c.missing = append(c.missing, missed(d, n, visits[n.PeerID], start, end))
			}
		}
		out = append(out, c)
	}
	return out
}

// missed names a node without a visit from start to end: since when it has been up,
// and what the last tries before end came to, in epochs after start.
func missed(d *devnet.Devnet, n devnet.Node, tries []visit, start, end time.Time) string {
	epochs := func(at time.Time) float64 { return at.Sub(start).Seconds() / end.Sub(start).Seconds() }
	text := fmt.Sprintf("node %d (%s)", n.Index, n.Client)
	for _, life := range d.Truth().Lives(n.PeerID) {
		if life.From.Before(start) && (life.To.IsZero() || life.To.After(start)) {
			text += fmt.Sprintf(", up since %.2f", epochs(life.From))
		}
	}
	tries = slices.DeleteFunc(slices.Clone(tries), func(v visit) bool { return v.Started > end.UnixMilli() })
	for _, v := range tries[max(0, len(tries)-3):] {
		text += fmt.Sprintf(", %s at %.2f", v.Outcome, epochs(time.UnixMilli(v.Started)))
	}
	return text
}

func reportCoverage(t *testing.T, covered []epochCoverage, long bool) {
	t.Helper()
	live, missing, worst := 0, 0, 1.0
	for _, c := range covered {
		live, missing = live+c.live, missing+len(c.missing)
		worst = min(worst, 1-float64(len(c.missing))/float64(max(1, c.live)))
		if long && 100*len(c.missing) > c.live {
			t.Errorf("epoch %d: %d of %d nodes without a visit, among them:\n%s", c.epoch, len(c.missing), c.live,
				strings.Join(c.missing[:min(len(c.missing), 5)], "\n"))
		}
	}
	t.Logf("%d epochs: %d of %d node epochs covered, %.2f %% in the worst epoch", len(covered), live-missing, live, 100*worst)
	if live == 0 {
		t.Fatal("no node was up")
	}
	if share := 1 - float64(missing)/float64(live); long && share < 0.99 {
		t.Errorf("coverage %.2f %%, want 99", 100*share)
	}
	if long {
		return
	}
	last := covered[len(covered)-1]
	for _, c := range covered {
		last.missing = slices.DeleteFunc(last.missing, func(who string) bool { return !slices.Contains(c.missing, who) })
	}
	if len(last.missing) > 0 {
		t.Errorf("never visited: %v", last.missing)
	}
}

// checkManners holds what the nodes saw of the sentry against facts every client
// insists on. What takes a machine that keeps up is asked of the long run alone.
func checkManners(t *testing.T, d *devnet.Devnet, visits map[string][]visit, long bool) {
	t.Helper()
	var contacts []devnet.Contact
	unused, late, soon, twice := 0, 0, 0, 0
	for _, c := range d.Seen("") {
		// A QUIC handshake that took too long, so that TCP was used, or whose node was
		// about to go.
		if c.Requests == (devnet.Requests{}) {
			unused++
			if c.Others > 0 {
				twice++
			}
			continue
		}
		contacts = append(contacts, c)
		for _, s := range c.Statuses {
			if s.Digest != s.Want {
				t.Errorf("node %d: Status of digest %v, want %v", c.Node, s.Digest, s.Want)
			}
		}
		if c.SaidGoodbye && c.Goodbye != eth2.GoodbyeTooManyPeers {
			t.Errorf("node %d: goodbye %d", c.Node, c.Goodbye)
		}
		if delay, ok := c.StatusDelay(); ok && delay > time.Second {
			late++
		}
	}
	// spacing is the 30 s between two dials, of the short slots.
	spacing := d.Network().Clock.Scale(30 * time.Second)
	for _, g := range devnet.Gaps(contacts) {
		if g < 0 {
			t.Errorf("two connections with one node, for %v", -g)
		}
		if g < spacing {
			soon++
		}
	}
	t.Logf("%d connections and %d unused ones, %d of them beside another, %d with a Status after more than a second, %d sooner than %v after the one before; %d peers visited",
		len(contacts), unused, twice, late, soon, spacing, len(visits))
	if len(contacts) == 0 {
		t.Error("no node saw the sentry")
	}
	const rare = 0.001 // of the connections
	if most := rare * float64(len(contacts)+unused); long && (soon > 0 || float64(late) > most || float64(twice) > most) {
		t.Errorf("%d connections too soon, want none; %d late and %d beside another, want at most %.0f", soon, late, twice, most)
	}
}

// checkMemory compares the last fifth of the run with the second one.
func checkMemory(t *testing.T, samples []int64) {
	t.Helper()
	fifth := len(samples) / 5
	if fifth < 5 {
		return
	}
	middle := func(list []int64) float64 {
		sorted := slices.Sorted(slices.Values(list))
		return float64(sorted[len(sorted)/2]) / (1 << 20)
	}
	before, after := middle(samples[fifth:2*fifth]), middle(samples[4*fifth:])
	t.Logf("memory: %.1f MiB in the second fifth, %.1f MiB in the last, at most %.1f MiB", before, after, float64(slices.Max(samples))/(1<<20))
	const growth, slackMiB = 1.15, 5
	if after > before*growth+slackMiB {
		t.Errorf("memory grew from %.1f to %.1f MiB", before, after)
	}
}
