package estimate

import "math"

// Total is the sum over nodes, each with a 90 % interval. Validators are attachments, pairs of
// a validator and a node: one that is run through several nodes counts on each of them.
type Total struct {
	WithValidators        float64 // sum of the probabilities
	Validators, Low, High float64
	// The stake is what the attachments hold, in ETH: each the mean balance. It is 0, and
	// StakeKnown false, where the balance is not known.
	StakeKnown                    bool
	StakeETH, StakeLow, StakeHigh float64
	ActiveValidators              uint64
	Ratio                         float64 // Validators over the network's active ones
	// Multiplicity is how many nodes run each validator, where it was measured (With).
	Multiplicity Multiplicity
	// Unaccounted is the part of the active validators that no counted node accounts for.
	Unaccounted Unaccounted
	// Verdict is Failed when the sum is more than attachments explain, TooLow when it is less
	// than what a crawl of the network finds, and Unsure when too much of what the nodes claim is not
	// in it.
	Verdict Verdict
	Errors  Errors
	// Limited nodes have a weight below 1. They claim so many validators, of which Admitted
	// are in Validators. The interval reaches from none of the claimed to all.
	Limited           int
	Claimed, Admitted float64
	// Silent nodes, by their weights, have FlagSilent: they keep custody groups by choice, or since
	// they had validators, or have those that the count requires and show none of their duties,
	// and nothing tells which. If all of them do the last, Hidden validators more than High are
	// possible. That is no part of the interval, as 8 % of a healthy network's nodes without
	// validators make it a fifth of the total.
	Silent, Hidden float64
}

// Unaccounted is a share of the active validators. Where the multiplicity was not measured on
// half of the attachments only Low is known, that of one node per validator.
type Unaccounted struct {
	Known           bool
	Mean, Low, High float64
}

// Errors are the variances of a total's Validators by where they come from.
type Errors struct {
	Nodes       float64 // each node's own
	Clients     float64 // the rates of client versions, shared by their nodes
	Prior       float64 // the prior and the custody habits, shared by all
	Aggregators float64 // the number of active validators, shared by all
}

// Sum is the variance of the total.
func (e Errors) Sum() float64 { return e.Nodes + e.Clients + e.Prior + e.Aggregators }

const (
	// systematic is how far the prior and the assumed custody habits move a total, relative:
	// what simulation shows of well-watched nodes, and priorShift how far they move a node,
	// relative to what is not known of it.
	systematic = 0.045
	priorShift = 0.04
	// plausible is the multiplicity that fallback nodes and distributed validators can explain
	// where it was not measured; leastPlausible is the part of the active validators that a crawl
	// of the whole network finds at least.
	plausible      = 1.3
	leastPlausible = 0.5
	// middle90 is the standard normal's 95th percentile.
	middle90 = 1.645
)

// Sum adds up the estimates of the nodes of a client for a total. The zero value is of none.
type Sum struct {
	Nodes int
	// full are the nodes that count in full; of the limited others, claimed is what they say
	// and admitted what of it counts.
	full, admitted, claimed part
	limited                 int
}

// part is a sum over nodes.
type part struct {
	mean, variance, p float64
	deviations        float64 // the sum of the nodes' standard deviations
	shared            float64 // the standard deviation from what they share
	squares           float64 // the sum of the squares of the means
	silent, hidden    float64 // the nodes with FlagSilent, and what they hide
	low, largest      float64 // the sum of the lower ends of the nodes' intervals, and the greatest
}

// Add adds a node with a weight from 0 to 1. Of its estimate Low, Mean, Variance, Shared, Hidden
// and PValidator are used.
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

// merge adds the nodes of another client, whose shared errors are independent.
func (s *Sum) merge(o Sum) {
	s.Nodes += o.Nodes
	s.limited += o.limited
	s.full = s.full.independent(o.full)
	s.claimed = s.claimed.independent(o.claimed)
	s.admitted = s.admitted.independent(o.admitted)
}

func (a *part) add(e Estimate, weight float64) {
	low, mean, silent := weight*e.Low, weight*e.Mean, 0.0
	if e.Hidden > 0 {
		silent = weight
	}
	*a = a.plus(part{
		mean: mean, variance: weight * max(0, e.Variance-e.Shared*e.Shared), p: weight * e.PValidator, deviations: weight * math.Sqrt(e.Variance),
		shared: weight * e.Shared, squares: mean * mean, silent: silent, hidden: weight * e.Hidden,
		low: low, largest: low,
	})
}

func (a part) plus(b part) part {
	return part{
		a.mean + b.mean, a.variance + b.variance, a.p + b.p, a.deviations + b.deviations,
		a.shared + b.shared, a.squares + b.squares, a.silent + b.silent, a.hidden + b.hidden,
		a.low + b.low, max(a.largest, b.largest),
	}
}

func (a part) independent(b part) part {
	sum := a.plus(b)
	sum.shared = math.Hypot(a.shared, b.shared)
	return sum
}

