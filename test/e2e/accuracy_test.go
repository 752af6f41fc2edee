package e2e

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/tracker"
)

// accuracyVariable, when it is set, asks for the long run: `make accuracy-devnet`.
const accuracyVariable = "VALTRACK_ACCURACY"

// goal is the largest median relative error for nodes with so many validators: those of
// the simulation at 20 watched epochs, and a quarter more.
type goal struct {
	validators int
	most       float64
}

// judged are all nodes of a devnet under one way to estimate them.
type judged struct {
	errors        map[int][]float64 // by validators: relative, absolute for none
	inside, nodes int
	sum, truth    float64
	surest        float64 // the largest P of at least one validator where there is none
}

func (j *judged) add(validators int, e estimate.Estimate) {
	v := float64(validators)
	j.errors[validators] = append(j.errors[validators], math.Abs(float64(e.Median)-v)/max(1, v))
	j.nodes++
	if e.Low <= v && v <= e.High {
		j.inside++
	}
	j.sum, j.truth = j.sum+e.Mean, j.truth+v
	if validators == 0 {
		j.surest = max(j.surest, e.PValidator)
	}
}

func (j *judged) coverage() float64 { return float64(j.inside) / float64(j.nodes) }

func (j *judged) median(validators int) float64 {
	list := slices.Sorted(slices.Values(j.errors[validators]))
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

func (j *judged) String() string {
	var b strings.Builder
	for _, v := range accuracyValidators() {
		fmt.Fprintf(&b, "| %d: %.2f ", v, j.median(v))
	}
	fmt.Fprintf(&b, "| coverage %.3f | sum %.3f of the truth | P at most %.3f without validators |", j.coverage(), j.sum/j.truth, j.surest)
	return b.String()
}

// accuracyValidators are the numbers of validators that nodes have.
func accuracyValidators() []int { return []int{0, 1, 2, 5, 10, 30, 100, 300, 1000} }

// What a devnet's nodes have behind them comes out at the end of the pipeline: sentry,
// JetStream, consumer, tracker, rebuild.
func TestAccuracyThroughThePipeline(t *testing.T) {
	nodes, epochs, slot := 45, 3, 250*time.Millisecond
	long := os.Getenv(accuracyVariable) != ""
	switch {
	case long:
		nodes, epochs, slot = 300, 20, 500*time.Millisecond
	case raceEnabled:
		t.Skip("the test without -race has all of it")
	}
	numbers := accuracyValidators()
	validators := make([]int, nodes)
	for i := range validators {
		if i%3 > 0 { // a third has none
			validators[i] = numbers[1+(i/3*2+i%3-1)%(len(numbers)-1)]
		}
	}
	dir, data := t.TempDir(), t.TempDir()
	net, err := devnet.Start(t.Context(), devnet.Config{Nodes: nodes, Seed: 11, SlotDuration: slot, Dir: dir, Validators: validators}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	active := strconv.Itoa(devnet.DefaultActiveValidators)
	p := start(t, "run", "--network-dir", dir, "--data-dir", data, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--active-validators", active,
		"--watch-epochs", strconv.Itoa(epochs), "--max-watched", strconv.Itoa(nodes), "--max-connections", strconv.Itoa(2*nodes+100), "--segment-age", "2s", "--log-format", "text")
	enough := (time.Duration(epochs) * net.Network().Clock.EpochDuration()).Milliseconds()
	waitFor(t, time.Duration(3*epochs)*net.Network().Clock.EpochDuration()+time.Minute, "whole watches of all nodes", func() bool {
		view, err := tracker.Read(t.Context(), data)
		if err != nil {
			return false
		}
		counted, _ := view.Counted()
		return len(counted) == nodes && !slices.ContainsFunc(counted, func(p *tracker.Peer) bool { return p.WatchedMS < enough })
	}, p)
	p.stop(t, syscall.SIGINT, 0)
	valtrack(t, "rebuild", "--data-dir", data, "--network-dir", dir, "--active-validators", active)

	view, err := tracker.Read(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	with, without := judged{errors: map[int][]float64{}}, judged{errors: map[int][]float64{}}
	for _, n := range net.Truth().Nodes {
		p := view.Peer(n.PeerID)
		if p == nil || p.Estimate == nil {
			t.Fatalf("no estimate for %s", n.PeerID)
		}
		with.add(n.Validators, p.Estimate.Estimate)
		without.add(n.Validators, view.Why(p).Subnets)
	}
	t.Logf("%d nodes, %d watched epochs; median relative error by number of validators", nodes, epochs)
	t.Logf("with custody %v", &with)
	t.Logf("subnets only %v", &without)
	if !long { // too few for goals
		with.check(t, "with custody", nil, 0.75, 1, 0.4)
		without.check(t, "subnets only", nil, 0.75, 1, 0.4)
		return
	}
	with.check(t, "with custody", []goal{{1, 0}, {2, 0.5}, {5, 0.6}, {10, 0}, {30, 0}, {100, 0}, {300, 0.07}, {1000, 0.04}}, 0.85, 0.99, 0.1)
	without.check(t, "subnets only", []goal{{10, 0.40}, {30, 0.20}, {100, 0.11}, {300, 0.07}, {1000, 0.04}}, 0.85, 0.99, 0.1)
}

// check holds the estimates against goals: the errors, the share of 90 % intervals that
// hold the truth, by how much the sum may be off, and certainty where nothing is.
func (j *judged) check(t *testing.T, name string, goals []goal, least, most, off float64) {
	t.Helper()
	for _, g := range goals {
		if got := j.median(g.validators); got > 1.25*g.most {
			t.Errorf("%s: median relative error %.3f for %d validators, want at most 1.25 times %.2f", name, got, g.validators, g.most)
		}
	}
	if c := j.coverage(); c < least || c > most {
		t.Errorf("%s: 90 %% intervals hold the truth in %.3f of nodes, want %.2f to %.2f", name, c, least, most)
	}
	if sum := j.sum / j.truth; math.Abs(sum-1) > off {
		t.Errorf("%s: all nodes together have %.3f times the true number, want it within %.2f of 1", name, sum, off)
	}
	if j.surest > 0.9 {
		t.Errorf("%s: P of at least one validator is %.3f where there is none", name, j.surest)
	}
}
