package main

import (
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// A few of the cases, with few replications; `make accuracy` runs them all.
func TestCases(t *testing.T) {
	t.Parallel()
	const names, replications = "late,no-custody,all-subnets,stake-33", 2
	var out strings.Builder
	ok, err := runCases(&out, io.Discard, names, 1, replications)
	if err != nil || !ok {
		t.Errorf("runCases(%q) = %v, %v, want true:\n%s", names, ok, err, &out)
	}
}

func TestUnknownCase(t *testing.T) {
	t.Parallel()
	if _, err := runCases(io.Discard, io.Discard, "base,bse", 1, 1); err == nil || !strings.Contains(err.Error(), `"bse"`) {
		t.Errorf("an unknown case gives the error %v, want one that names it", err)
	}
}

// Every case has a name of its own, and a crawl of it has what its description says.
func TestCaseNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range scenarios() {
		if seen[s.name] || s.about == "" || strings.ContainsAny(s.name, " ,|") {
			t.Errorf("case %q (%s): want a name of its own without spaces, and what it is about", s.name, s.about)
		}
		seen[s.name] = true
	}
}

// What a node shows of its duties is what the case says, whatever the estimator makes of it.
func TestShownDuties(t *testing.T) {
	t.Parallel()
	const validators, epochs = 290, 400
	net := mainnet()
	aggregating := validators * estimateShare(net)
	pop := newPopulation(1, net)
	for _, c := range []struct {
		name   string
		change func(n *node)
		want   float64 // duties in an epoch
	}{
		{"as specified", func(*node) {}, aggregating},
		{"three quarters", func(n *node) { n.rate = 0.75 }, 0.75 * aggregating},
		{"more", func(n *node) { n.rate = 1.35 }, 1.35 * aggregating},
		{"every duty", func(n *node) { n.allDuties = true }, validators},
		{"none", func(n *node) { n.silent = true }, 0},
		{"shared", func(n *node) { n.cluster = 7 }, aggregating},
	} {
		n := drawNode(pop.rand, net, personas()[0], validators)
		c.change(n)
		sum := 0
		for e := range epochs {
			sum += len(n.dutiesOf(e))
		}
		if got := float64(sum) / epochs; math.Abs(got-c.want) > 4*math.Sqrt(c.want/epochs) {
			t.Errorf("%s: %.2f duties an epoch, want %.2f", c.name, got, c.want)
		}
	}
}

// estimateShare is the mean share of aggregators, from the sizes of all committees.
func estimateShare(n network) (share float64) {
	count := n.slotsPerEpoch() * n.committees()
	for i := range count {
		size := n.validators*(i+1)/count - n.validators*i/count
		share += aggregates(size) * float64(size) / float64(n.validators)
	}
	return share
}

// Nodes of a cluster show the same duties, those of others do not.
func TestClustersShareDuties(t *testing.T) {
	t.Parallel()
	net := mainnet()
	r := rand.New(rand.NewPCG(1, 1))
	same := func(a, b uint64) bool {
		x, y := drawNode(r, net, personas()[0], 1000), drawNode(r, net, personas()[1], 1000)
		x.cluster, y.cluster = a, b
		for e := range 5 {
			p, q := x.dutiesOf(e), y.dutiesOf(e)
			if len(p) != len(q) {
				return false
			}
			for i := range p {
				if p[i] != q[i] {
					return false
				}
			}
		}
		return true
	}
	if !same(3, 3) || same(3, 4) || same(0, 0) {
		t.Errorf("same cluster: the same duties %v; other clusters: %v; none: %v", same(3, 3), same(3, 4), same(0, 0))
	}
}

// The networks' mean balances are those that the cases name, in the nodes and in what the
// Beacon API would say.
func TestMeanBalances(t *testing.T) {
	t.Parallel()
	for _, mean := range []float64{33, 37.6, 43.4, 53.6} {
		pop := newPopulation(1, mainnet())
		hold := pop.consolidated(mean)
		nodes, sample := 0.0, 0.0
		const count, validators = 20_000, 20
		for range count {
			nodes += float64(hold(validators)) / count / validators
		}
		for _, b := range pop.balances(mean, count*validators) {
			sample += float64(b) / count / validators
		}
		if math.Abs(nodes/mean-1) > 0.03 || math.Abs(sample/mean-1) > 0.03 {
			t.Errorf("mean balance %.2f of the nodes, %.2f of the sample, want %.1f", nodes, sample, mean)
		}
	}
}

