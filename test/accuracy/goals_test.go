package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

func TestMain(m *testing.M) {
	if flag.Parse(); testing.Short() {
		os.Exit(0) // simulations of a minute
	}
	os.Exit(m.Run())
}

// scaled multiplies a number of trials by ACCURACY_SCALE, 1 without it: `make accuracy`
// runs three times as many.
func scaled(t *testing.T, trials int) int {
	t.Helper()
	text := os.Getenv("ACCURACY_SCALE")
	if text == "" {
		return trials
	}
	scale, err := strconv.Atoi(text)
	if err != nil || scale < 1 {
		t.Fatalf("ACCURACY_SCALE=%q: want a number above 0", text)
	}
	return trials * scale
}

// limit is the largest median relative error for nodes with so many validators.
type limit struct {
	validators int
	most       float64
}

// holds tests limits at fixed numbers of validators.
func (tr trial) holds(t *testing.T, seed uint64, trials int, limits []limit) {
	t.Helper()
	net := mainnet()
	m := modelOf(paramsOf(net))
	for i, l := range limits {
		s := tr.fixed(seed+uint64(i), net, m, l.validators, scaled(t, trials))
		if s.medianError > l.most {
			t.Errorf("V=%d: median relative error %.3f, want at most %.2f", l.validators, s.medianError, l.most)
		}
	}
}

func TestG1WatchedTwentyEpochs(t *testing.T) {
	t.Parallel()
	trial{watched, false, 20}.holds(t, 100, 300, []limit{{10, 0.40}, {30, 0.20}, {100, 0.11}, {300, 0.07}, {1000, 0.04}})
}

func TestG2WatchedADay(t *testing.T) {
	t.Parallel()
	trial{watched, false, 225}.holds(t, 200, 120, []limit{
		{1, 0}, {2, 0}, {5, 0.20}, {10, 0.12}, {30, 0.05}, {100, 0.04}, {300, 0.03}, {1000, 0.02},
	})
}

func TestG3WatchedTwentyEpochsWithCustody(t *testing.T) {
	t.Parallel()
	trial{watched, true, 20}.holds(t, 300, 300, []limit{
		{1, 0}, {2, 0.5}, {5, 0.6}, {10, 0}, {30, 0}, {100, 0}, {300, 0.07}, {1000, 0.04},
	})
}

// For 30 validators the goal of 0.13 is being off by four, 0.133: three times as many nodes
// come out there, or at three.
func TestG4SnapshotsOfADay(t *testing.T) {
	t.Parallel()
	trial{snapshots, false, 225}.holds(t, 400, 120, []limit{{10, 0.30}, {30, 4.0 / 30}, {100, 0.10}, {300, 0.06}, {1000, 0.03}})
}

func TestG5IntervalsOverThePrior(t *testing.T) {
	t.Parallel()
	net := mainnet()
	m := modelOf(paramsOf(net))
	for i, tr := range allTrials() {
		trials := 1000
		if tr.epochs == 225 {
			trials = 200
		}
		s := tr.drawn(500+uint64(i), net, m, scaled(t, trials))
		// The finest observations make intervals of a single number, which hold 0.98: a
		// standard error of the trials is allowed for.
		slack := math.Sqrt(0.99 * 0.01 / float64(s.nodes))
		if s.coverage < 0.90 || s.coverage > 0.99+slack {
			t.Errorf("%+v: 90 %% intervals hold the truth in %.3f of %d nodes, want 0.90 to 0.99", tr, s.coverage, s.nodes)
		}
	}
}

func TestG6IntervalsAtFixedNumbers(t *testing.T) {
	t.Parallel()
	net := mainnet()
	m := modelOf(paramsOf(net))
	for i, v := range []int{10, 30, 100, 300, 1000} {
		for _, custody := range []bool{false, true} {
			s := trial{watched, custody, 20}.fixed(600+uint64(i), net, m, v, scaled(t, 300))
			if s.coverage < 0.85 {
				t.Errorf("V=%d, custody %v: 90 %% intervals hold the truth in %.3f, want 0.85", v, custody, s.coverage)
			}
		}
	}
}

func TestG7Detection(t *testing.T) {
	t.Parallel()
	net := mainnet()
	s := trial{watched, true, 20}.drawn(700, net, modelOf(paramsOf(net)), scaled(t, 1500))
	if s.recall < 0.93 || s.falsePositive > 0.01 {
		t.Errorf("P of 0.9 found %.3f of the nodes with validators and %.3f of those without, want 0.93 and 0.01", s.recall, s.falsePositive)
	}
}

