package estimate

import "math"

// Total is the sum over nodes, each with a 90 % interval. Validators are attachments: one
// that is run through several nodes counts on each of them.
type Total struct {
	WithValidators                float64 // sum of the probabilities
	Validators, Low, High         float64
	StakeETH, StakeLow, StakeHigh float64
	Multiplicity                  float64 // Validators over the network's active ones
	// Verdict is Failed when the sum is more than attachments explain, and Unsure when too
	// much of what the nodes claim is not in it.
	Verdict          Verdict
	ActiveValidators uint64
	// Limited nodes have a weight below 1. They claim so many validators, of which Admitted
	// are in Validators. The interval reaches from none of the claimed to all.
	Limited           int
	Claimed, Admitted float64
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

// Sum adds up nodes for a total. The zero Sum is empty.
type Sum struct {
	Nodes int
	// full are the nodes that count in full; of the limited others, claimed is what they say
	// and admitted what of it counts.
	full, admitted, claimed Estimate
	limited                 int
}

// Add adds a node with a weight from 0 to 1. Of the estimate Mean, Variance, Shared,
// PValidator and Stake.Mean are used.
func (s *Sum) Add(e Estimate, weight float64) {
	s.Nodes++
	if weight >= 1 {
		s.full.add(e, 1)
		return
	}
	s.limited++
	s.claimed.add(e, 1)
	s.admitted.add(e, weight)
}

// Merge adds the nodes of another sum.
func (s *Sum) Merge(o Sum) {
	s.Nodes += o.Nodes
	s.limited += o.limited
	s.full.add(o.full, 1)
	s.claimed.add(o.claimed, 1)
	s.admitted.add(o.admitted, 1)
}

func (e *Estimate) add(o Estimate, weight float64) {
	e.Mean += weight * o.Mean
	e.Variance += weight * o.Variance
	e.Shared += weight * o.Shared
	e.PValidator += weight * o.PValidator
	e.Stake.Mean += weight * o.Stake.Mean
}

// Total is that of different nodes that all count in full, or of sums of nodes.
func (m *Model) Total(nodes []Estimate) Total {
	var s Sum
	for _, e := range nodes {
		s.Add(e, 1)
	}
	return m.TotalOf(s)
}

// TotalOf is the total of a sum. Without a number in it (a mean is NaN) it is that of no nodes.
//
// Nobody can tell the limited nodes of one operator with many machines from those of one
// machine with many identities: so the interval's ends are those of the totals without
// them and with all that they claim.
func (m *Model) TotalOf(s Sum) Total {
	if math.IsNaN(s.full.Mean + s.claimed.Mean) {
		s = Sum{}
	}
	t := m.total(s.full, s.admitted, s.Nodes > 0)
	if s.limited == 0 {
		return t
	}
	least, most := m.total(s.full, Estimate{}, true), m.total(s.full, s.claimed, true)
	t.Limited, t.Claimed, t.Admitted = s.limited, s.claimed.Mean, s.admitted.Mean
	t.Low, t.StakeLow, t.High, t.StakeHigh = least.Low, least.StakeLow, most.High, most.StakeHigh
	t.Verdict = least.Verdict
	if t.Verdict == Passed && t.Claimed-t.Admitted > large*float64(t.ActiveValidators) {
		t.Verdict = Unsure
	}
	return t
}

// total sums the posterior means of nodes. The interval has the nodes' own variances, which
// average out, and what all share, which does not: the aggregators' share, the prior, and
// the rate of flagged versions. That of the stake is the same, relative: how many
// validators compound is not in it.
func (m *Model) total(a, b Estimate, some bool) Total {
	a.add(b, 1)
	t := Total{ActiveValidators: m.params.active(), WithValidators: a.PValidator, Validators: a.Mean, StakeETH: a.Stake.Mean}
	shared := math.Hypot(systematic, m.params.PAggUncertainty)
	half := middle90 * math.Hypot(math.Hypot(math.Sqrt(a.Variance), a.Shared), shared*t.Validators)
	t.Low, t.High = math.Max(0, t.Validators-half), t.Validators+half
	if t.Validators > 0 {
		t.StakeLow, t.StakeHigh = t.StakeETH*t.Low/t.Validators, t.StakeETH*t.High/t.Validators
	}
	t.Multiplicity = t.Validators / float64(t.ActiveValidators)
	t.Verdict = verdict(some, t.Low <= plausible*float64(t.ActiveValidators))
	return t
}
