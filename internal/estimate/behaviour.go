package estimate

import "math"

// AllDuties reports whether a node subscribes for every duty and not only for those
// of aggregators (M1), judged by its watched epochs.
func (h Behaviour) AllDuties(p Params) bool {
	enough, all := h.dispersion(p)
	return enough && all
}

// dispersion compares how the filled cells vary from epoch to epoch with two
// explanations: the aggregators are drawn again each epoch; or every validator shows, and
// only which of them share a cell varies. enough is false with too few observations, or
// where everyone aggregates and there is no difference.
func (h Behaviour) dispersion(p Params) (enough, all bool) {
	const (
		epochs    = 10
		meanCount = 1
		// everyone is an aggregators' share at which the explanations do not differ.
		everyone = 0.7
		// noise is the variance that spurious cells add.
		noise = 0.05
		// odds is how much likelier than aggregators alone, as a logarithm, every duty has
		// to be.
		odds = 4
	)
	n := float64(h.Epochs)
	mean := float64(h.Filled) / math.Max(1, n)
	pAgg := p.AggregatorShare()
	if h.Epochs < epochs || mean < meanCount || pAgg > everyone || h.Filled >= h.Cells {
		return false, false
	}
	cells, filled := float64(h.Cells)/n, float64(h.Filled)/float64(h.Cells)
	independent := cells * filled * (1 - filled)
	// Classical occupancy: so many balls, thrown at cells, leave this variance.
	empty := 1 - filled
	fixed := cells * math.Max(0, empty-(1-math.Log(empty))*empty*empty)
	thinned := (1-pAgg)*independent + pAgg*fixed + noise
	fixed += noise
	squares := math.Max(0, float64(h.Squares)-n*mean*mean)
	logOdds := squares/2*(1/thinned-1/fixed) + (n-1)/2*math.Log(thinned/fixed)
	return true, logOdds > odds
}

// lifetimes sum how long the subscriptions of nodes last and when they begin. Each node has
// a bounded part: one that subscribes all the time must not outvote the others.
type lifetimes struct {
	bins           [LifetimeBins]float64
	ended, slots   float64
	seen           float64 // ended ones, without the bound
	begun, atStart float64
}

// add adds a node with what it has shown, up to a number of subscriptions.
func (l *lifetimes) add(h Behaviour) {
	const most = 20
	ended := 0.0
	for _, n := range h.Lifetimes {
		ended += float64(n)
	}
	weight := min(1, most/math.Max(1, ended))
	for i, n := range h.Lifetimes {
		l.bins[i] += weight * float64(n)
	}
	l.seen += ended
	l.ended += weight * ended
	l.slots += weight * float64(h.Slots)
	weight = min(1, most/math.Max(1, float64(h.Subscribed)))
	l.begun += weight * float64(h.Subscribed)
	l.atStart += weight * float64(h.AtEpochStart)
}

// fits tests whether subscriptions begin when, and last as long as, a window says (M3).
func (l lifetimes) fits(w window, p Params) Verdict {
	const enough = 50
	slots := float64(p.slots())
	mean := l.slots / math.Max(1, l.ended)
	atStart := l.atStart / math.Max(1, l.begun)
	const mostly, hardly = 0.6, 0.4
	switch w.policy {
	case epochStart:
		return verdict(l.seen >= enough, atStart >= mostly && mean >= 0.3*slots && mean <= 1.1*slots)
	case epochAhead:
		return verdict(l.seen >= enough, mean >= 0.75*slots)
	default:
		at := l.bins[lifetimeBin(w.slots)] / math.Max(1, l.ended)
		return verdict(l.seen >= enough, at >= mostly && (atStart <= hardly || slots < 8))
	}
}