func TestG8Totals(t *testing.T) {
	t.Parallel()
	net := mainnet()
	m := modelOf(paramsOf(net))
	for _, tr := range allTrials() {
		if tr.epochs != 20 {
			continue
		}
		s := tr.drawn(800, net, m, scaled(t, 3000))
		if s.total < 0.95 || s.total > 1.05 {
			t.Errorf("%+v: the sum over %d nodes is %.3f of the truth, want 0.95 to 1.05", tr, s.nodes, s.total)
		}
	}
}

func TestG9AgainstTheEarlierRule(t *testing.T) {
	t.Parallel()
	net := mainnet()
	m := modelOf(paramsOf(net))
	for i, v := range []int{30, 100, 300, 1000} {
		pop := newPopulation(900+uint64(i), net)
		var list []outcome
		for range scaled(t, 200) {
			n := drawNode(pop.rand, net, pop.persona(), v)
			o := trial{watched, false, 20}.run(pop, m, n)
			o.earlier = earlierOf(n, m.Params(), 20)
			list = append(list, o)
		}
		if s := scoreOf(list); s.earlierError < 5*s.medianError {
			t.Errorf("V=%d: the earlier rule's median error is %.3f, this one's %.3f: want a fifth", v, s.earlierError, s.medianError)
		}
	}
}

// The network has 5 % more validators than is configured.
func TestG10WrongActiveValidators(t *testing.T) {
	t.Parallel()
	net := sized(1_000_000)
	p := paramsOf(sized(mainnetSize))
	sure := modelOf(p)
	p.PAggUncertainty = 0.05
	unsure := modelOf(p)
	right := modelOf(paramsOf(net))
	for i, v := range []int{100, 1000} {
		pop := newPopulation(1000+uint64(i), net)
		pop.personas = pop.personas[:1]
		var shifts []float64
		inside, trials := 0, scaled(t, 60)
		for range trials {
			n := drawNode(pop.rand, net, pop.persona(), v)
			s := estimate.NewStatistics(n.client())
			n.watch(p, s, 225)
			e := estimate.NewEvidence(n.client(), estimate.Custody{})
			e.Add(s, n.client())
			was, is := float64(right.Estimate(e).Median), float64(sure.Estimate(e).Median)
			shifts = append(shifts, max(was, is)/min(was, is)-1)
			if u := unsure.Estimate(e); u.Low <= float64(v) && float64(v) <= u.High {
				inside++
			}
		}
		if shift := median(shifts); shift > 0.08 {
			t.Errorf("V=%d: the median moves by %.3f, want at most 0.08", v, shift)
		}
		if 4*inside < 3*trials {
			t.Errorf("V=%d: with the uncertainty stated the interval holds the truth in %d of %d, want three quarters", v, inside, trials)
		}
	}
}

// A small network where everyone aggregates and a node can have nearly all: nothing
// but a draw without replacement gives these numbers.
func TestSmallNetwork(t *testing.T) {
	t.Parallel()
	net := sized(64)
	m := estimate.NewModel(paramsOf(net), estimate.DefaultPrior(), nil)
	for _, p := range personas() {
		for _, want := range []struct{ validators, low, high int }{{60, 42, 64}, {4, 2, 8}, {0, 0, 0}} {
			t.Run(fmt.Sprintf("%.6s %d", p.agent, want.validators), func(t *testing.T) {
				pop := newPopulation(1100, net)
				n := drawNode(pop.rand, net, p, want.validators)
				o := trial{watched, false, 10}.run(pop, m, n)
				if got := o.estimate; got.Median < want.low || got.Median > want.high || got.High > 64 {
					t.Errorf("of 64 validators a node with %d is taken for %d [%.0f, %.0f]", want.validators, got.Median, got.Low, got.High)
				}
			})
		}
	}
}

