package estimate

import (
	"math"
	"slices"
)

// epochCounts are how many cells were filled in the duty epochs of one day that were
// watched as a whole: the sums of the numbers, of their squares, and of all cells.
type epochCounts struct{ epochs, filled, squares, cells float64 }

func (h Behaviour) epochs() epochCounts {
	return epochCounts{float64(h.Epochs), float64(h.Filled), float64(h.Squares), float64(h.Cells)}
}

// bySubnet reports whether a cell is a subnet of an epoch, not a slot and subnet.
func (c epochCounts) bySubnet() bool { return c.cells <= subnets*c.epochs }

// enough reports whether the numbers of a day can be compared: where a subnet that is on hides
// the duties of other slots, only as long as few are.
func (c epochCounts) enough() bool {
	const epochs, mean, few, most = 2, 0.5, 0.15, 0.97
	part := c.filled / c.cells
	return c.epochs >= epochs && c.filled >= mean*c.epochs && (part < few || c.bySubnet() && part < most)
}

// everyDuty is how much likelier (as a logarithm) the numbers of filled cells are if the node
// shows every duty than if it shows those of aggregators. Aggregators are drawn again each
// epoch. Every validator has one duty each epoch, so that what varies is only which of
// the duties fall on cells that do not count, and which share a cell.
func (c epochCounts) everyDuty(p Params) float64 {
	// noise is the variance that spurious and missed cells add, per epoch and per filled cell.
	const noise, missed = 0.05, 0.02
	if !c.enough() {
		return 0
	}
	mean, cells := c.filled/c.epochs, c.cells/c.epochs
	places := float64(p.cellsPerEpoch())
	if c.bySubnet() {
		places = subnets
	}
	empty := 1 - c.filled/c.cells
	duties := -cells * math.Log(empty) // that fall on cells that count
	independent := cells * empty * (1 - empty)
	drawn := noise + missed*mean
	fixed := independent - min(1, cells/places)*duties*empty*empty
	thinned := independent - p.AggregatorShare()*(independent-fixed) + drawn
	fixed = max(0, fixed) + drawn
	squares := max(0, c.squares-c.epochs*mean*mean)
	return squares/2*(1/thinned-1/fixed) + (c.epochs-1)/2*math.Log(thinned/fixed)
}

// everyDuty is the sum over days, bounded: variances of few numbers prove no more.
func (e *Evidence) everyDuty(p Params) (odds float64) {
	const most = 12
	for _, c := range e.epochs {
		odds += c.everyDuty(p)
	}
	return min(max(odds, -most), most)
}

// lifetimes sum how long the subscriptions of nodes last and when they begin. Each node has
// a bounded part: one that subscribes all the time must not outvote the others.
type lifetimes struct {
	bins           [LifetimeBins]float64
	ended, slots   float64
	begun, atStart float64
	votes          []int // of each node with enough, the bin of the median lifetime
}

// add adds a node with what it has shown, up to a number of subscriptions.
func (l *lifetimes) add(h Behaviour) {
	const most = 20
	ended := 0.0
	for _, n := range h.Lifetimes {
		ended += float64(n)
	}
	if ended >= 3 {
		l.votes = append(l.votes, medianBin(h.Lifetimes, ended))
	}
	weight := min(1, most/math.Max(1, ended))
	for i, n := range h.Lifetimes {
		l.bins[i] += weight * float64(n)
	}
	l.ended += weight * ended
	l.slots += weight * float64(h.Slots)
	weight = min(1, most/math.Max(1, float64(h.Subscribed)))
	l.begun += weight * float64(h.Subscribed)
	l.atStart += weight * float64(h.AtEpochStart)
}

// voters is how many nodes a measured lifetime takes at least.
const voters = 5

func medianBin(bins [LifetimeBins]uint32, sum float64) int {
	below := 0.0
	for i, n := range bins {
		if below += float64(n); below >= sum/2 {
			return i
		}
	}
	return LifetimeBins - 1
}

// slotsOf is for how many slots the median node's subscriptions last; 0 for too few nodes, or
// where they last too long to be told exactly.
func (l lifetimes) slotsOf() int {
	const exact = 4
	if len(l.votes) < voters {
		return 0
	}
	slices.Sort(l.votes)
	if n := l.votes[len(l.votes)/2]; n <= exact {
		return n
	}
	return 0
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
		return verdict(l.ended >= enough && len(l.votes) >= voters, atStart >= mostly && mean >= 0.3*slots && mean <= 1.1*slots)
	case epochAhead:
		return verdict(l.ended >= enough && len(l.votes) >= voters, mean >= 0.75*slots)
	default:
		at := l.bins[lifetimeBin(w.slots)] / math.Max(1, l.ended)
		return verdict(l.ended >= enough && len(l.votes) >= voters, at >= mostly && (atStart <= hardly || slots < 8))
	}
}