// Totals gives the total of each group of nodes, those of one client, and that of all groups: the
// sums of the posterior means. A group without a number in it (a mean is NaN) counts as empty.
// An interval has the nodes' own variances, which average out, and what nodes share, which does
// not (Errors). Where one node may have very many, the variance alone would reach below zero: no
// lower end is below what the parts have at least, all of them together and each alone.
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
	t := m.total(s.full.plus(s.admitted), least)
	if s.limited > 0 {
		without, with := m.total(s.full, least), m.total(s.full.plus(s.claimed), least)
		t.Limited, t.Claimed, t.Admitted = s.limited, s.claimed.mean, s.admitted.mean
		t.Low, t.StakeLow, t.High, t.StakeHigh = without.Low, without.StakeLow, with.High, with.StakeHigh
	}
	t.Verdict = TooFew
	if s.Nodes > 0 {
		t = t.judged()
	}
	return t
}

func (m *Model) total(s part, least float64) Total {
	t := Total{WithValidators: s.p, Validators: s.mean, ActiveValidators: m.params.active()}
	square := func(x float64) float64 { return x * x }
	t.Errors = Errors{
		// The error of the aggregators' share is in the variance of each node, too.
		Nodes: max(0, s.variance-square(m.params.PAggUncertainty)*s.squares), Clients: square(s.shared),
		Prior:       square(systematic*s.mean) + square(priorShift*s.deviations),
		Aggregators: square(m.params.PAggUncertainty * s.mean),
	}
	t.Silent, t.Hidden = s.silent, s.hidden
	half := middle90 * math.Sqrt(t.Errors.Sum())
	t.Low, t.High = min(t.Validators, max(least, t.Validators-half)), t.Validators+half
	t.Ratio = t.Validators / float64(t.ActiveValidators)
	return t.withStake(m.params.Balance, s.squares)
}

// withStake is the total with the attachments times the mean balance. The interval has those of
// both, and how far the mean of these nodes may be from the network's: if half of the operators
// compound, to different extents, what a node holds above 32 ETH per validator has a standard
// deviation of the root of three times its mean.
func (t Total) withStake(b Balance, squares float64) Total {
	if !b.Known() {
		return t
	}
	t.StakeKnown, t.StakeETH, t.StakeHigh = true, t.Validators*b.Mean, t.High*b.Mean
	if t.Validators > 0 {
		varies := math.Sqrt(3) * max(0, 1-ethPerUnit/b.Mean) * math.Sqrt(squares) / t.Validators
		balance := middle90 * math.Hypot(b.Error, varies)
		t.StakeLow = t.StakeETH * max(0, 1-math.Hypot(1-t.Low/t.Validators, balance))
		t.StakeHigh = t.StakeETH * (1 + math.Hypot(t.High/t.Validators-1, balance))
	}
	return t
}

// With is the total with the multiplicity of its nodes.
func (t Total) With(k Multiplicity) Total {
	t.Multiplicity = k
	if t.Verdict == TooFew {
		return t
	}
	return t.judged()
}

// judged is the total with what follows from its interval and the multiplicity.
func (t Total) judged() Total {
	active := float64(t.ActiveValidators)
	// Validators of the network are attachments over the multiplicity.
	least, most := t.distinct()
	t.Unaccounted = Unaccounted{Low: max(0, 1-(t.High+t.Hidden)/active)}
	if k := t.Multiplicity; k.Known() && k.Measured >= halfMeasured {
		t.Unaccounted = Unaccounted{true, max(0, 1-t.Validators/k.Mean/active), max(0, 1-(most+t.Hidden)/active), max(0, 1-least/active)}
	}
	_, limit := t.Multiplicity.ofAll()
	limit *= active
	switch {
	case t.Low > limit:
		t.Verdict = Failed
	case t.Claimed-t.Admitted > large*active:
		t.Verdict = Unsure
	case t.High < leastPlausible*active:
		t.Verdict = TooLow
	default:
		t.Verdict = Passed
	}
	return t
}

// halfMeasured is the part of the attachments from which on a multiplicity stands for all.
const halfMeasured = 0.5

// distinct is the interval of the number of different validators.
func (t Total) distinct() (low, high float64) {
	k := t.Multiplicity
	if !k.Known() || t.Validators <= 0 {
		return t.Low, t.High
	}
	mean := t.Validators / k.Mean
	few, many := k.ofAll()
	below := math.Hypot(1-t.Low/t.Validators, 1-k.Mean/many)
	above := math.Hypot(t.High/t.Validators-1, k.Mean/few-1)
	return max(0, mean*(1-below)), mean * (1 + above)
}

// ofAll are the ends of the multiplicity of all attachments. The validators of nodes on which it
// was not measured run on one node each, or on as many more as there may be: twice the measured
// surplus, and at least what is plausible.
func (k Multiplicity) ofAll() (low, high float64) {
	if !k.Known() {
		return 1, plausible
	}
	rest := max(0, 1-k.Measured)
	most := max(plausible, 2*k.High-1)
	return 1 / (k.Measured/k.Low + rest), 1 / (k.Measured/k.High + rest/most)
}