// Watches that begin and end anywhere lead to the same numbers.
func TestInterruptedWatches(t *testing.T) {
	t.Parallel()
	net := mainnet()
	p := paramsOf(net)
	m := modelOf(p)
	for _, c := range personas() {
		t.Run(c.agent[:5], func(t *testing.T) {
			t.Parallel()
			pop := newPopulation(1150, net)
			const validators, nodes = 500, 40
			inside, sum := 0, 0.0
			for range nodes {
				n := drawNode(pop.rand, net, c, validators)
				s := estimate.NewStatistics(n.client())
				at := net.clock.EpochStart(firstEpoch).UnixMilli()
				for range 20 {
					at += pop.rand.Int64N(4_000_000) // ten epochs at the most
					end := at + pop.rand.Int64N(1_200_000)
					n.watchBetween(p, s, at, end)
					at = end + 3*384_000 // the simulation draws the duties of each visit independently
				}
				e := estimate.NewEvidence(n.client(), estimate.Custody{})
				e.Add(s, n.client())
				got := m.Estimate(e)
				sum += got.Mean
				if got.Low <= validators && validators <= got.High {
					inside++
				}
			}
			if mean := sum / nodes / validators; mean < 0.96 || mean > 1.05 || inside < 32 {
				t.Errorf("mean over truth %.3f, want about 1; %d of %d intervals hold it, want 32", mean, inside, nodes)
			}
		})
	}
}

// A client version whose behaviour is not what the model assumes is found out, and
// its nodes' intervals still contain the truth.
func TestMisfitsAreFound(t *testing.T) {
	t.Parallel()
	newName := func(p persona) persona { p.agent = "Lighthouse/v8.0.1-ced49dd/x86_64-linux"; return p }
	for _, c := range []struct {
		name    string
		persona persona
		all     bool
		mode    mode
		want    estimate.Trust
	}{
		{"as assumed", personas()[0], false, watched, estimate.TrustAll},
		{"Prysm as assumed", personas()[1], false, watched, estimate.TrustAll},
		{"Teku as assumed", personas()[3], false, watched, estimate.TrustAll},
		{"snapshots, as assumed", personas()[0], false, snapshots, estimate.TrustAll},
		{"leaves early, watched", earlyLeaver(), false, watched, estimate.TrustWide},
		{"leaves early, snapshots", earlyLeaver(), false, snapshots, estimate.TrustWide},
		{"every duty", personas()[0], true, watched, estimate.TrustWide},
		{"every duty of Prysm", personas()[1], true, watched, estimate.TrustWide},
		{"an unknown window", newName(personas()[1]), false, watched, estimate.TrustWide},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			checkMisfit(t, c.persona, c.all, c.mode, c.want)
		})
	}
}

func checkMisfit(t *testing.T, p persona, all bool, mode mode, want estimate.Trust) {
	net := mainnet()
	params := paramsOf(net)
	m := modelOf(params)
	pop := newPopulation(1200, net)
	var nodes []estimate.Node
	var truth []int
	for i := range 80 {
		v := []int{0, 4, 30, 60, 90, 120, 300, 1000}[i%8]
		n := drawNode(pop.rand, net, p, v)
		n.allDuties = all
		s := estimate.NewStatistics(n.client())
		if mode == watched {
			n.watch(params, s, 60)
		} else {
			n.snapshots(params, s, 225)
		}
		var c estimate.Custody
		c.Observe(0, uint64(min(max(v, 8), 128)))
		if v == 0 {
			c = estimate.Custody{}
			c.Observe(0, eth2.CustodyRequirement)
		}
		nodes = append(nodes, estimate.Node{Client: n.client(), Custody: c, Statistics: []*estimate.Statistics{s}})
		truth = append(truth, v)
	}
	calibration := estimate.Calibrate(m, slices.Values(nodes))
	calibrated := m.WithVersions(calibration.Versions)
	inside := 0
	for i, n := range nodes {
		e := estimate.NewEvidence(n.Client, n.Custody)
		e.Add(n.Statistics[0], n.Client)
		got := calibrated.Estimate(e)
		if got.Low <= float64(truth[i]) && float64(truth[i]) <= got.High {
			inside++
		}
	}
	if v := calibration.Versions[0]; v.Trust != want {
		t.Errorf("trust %d, want %d: %+v", v.Trust, want, v)
	}
	if inside < 68 {
		t.Errorf("the 90 %% interval holds the truth for %d of 80 nodes, want 68", inside)
	}
}

// earlyLeaver claims to be Lighthouse, and leaves a subnet as the duty's slot begins.
func earlyLeaver() persona {
	return persona{agent: "Lighthouse/v8.0.1-ced49dd/x86_64-linux", lead: 1, stay: 1}
}

// earlierOf runs the earlier program's rule on a node.
func earlierOf(n *node, p estimate.Params, epochs int) int {
	return earlierRule(n.snapshots(p, estimate.NewStatistics(n.client()), epochs))
}
