package sentry

import (
	"context"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/prefix"
)

// thresholdAge is how long the ranking of the least known peers stays valid.
// For slots of 12 s.
const thresholdAge = 5 * time.Second

// slotSlack: the peers with the greatest need may stay, as many as slots are free plus a share of
// all slots, so that a free slot does not wait for one particular peer.
const slotSlack = 4

// A group of addresses has up to 0.5 % of the slots for one address (IPv6: /64) and 1 % for
// one network (/24, /48), at most these and at least one, while others need slots.
const (
	maxWatchedPerHost = 4
	maxWatchedPerNet  = 8
)

// watchCost is what each watch counts for in epochs, whatever its result: a peer that
// always leaves at once must not always come first.
const watchCost = 0.25

// handshakeSummary is what a census visit has seen that shows how much a watch could add.
type handshakeSummary struct {
	client eth2.ClientKind
	cgc    *uint64 // nil when MetaData did not say
	from   netip.Addr
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
	waiting  int     // peers of groups within their budget that need a slot
	groups   prefix.Counter
	budget   prefix.Budget // of a group, while others need slots
}

func newWatchSlots(cfg Config, clock eth2.Clock) watchSlots {
	share := func(percent float64, most int) int {
		return min(most, int(math.Ceil(percent/100*float64(cfg.MaxWatched))))
	}
	return watchSlots{
		max: cfg.MaxWatched, age: clock.Scale(thresholdAge),
		budget: prefix.Budget{Host: share(0.5, maxWatchedPerHost), Net: share(1, maxWatchedPerNet)},
	}
}

// acquire gives the peer a slot, if one is free and it is among the reachable peers
// that need one most.
func (t *watchSlots) acquire(peers *table, p *peer, seen handshakeSummary, now time.Time) bool {
	p.watched.weight, p.at = seen.weight(), prefix.Of(seen.from)
	if t.inUse >= t.max {
		return false
	}
	if t.judgedAt.IsZero() || now.Sub(t.judgedAt) >= t.age {
		needs := t.needs(peers)
		t.judgedAt, t.waiting, t.maxNeed = now, len(needs), needOfRank(needs, t.max-t.inUse+t.max/slotSlack)
	}
	switch within := t.groups.Full(p.at, t.budget) == 0; {
	case within && p.watched.need() > t.maxNeed:
		return false
	case !within && t.max-t.inUse <= t.waiting:
		return false
	}
	t.inUse++
	p.watched.watches++
	t.groups.Add(p.at)
	return true
}

// release frees the slot after a watch of some epochs; at is where the peer was when it
// acquired the slot.
func (t *watchSlots) release(p *peer, at prefix.Groups, epochs float64) {
	t.inUse--
	t.groups.Remove(at)
	p.watched.epochs += float32(epochs)
}

// needs lists the need for a slot of the peers that could use one, of each group as many as
// its budget. Peers that did not request a slot in their last visit, such as full nodes that
// say goodbye first, would keep a slot from those that did.
func (t *watchSlots) needs(peers *table) []float32 {
	needs := make([]float32, 0, peers.reachable)
	var listed prefix.Counter
	for _, p := range peers.byID {
		if !p.reachable || p.watching || p.watched.weight == 0 || t.groups.Full(p.at, t.budget) != 0 || listed.Full(p.at, t.budget) != 0 {
			continue
		}
		listed.Add(p.at)
		needs = append(needs, p.watched.need())
	}
	return needs
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
