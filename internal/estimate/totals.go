package estimate

import (
	"cmp"
	"math"
	"slices"
)

// Counted is one node in a total.
type Counted struct {
	// Address tells nodes apart that are one under a new peer id: of those with the same
	// address only the one seen last is counted. Empty is an address of its own.
	Address  string
	LastSeen int64 // Unix milliseconds
	Estimate Estimate
}

// Total is the sum over nodes, each with a 90 % interval. Validators are attachments: one
// that is run through several nodes counts on each of them.
type Total struct {
	Nodes                          int
	WithValidators                 float64 // sum of the probabilities
	Validators, Low, High          float64
	StakeETH, StakeLow, StakeHigh  float64
	Multiplicity                   float64 // Validators over the network's active ones
	Verdict                        Verdict // Failed when the sum is more than attachments explain
	ActiveValidators, CountedTwice uint64  // CountedTwice: peer ids left out for their address
}

const (
	// systematic is how far the prior is taken to move a total, relative: an
	// assumption, somewhat less than what simulation shows of a thousand nodes that were
	// looked at once, and more than of those that were watched.
	systematic = 0.05
	// plausible is how many times the active validators fallback nodes and distributed
	// validators can explain.
	plausible = 1.3
	// middle90 is the standard normal's 95th percentile.
	middle90 = 1.645
)

// Total sums the posterior means. The interval has the nodes' own variances, which
// average out, and what all share, which does not: the aggregators' share, the prior,
// and the rate of flagged versions. That of the stake is the same, relative: how many
// validators compound is not in it.
func (m *Model) Total(nodes []Counted) Total {
	t := Total{ActiveValidators: m.params.active()}
	variance, wide := 0.0, 0.0
	for _, n := range lastOfEach(nodes) {
		t.Nodes++
		t.WithValidators += n.Estimate.PValidator
		t.Validators += n.Estimate.Mean
		t.StakeETH += n.Estimate.Stake.Mean
		variance += n.Estimate.Variance
		wide += n.Estimate.Shared
	}
	t.CountedTwice = uint64(len(nodes) - t.Nodes)
	shared := math.Hypot(systematic, m.params.PAggUncertainty)
	half := middle90 * math.Hypot(math.Hypot(math.Sqrt(variance), wide), shared*t.Validators)
	t.Low, t.High = math.Max(0, t.Validators-half), t.Validators+half
	if t.Validators > 0 {
		t.StakeLow, t.StakeHigh = t.StakeETH*t.Low/t.Validators, t.StakeETH*t.High/t.Validators
	}
	t.Multiplicity = t.Validators / float64(t.ActiveValidators)
	t.Verdict = verdict(t.Nodes > 0, t.Low <= plausible*float64(t.ActiveValidators))
	return t
}

// lastOfEach leaves the node seen last of each address.
func lastOfEach(nodes []Counted) []Counted {
	sorted := slices.Clone(nodes)
	slices.SortStableFunc(sorted, func(a, b Counted) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(b.LastSeen, a.LastSeen))
	})
	return slices.CompactFunc(sorted, func(a, b Counted) bool { return a.Address != "" && a.Address == b.Address })
}
