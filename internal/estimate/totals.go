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

// Sum adds up the estimates of different nodes for a total. The zero value is of none.
type Sum struct {
	Nodes int
	// full are the nodes that count in full; of the limited others, claimed is what they say
	// and admitted what of it counts.
	full, admitted, claimed part
	limited                 int
}

// part is a sum over nodes.
type part struct {
	mean, variance, shared, p, stake float64
	low, largest                     float64 // the sum of the lower ends of the nodes' intervals, and the greatest
}

// Add adds a node with a weight from 0 to 1. Of its estimate Low, Mean, Variance, Shared,
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

func (s *Sum) merge(o Sum) {
	s.Nodes += o.Nodes
	s.limited += o.limited
	s.full = s.full.plus(o.full)
	s.claimed = s.claimed.plus(o.claimed)
	s.admitted = s.admitted.plus(o.admitted)
}

func (a *part) add(e Estimate, weight float64) {
	low := weight * e.Low
	*a = a.plus(part{weight * e.Mean, weight * e.Variance, weight * e.Shared, weight * e.PValidator, weight * e.Stake.Mean, low, low})
}

func (a part) plus(b part) part {
	return part{a.mean + b.mean, a.variance + b.variance, a.shared + b.shared, a.p + b.p, a.stake + b.stake, a.low + b.low, max(a.largest, b.largest)}
}

// Totals gives the total of each group of nodes and that of all groups: the sums of the
// posterior means. A group without a number in it (a mean is NaN) counts as empty. An interval
// has the nodes' own variances, which average out, and what all share, which does not: the
// aggregators' share, the prior, and the rate of flagged versions. Where one node may have
// very many, the variance alone would reach below zero: no lower end is below what the parts
// have at least, all of them together and each alone. The interval of the stake is that of
// the validators, relative: how many of them compound is not in it.
func (m *Model) Totals(groups []Sum) (all Total, each []Total) {
	var sum Sum
	least := 0.0
	for _, s := range groups {
		if math.IsNaN(s.full.mean + s.claimed.mean) {
			s = Sum{}
		}
		t := m.totalOf(s, max(s.full.largest, s.full.low*(1-middle90*systematic)))
		least += t.Low
		sum.merge(s)
		each = append(each, t)
	}
	return m.totalOf(sum, max(least, sum.full.largest)), each
}

// totalOf is the total of a sum, whose lower end is not below least.
//
// Nobody can tell the limited nodes of one operator with many machines from those of one
// machine with many identities: so the interval's ends are those of the totals without
// them and with all that they claim.
func (m *Model) totalOf(s Sum, least float64) Total {
	t := m.total(s.full.plus(s.admitted), least, s.Nodes > 0)
	if s.limited == 0 {
		return t
	}
	without, with := m.total(s.full, least, true), m.total(s.full.plus(s.claimed), least, true)
	t.Limited, t.Claimed, t.Admitted = s.limited, s.claimed.mean, s.admitted.mean
	t.Low, t.StakeLow, t.High, t.StakeHigh = without.Low, without.StakeLow, with.High, with.StakeHigh
	t.Verdict = without.Verdict
	if t.Verdict == Passed && t.Claimed-t.Admitted > large*float64(t.ActiveValidators) {
		t.Verdict = Unsure
	}
	return t
}

func (m *Model) total(s part, least float64, some bool) Total {
	t := Total{WithValidators: s.p, Validators: s.mean, StakeETH: s.stake, ActiveValidators: m.params.active()}
	common := math.Hypot(systematic, m.params.PAggUncertainty)
	half := middle90 * math.Hypot(math.Hypot(math.Sqrt(s.variance), s.shared), common*t.Validators)
	t.Low, t.High = min(t.Validators, max(least, t.Validators-half)), t.Validators+half
	if t.Validators > 0 {
		t.StakeLow, t.StakeHigh = t.StakeETH*t.Low/t.Validators, t.StakeETH*t.High/t.Validators
	}
	t.Multiplicity = t.Validators / float64(t.ActiveValidators)
	t.Verdict = verdict(some, t.Low <= plausible*float64(t.ActiveValidators))
	return t
}
