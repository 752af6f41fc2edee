package estimate

import (
	"math"
	"slices"
)

// otherShare is the weight of a flagged node's other explanation: nobody knows how likely it is.
const otherShare = 0.2

// leaveOpen widens the estimate of a flagged node, whose posterior is w, by its other
// explanations: the intervals of its validators and their stake, and for totals Hidden or the
// variance.
func (m *Model) leaveOpen(out *Estimate, e *Evidence, w []float64, s *space) {
	widen := func(w []float64) {
		_, low, high := quantiles(m.grid, w, 1)
		out.Low, out.High = min(low, out.Low), max(high, out.High)
		if stake := m.stake(e, w, s); stake.Known {
			out.Stake.Low, out.Stake.High = min(stake.Low, out.Stake.Low), max(stake.High, out.Stake.High)
		}
	}
	if out.Flags&FlagSilent != 0 {
		hidden := m.ifSilent(e, s)
		out.Hidden = max(0, m.mean(hidden)-out.Mean)
		for i, p := range hidden {
			hidden[i] = otherShare*p + (1-otherShare)*w[i]
		}
		widen(hidden)
	}
	orElse := func(other []float64) {
		out.Variance = max(out.Variance, (1-otherShare)*out.Variance+otherShare*m.varianceAround(out.Mean, other))
		widen(other)
	}
	if out.Flags&FlagEveryDuty != 0 {
		other, _ := m.undecided().posterior(e, s)
		orElse(other)
	}
	if m.oddSync(e, w) >= unexplained {
		other, _ := m.posterior(&Evidence{kind: e.kind, custody: e.custody, sync: e.sync, versions: e.versions}, s)
		orElse(other)
	}
}

// eachSignal is the posterior of a node whose custody group count excludes its subnets: as likely
// that with both as those with one of them each. It overwrites w.
func (m *Model) eachSignal(e *Evidence, w []float64, s *space) []float64 {
	e.sum()
	subnetsOnly, custodyOnly := *e, Evidence{kind: e.kind, custody: e.custody, versions: e.versions}
	subnetsOnly.custody = Custody{}
	for _, alone := range []*Evidence{&subnetsOnly, &custodyOnly} {
		other, _ := m.posterior(alone, s)
		for i, p := range other {
			w[i] += p
		}
	}
	for i := range w {
		w[i] /= 3
	}
	return w
}

// ifSilent is the posterior of a node that has validators, and shows none of their duties.
func (m *Model) ifSilent(e *Evidence, s *space) []float64 {
	w, _ := m.posterior(&Evidence{kind: e.kind, custody: e.custody, versions: e.versions}, s)
	w = slices.Clone(w)
	none := w[0]
	w[0] = 0
	for i := range w {
		w[i] /= math.Max(1e-9, 1-none)
	}
	return w
}
