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

// Sum adds up the estimates of different nodes. The zero value is of none.
type Sum struct {
	Nodes                            int
	mean, variance, shared, p, stake float64
	low, largest                     float64 // the sum of the ends of the nodes' intervals, and the greatest
}

// Add adds one node. Of its estimate Low, Mean, Variance, Shared, PValidator and Stake.Mean
// are used.
func (s *Sum) Add(e Estimate) {
	s.Nodes++
	s.mean += e.Mean
	s.variance += e.Variance
	s.shared += e.Shared
	s.p += e.PValidator
	s.stake += e.Stake.Mean
	s.low += e.Low
	s.largest = max(s.largest, e.Low)
}

func (s *Sum) merge(o Sum) {
	s.Nodes += o.Nodes
	s.mean += o.mean
	s.variance += o.variance
	s.shared += o.shared
	s.p += o.p
	s.stake += o.stake
	s.largest = max(s.largest, o.largest)
}

// Totals gives the total of each group of nodes and that of all groups: the sums of the
// posterior means. An interval has the nodes' own variances, which average out, and what
// all share, which does not: the aggregators' share, the prior, and the rate of flagged
// versions. Where one node may have very many, the variance alone would reach below zero: no
// lower end is below what the parts have at least, all of them together and each alone.
// The interval of the stake is that of the validators, relative: how many of them compound
// is not in it.
func (m *Model) Totals(groups []Sum) (all Total, each []Total) {
	var sum Sum
	least := 0.0
	for _, s := range groups {
		if math.IsNaN(s.mean) {
			s = Sum{}
		}
		t := m.total(s, max(s.largest, s.low*(1-middle90*systematic)))
		least += t.Low
		sum.merge(s)
		each = append(each, t)
	}
	return m.total(sum, max(least, sum.largest)), each
}

// total is that of a sum, whose lower end is not below least.
func (m *Model) total(s Sum, least float64) Total {
	t := Total{WithValidators: s.p, Validators: s.mean, StakeETH: s.stake, ActiveValidators: m.params.active()}
	common := math.Hypot(systematic, m.params.PAggUncertainty)
	half := middle90 * math.Hypot(math.Hypot(math.Sqrt(s.variance), s.shared), common*t.Validators)
	t.Low, t.High = min(t.Validators, max(least, t.Validators-half)), t.Validators+half
	if t.Validators > 0 {
		t.StakeLow, t.StakeHigh = t.StakeETH*t.Low/t.Validators, t.StakeETH*t.High/t.Validators
	}
	t.Multiplicity = t.Validators / float64(t.ActiveValidators)
	t.Verdict = verdict(s.Nodes > 0, t.Low <= plausible*float64(t.ActiveValidators))
	return t
}