func TestRequired(t *testing.T) {
	t.Parallel()
	for eth, want := range map[int]int{0: 4, 31: 8, 32: 8, 8 * 32: 8, 9*32 - 1: 8, 9 * 32: 9, 127*32 - 1: 126, 2048: 64, 128 * 32: 128, 1 << 30: 128} {
		if got := required(eth); got != want {
			t.Errorf("%d ETH require %d groups, want %d", eth, got, want)
		}
	}
}

// A stale count was required once: it is above what is required now, and what most nodes
// with validators need is the likeliest.
func TestStaleCounts(t *testing.T) {
	t.Parallel()
	pop := newPopulation(1, mainnet())
	eights := 0
	for range 1000 {
		if pop.stalePast(4) == 8 {
			eights++
		}
		if got := pop.stalePast(100); got <= 100 || got > 128 {
			t.Fatalf("a node that needs 100 still reports %d", got)
		}
	}
	if pop.stalePast(128) != 128 || eights < 300 || eights > 600 {
		t.Errorf("of 1000 nodes that need 4 now, %d say 8, want somewhat less than half", eights)
	}
}

// The demands are not met by an estimator that is wrong: each case here has one thing wrong.
func TestDemands(t *testing.T) {
	t.Parallel()
	right := func() *crawl {
		c := &crawl{learned: learned{total: estimate.Total{Validators: 500, Low: 475, High: 525}, multiplicity: interval{1, 1, 1}, stake: interval{16_000, 15_500, 16_500}}}
		for range 100 {
			m := &member{node: &node{validators: 5}, stake: 5 * ethPerUnit, cgc: 8}
			m.estimate = estimate.Estimate{Median: 5, Low: 5, High: 5, Mean: 5}
			c.members = append(c.members, m)
		}
		return c
	}
	demands := func(r replications) []check {
		return append(append(r.total(0.03), r.stakes()...), r.halfWidth(0.10), r.coverage(), r.fewFlagged(), r.others(),
			r.medianError("all", group("")), r.visiblyUnsure(""))
	}
	for _, c := range []struct {
		name  string
		wrong func(c *crawl)
		ok    bool
	}{
		{"right", func(*crawl) {}, true},
		{"total too high", func(c *crawl) { c.total.Validators = 520 }, false},
		{"total's interval beside", func(c *crawl) { c.total.Low = 501 }, false},
		{"total's interval wide", func(c *crawl) { c.total.High = 650 }, false},
		{"no stake", func(c *crawl) { c.stake = unknown }, false},
		{"stake beside", func(c *crawl) { c.stake.low = 16_001 }, false},
		{"nodes' intervals beside", func(c *crawl) { each(c, 20, func(m *member) { m.estimate.High, m.estimate.Low = 0, 0 }) }, false},
		{"flags", func(c *crawl) { each(c, 6, func(m *member) { m.flagged = true }) }, false},
		{"nodes' means", func(c *crawl) { each(c, 100, func(m *member) { m.estimate.Mean = 5.3 }) }, false},
		{"nodes' medians", func(c *crawl) { each(c, 51, func(m *member) { m.estimate.Median = 6 }) }, false},
		{"a total that is not a number", func(c *crawl) { c.total.Validators = math.NaN() }, false},
	} {
		list := replications{right(), right(), right()}
		for _, x := range list {
			c.wrong(x)
		}
		if row := (scenario{name: c.name, checks: demands}).judge(list); row.ok != c.ok {
			t.Errorf("%s: %v, want %v: %s", c.name, row.ok, c.ok, row.text)
		}
	}
}

func each(c *crawl, n int, change func(m *member)) {
	for _, m := range c.members[:n] {
		change(m)
	}
}

// Sync committee seats go by stake.
func TestSyncSeats(t *testing.T) {
	t.Parallel()
	net := mainnet()
	m := &member{node: drawNode(rand.New(rand.NewPCG(1, 1)), net, personas()[0], 1000), stake: 4000 * ethPerUnit, id: 1}
	const periods, mean = 2000, 40
	on := 0
	for p := range periods {
		for s := m.syncnets(p, mean); s != 0; s &= s - 1 {
			on++
		}
	}
	perSubnet := float64(syncSeats/eth2.SyncCommitteeSubnetCount) * 4000 * ethPerUnit / mean / float64(net.validators)
	want := eth2.SyncCommitteeSubnetCount * (1 - math.Exp(-perSubnet))
	if got := float64(on) / periods; math.Abs(got/want-1) > 0.1 {
		t.Errorf("%.3f sync committee subnets a period, want %.3f", got, want)
	}
}
