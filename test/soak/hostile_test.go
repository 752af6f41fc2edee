package soak

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/printable"
)

const (
	// hostileVariable is how long the long run among hostile nodes takes.
	hostileVariable = "SOAK_HOSTILE"
	hostileShare    = 0.3
	// Of the honest nodes this share is visited in each epoch, and of the watched time it
	// is theirs.
	honestCoverage = 0.99
	honestWatched  = 0.9
	// What a sentry among hostile nodes may use, as multiples of what it uses without them.
	hostileMemory, hostileCPU = 1.3, 2.0
)

// hostileRun is a run of a sentry.
type hostileRun struct {
	nodes    int
	faults   devnet.Mix
	slot     time.Duration
	epochs   eth2.Epoch // after warmUp
	options  []string
	cpu      time.Duration // what it used, in all
	took     time.Duration
	resident int64 // at most
}

// TestHostile: while three of ten nodes attack, in all ways that devnet.HostilePersonas lists at
// once, the sentry keeps running, visits the honest nodes in every epoch, watches them
// for nearly all of the time and stores no failure that they do not have; and what a
// consumer makes of its events is true of the honest nodes, and their total.
func TestHostile(t *testing.T) {
	run := hostileRun{
		nodes: 60, faults: devnet.HostileMix(hostileShare), slot: shortHostileSlot, epochs: 4,
		options: []string{"--max-connections", "200", "--max-watched", "30", "--watch-epochs", "1"},
	}
	long := false
	if text := os.Getenv(hostileVariable); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s=%q: %v", hostileVariable, text, err)
		}
		long = true
		run.nodes, run.slot = 300, time.Second
		run.epochs = eth2.Epoch(d / (run.slot * devnet.DefaultSlotsPerEpoch))
		run.options = []string{"--max-connections", "400", "--max-watched", "100"}
	}
	run.start(t, long)
	if !long {
		return
	}
	quiet := run
	quiet.nodes, quiet.faults, quiet.epochs = run.nodes*7/10, nil, min(run.epochs, 10)
	quiet.start(t, long)
	checkCost(t, run, quiet)
}

// checkCost compares what the sentry used with hostile nodes and without.
func checkCost(t *testing.T, run, quiet hostileRun) {
	t.Helper()
	t.Logf("with hostile nodes: %.3f cores, %d MiB; without: %.3f cores, %d MiB", run.cores(), run.resident>>20, quiet.cores(), quiet.resident>>20)
	if run.resident == 0 || quiet.resident == 0 || quiet.took == 0 || run.took == 0 {
		t.Error("memory or processor time could not be read: nothing to compare")
		return
	}
	if have := float64(run.resident) / float64(quiet.resident); have > hostileMemory {
		t.Errorf("hostile nodes cost %.2f times the memory, want at most %.1f", have, hostileMemory)
	}
	if have := run.cores() / quiet.cores(); !(have <= hostileCPU) {
		t.Errorf("hostile nodes cost %.2f times the processor time, want at most %.1f", have, hostileCPU)
	}
}

func (r *hostileRun) cores() float64 { return r.cpu.Seconds() / r.took.Seconds() }

// shortHostileSlot makes epochs of 4.8 s.
const shortHostileSlot = 150 * time.Millisecond

func (r *hostileRun) start(t *testing.T, long bool) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "devnet")
	d, err := devnet.Start(t.Context(), devnet.Config{Nodes: r.nodes, Seed: 7, Dir: dir, SlotDuration: r.slot, Faults: r.faults}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Errorf("close the devnet: %v", err)
		}
	}()
	data := filepath.Join(t.TempDir(), "sentry")
	began := time.Now()
	p := startSentry(t, dir, data, r.options...)
	clock := d.Network().Clock
	first := clock.EpochAt(time.Now()) + warmUp
	for _, n := range p.watch(t, clock, first+r.epochs) {
		r.resident = max(r.resident, n)
	}
	if cpu, err := cpuTime(p.cmd.Process.Pid); err == nil {
		r.cpu, r.took = cpu, time.Since(began)
	}
	p.stop(t)
	checkPrintable(t, p.log.Name())

	visits := readVisits(t, data)
	reportCoverage(t, coverage(d, visits, first, first+r.epochs), long)
	checkHonest(t, d, visits, long)
	checkWatched(t, d, data, clock.EpochStart(first))
	stored, state := store(t, d, data)
	checkRows(t, d, stored)
	checkTotal(t, d, state, long)
	t.Logf("%d nodes, %.0f %% hostile, %d epochs: %.3f cores, at most %d MiB", r.nodes, 100*share(r.faults), r.epochs, r.cores(), r.resident>>20)
}

func share(m devnet.Mix) (sum float64) {
	for _, s := range m {
		sum += s
	}
	return sum
}

// checkPrintable: nodes cannot put anything into the log that a terminal obeys, nor a line.
// What they put into events a consumer would reject, see store.
func checkPrintable(t *testing.T, log string) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSuffix(line, "\n"); !printable.Is(line) || !strings.HasPrefix(line, "time=") {
			t.Errorf("in the log: %q", line)
		}
	}
}

// checkHonest: no visit of an honest node failed for a reason that is ours.
func checkHonest(t *testing.T, d *devnet.Devnet, visits map[string][]visit, long bool) {
	t.Helper()
	all, failed := 0, map[string]int{}
	for _, n := range d.Truth().Nodes {
		if n.Hostile {
			continue
		}
		for _, v := range visits[n.PeerID] {
			if all++; v.Outcome != event.OutcomeOK && v.Outcome != event.OutcomeCanceled {
				failed[v.Outcome]++
			}
		}
	}
	t.Logf("%d visits of honest nodes, failed: %v", all, failed)
	if failed[event.OutcomeNegotiation] > 0 {
		t.Errorf("%d visits of honest nodes are stored as failed negotiations", failed[event.OutcomeNegotiation])
	}
	sum := 0
	for _, n := range failed {
		sum += n
	}
	if long && float64(sum) > 0.001*float64(all) {
		t.Errorf("%d of %d visits of honest nodes failed", sum, all)
	}
}

// checkWatched: the honest nodes have nearly all of the watched time.
func checkWatched(t *testing.T, d *devnet.Devnet, dir string, from time.Time) {
	t.Helper()
	hostile := map[string]bool{}
	for _, n := range d.Truth().Nodes {
		hostile[n.PeerID] = n.Hostile
	}
	f, err := os.Open(filepath.Join(dir, "visit_events.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var watched [2]time.Duration // of honest and hostile nodes
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var v struct {
			ID    string `json:"id"`
			Watch *struct {
				From int64 `json:"from"`
				To   int64 `json:"to"`
			} `json:"watch"`
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if v.Watch == nil || v.Watch.From < from.UnixMilli() {
			continue
		}
		who := 0
		if hostile[v.ID] {
			who = 1
		}
		watched[who] += time.Duration(v.Watch.To-v.Watch.From) * time.Millisecond
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	honest := watched[0].Seconds() / (watched[0] + watched[1]).Seconds()
	t.Logf("watched: honest nodes for %v, hostile ones for %v: share %.3f", watched[0], watched[1], honest)
	if !(honest >= honestWatched) {
		t.Errorf("the honest share of watched time is %.3f, want %.2f", honest, honestWatched)
	}
}

// cpuTime is the processor time of a process, where /proc has it.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the process, in brackets, may hold blanks.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("process %d: %d fields", pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] { // user and system time
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	const perSecond = 100 // USER_HZ
	return time.Duration(ticks) * time.Second / perSecond, nil
}
