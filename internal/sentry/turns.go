package sentry

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// thresholdAge is how long the judgement holds of which peers are the least known.
// For slots of 12 s.
const thresholdAge = 5 * time.Second

// turnSlack: as many peers as there are places free may stay, those in most need, and
// a share of all places more, so that a free place does not wait for one certain peer
// to come by.
const turnSlack = 4

// turnCost is what a turn counts for in epochs watched, whatever it brought: a peer
// that always leaves at once must not come first for ever.
const turnCost = 0.25

// glimpse is what a census visit has seen that tells how much a watch could add.
type glimpse struct {
	client eth2.ClientKind
	cgc    *uint64 // nil when MetaData did not say
}

// weight is how much a peer's watch is worth beside another's. A custody group count
// between its bounds already says how much stake there is; at the bounds it says
// "validators, but how many?"; and one of 4 says that there are none, except from
// a client that does not count an external client's validators (docs: custody group
// counts).
func (g glimpse) weight() float32 {
	switch {
	case g.cgc == nil:
		return 2
	case *g.cgc == eth2.NumberOfCustodyGroups, *g.cgc == eth2.ValidatorCustodyRequirement:
		return 4
	case *g.cgc <= eth2.CustodyRequirement && estimate.OmitsExternalValidators(g.client):
		return 4
	case *g.cgc <= eth2.CustodyRequirement:
		return 1
	default:
		return 2
	}
}

// watched is what a peer's turns have brought so far.
type watched struct {
	turns  uint32
	epochs float32
	weight float32 // 0 unless the last visit asked for a turn
}

// need orders peers for a turn: the lowest first. Those never watched come before
// all others, the weightier first; after them whoever has been watched least for
// its weight.
func (w *watched) need() float32 {
	if w.turns == 0 {
		return -w.weight
	}
	return (w.epochs + turnCost*float32(w.turns)) / max(w.weight, 1)
}

// turns shares the places for watching. The schedule's goroutine owns it.
type turns struct {
	max     int
	taken   int
	age     time.Duration // how long a threshold holds
	judged  time.Time
	highest float32 // need that still gets a place
}

func newTurns(cfg Config, clock eth2.Clock) turns {
	return turns{max: cfg.MaxWatched, age: clock.Scale(thresholdAge)}
}

// grant gives the peer a place, if one is free and it is among the reachable peers
// that need one most.
func (t *turns) grant(peers *table, p *peer, seen glimpse, now time.Time) bool {
	p.watched.weight = seen.weight()
	if t.taken >= t.max {
		return false
	}
	if t.judged.IsZero() || now.Sub(t.judged) >= t.age {
		t.judged, t.highest = now, highestNeed(peers.needs(), t.max-t.taken+t.max/turnSlack)
	}
	if p.watched.need() > t.highest {
		return false
	}
	t.taken++
	p.watched.turns++
	return true
}

// release takes a place back after a watch of some epochs.
func (t *turns) release(p *peer, epochs float64) {
	t.taken--
	p.watched.epochs += float32(epochs)
}

// highestNeed is the highest of the rank lowest needs.
func highestNeed(needs []float32, rank int) float32 {
	if len(needs) <= rank {
		return math.MaxFloat32
	}
	slices.Sort(needs)
	return needs[rank-1]
}

// turnFunc asks the schedule whether a census visit may stay and watch.
type turnFunc func(ctx context.Context, seen glimpse) bool

// never is a turnFunc.
func never(context.Context, glimpse) bool { return false }

// ask is a turnFunc's question on its way to the schedule.
type ask struct {
	visit   *running
	seen    glimpse
	granted chan bool // buffered
}

// turnOf is the turnFunc of one visit. The answer is no once ctx has ended.
func (s *schedule) turnOf(st *running) turnFunc {
	return func(ctx context.Context, seen glimpse) bool {
		a := ask{visit: st, seen: seen, granted: make(chan bool, 1)}
		select {
		case s.asks <- a:
			return <-a.granted
		case <-ctx.Done():
			return false
		}
	}
}
