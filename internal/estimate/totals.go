package estimate

import "math"

// Total is the sum over nodes, each with a 90 % interval. Validators are attachments: one
// that is run through several nodes counts on each of them.
type Total struct {
	WithValidators                float64 // sum of the probabilities
	Validators, Low, High         float64
	StakeETH, StakeLow, StakeHigh float64
	Multiplicity                  float64 // Validators over the network's active ones
	Verdict                       Verdict // Failed when the sum is more than attachments explain
	ActiveValidators              uint64
}

const (
	// systematic is how far the prior is assumed to move a total, relative: somewhat less
	// than what simulation shows of a thousand nodes with one snapshot each, and more than
	// of those that were watched.
	systematic = 0.05
	// plausible is how many times the active validators fallback nodes and distributed
	// validators can explain.
	plausible = 1.3
	// middle90 is the standard normal's 95th percentile.
	middle90 = 1.645
)

// Total sums the posterior means of different nodes, or of sums of nodes. The interval has
// the nodes' own variances, which average out, and what all share, which does not: the
// aggregators' share, the prior, and the rate of flagged versions. That of the stake is the
// same, relative: how many validators compound is not in it.
func (m *Model) Total(nodes []Estimate) Total {
	t := Total{ActiveValidators: m.params.active()}
	variance, wide := 0.0, 0.0
	for _, e := range nodes {
		t.WithValidators += e.PValidator
		t.Validators += e.Mean
		t.StakeETH += e.Stake.Mean
		variance += e.Variance
		wide += e.Shared
	}
	shared := math.Hypot(systematic, m.params.PAggUncertainty)
	half := middle90 * math.Hypot(math.Hypot(math.Sqrt(variance), wide), shared*t.Validators)
	t.Low, t.High = math.Max(0, t.Validators-half), t.Validators+half
	if t.Validators > 0 {
		t.StakeLow, t.StakeHigh = t.StakeETH*t.Low/t.Validators, t.StakeETH*t.High/t.Validators
	}
	t.Multiplicity = t.Validators / float64(t.ActiveValidators)
	t.Verdict = verdict(len(nodes) > 0, t.Low <= plausible*float64(t.ActiveValidators))
	return t
}
