package sentry

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// thresholdAge is how long the ranking of the least known peers stays valid.
// For slots of 12 s.
const thresholdAge = 5 * time.Second

// slotSlack: the peers with the greatest need may stay, as many as slots are free plus a share of
// all slots, so that a free slot does not wait for one particular peer.
const slotSlack = 4

// watchCost is what each watch counts for in epochs, whatever its result: a peer that
// always leaves at once must not always come first.
const watchCost = 0.25

// handshakeSummary is what a census visit has seen that shows how much a watch could add.
type handshakeSummary struct {
	client eth2.ClientKind
	cgc    *uint64 // nil when MetaData did not say
}

// weight is how much a peer's watch is worth relative to others. A custody group count
// between its bounds already says how much stake there is; at the bounds it says
// "validators, but how many?"; and one of 4 says that there are none, except from
// a client that does not count an external client's validators (docs: custody group
// counts).
func (g handshakeSummary) weight() float32 {
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

// watched is the result of a peer's watches so far.
type watched struct {
	watches uint32
	epochs  float32
	weight  float32 // 0 unless the last visit asked for a slot
}

// need orders peers for a watch slot, lowest first. Peers never watched come before
// all others, higher weights first; after them those watched least for
// their weight.
func (w *watched) need() float32 {
	if w.watches == 0 {
		return -w.weight
	}
	return (w.epochs + watchCost*float32(w.watches)) / max(w.weight, 1)
}

// watchSlots assigns the slots for watching. The schedule's goroutine owns it.
type watchSlots struct {
	max      int
	inUse    int
	age      time.Duration // how long a threshold holds
	judgedAt time.Time
	maxNeed  float32 // need that still gets a slot
}

func newWatchSlots(cfg Config, clock eth2.Clock) watchSlots {
	return watchSlots{max: cfg.MaxWatched, age: clock.Scale(thresholdAge)}
}

// acquire gives the peer a slot, if one is free and it is among the reachable peers
// that need one most.
func (t *watchSlots) acquire(peers *table, p *peer, seen handshakeSummary, now time.Time) bool {
	p.watched.weight = seen.weight()
	if t.inUse >= t.max {
		return false
	}
	if t.judgedAt.IsZero() || now.Sub(t.judgedAt) >= t.age {
		t.judgedAt, t.maxNeed = now, needOfRank(peers.needs(), t.max-t.inUse+t.max/slotSlack)
	}
	if p.watched.need() > t.maxNeed {
		return false
	}
	t.inUse++
	p.watched.watches++
	return true
}

// release frees the slot after a watch of some epochs.
func (t *watchSlots) release(p *peer, epochs float64) {
	t.inUse--
	p.watched.epochs += float32(epochs)
}

// needOfRank is the highest of the rank lowest needs.
func needOfRank(needs []float32, rank int) float32 {
	if len(needs) <= rank {
		return math.MaxFloat32
	}
	slices.Sort(needs)
	return needs[rank-1]
}

// requestSlotFunc asks the schedule whether a census visit may stay and watch.
type requestSlotFunc func(ctx context.Context, seen handshakeSummary) bool

// slotRequest is a requestSlotFunc's question on its way to the schedule.
type slotRequest struct {
	visit    *running
	summary  handshakeSummary
	acquired chan bool // buffered
}

// slotRequester is the requestSlotFunc of one visit. The answer is no once ctx has ended.
func (s *schedule) slotRequester(st *running) requestSlotFunc {
	return func(ctx context.Context, seen handshakeSummary) bool {
		a := slotRequest{visit: st, summary: seen, acquired: make(chan bool, 1)}
		select {
		case s.slotRequests <- a:
			return <-a.acquired
		case <-ctx.Done():
			return false
		}
	}
}
