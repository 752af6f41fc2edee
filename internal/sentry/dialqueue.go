package sentry

import (
	"container/heap"
	"net/netip"
	"time"

	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/prefix"
)

const (
	// quickCensus is the longest last visit of a peer that is dialled before others.
	quickCensus = 5 * time.Second
	// slowCensus is the last visit from which on the next one gets no longer than that,
	// when others wait.
	slowCensus = 10 * time.Second
	// failuresPeriod is the time of failureBudget; for slots of 12 s.
	failuresPeriod = time.Hour
)

var (
	// dialBudget bounds the dials to a group of addresses at one time. More are made
	// while half of the dialers are free.
	dialBudget = prefix.Budget{Host: 2, Net: 4}
	// failureBudget bounds the dials that end without a handshake, of peers without a
	// recent one. Anybody can put another's address into any number of records.
	failureBudget = prefix.Budget{Host: 30, Net: 120}
)

// dialQueue is who waits for a dial, and whose dials are running. Its peers are in one of
// three places: proven ones (which had a quick handshake lately and no failure since),
// strangers, and those that are due and whose group has its share of dialers (held).
//
// Proven peers may use every dialer. The rest may use half of them, and all when
// no proven peer is due soon.
type dialQueue struct {
	dialers int
	proven  dueQueue
	unknown dueQueue
	held    map[prefix.Key]*dueQueue
	running prefix.Counter
	spare   int // running dials of others than proven peers within their budget
	// failures counts the dials of strangers; those that succeed are taken back.
	failures prefix.Rate
}

// booking is what a dial holds.
type booking struct {
	groups   []prefix.Groups
	stranger bool
	spare    bool
	ended    bool // it holds no dialer any more
}

// len is the number of peers that wait.
func (q *dialQueue) len() int {
	n := len(q.proven) + len(q.unknown)
	for _, held := range q.held {
		n += len(*held)
	}
	return n
}

// due counts the peers whose time has come.
func (q *dialQueue) due(now time.Time) int {
	n := q.proven.due(now) + q.unknown.due(now)
	for _, held := range q.held {
		n += len(*held)
	}
	return n
}

// waiting reports whether a peer is due.
func (q *dialQueue) waiting(now time.Time) bool {
	return q.proven.headBefore(now) || q.unknown.headBefore(now) || len(q.held) > 0
}

func (q *dialQueue) add(p *peer, proven bool) {
	p.queue = &q.unknown
	if proven {
		p.queue = &q.proven
	}
	heap.Push(p.queue, p)
}

// hold puts a due peer aside until a dial of the group ends.
func (q *dialQueue) hold(p *peer, full prefix.Key) {
	if q.held == nil {
		q.held = make(map[prefix.Key]*dueQueue)
	}
	if q.held[full] == nil {
		q.held[full] = new(dueQueue)
	}
	p.queue, p.heldBy = q.held[full], full
	heap.Push(p.queue, p)
}

func (q *dialQueue) remove(p *peer) {
	if p.index < 0 {
		return
	}
	heap.Remove(p.queue, int(p.index))
	if p.heldBy != 0 && len(*p.queue) == 0 {
		delete(q.held, p.heldBy)
	}
	p.queue, p.heldBy = nil, 0
}

// take removes the peer to dial next; nil with the time at which one is due. over means
// that its group has its share already.
func (q *dialQueue) take(now time.Time) (p *peer, over bool, wake time.Time) {
	spare := q.spareFree(now)
	switch {
	case q.proven.headBefore(now):
		p = q.proven[0]
	case spare && q.unknown.headBefore(now):
		p = q.unknown[0]
	case spare && len(q.held) > 0:
		for _, held := range q.held { // any group: map order is random enough
			p, over = (*held)[0], true
			break
		}
	default:
		if len(q.proven) > 0 {
			wake = q.proven[0].due
		}
		if spare && len(q.unknown) > 0 && (wake.IsZero() || q.unknown[0].due.Before(wake)) {
			wake = q.unknown[0].due
		}
		return nil, false, wake
	}
	q.remove(p)
	return p, over, time.Time{}
}

// spareFree reports whether others than proven peers may have a dialer.
func (q *dialQueue) spareFree(now time.Time) bool {
	return q.spare < max(1, q.dialers/2) || !q.proven.headBefore(now.Add(dialTimeout))
}

// full gives a group of the target that has its share of dialers, zero when none has.
func (q *dialQueue) full(groups []prefix.Groups) prefix.Key {
	for _, g := range groups {
		if full := q.running.Full(g, dialBudget); full != 0 {
			return full
		}
	}
	return 0
}

// begin books a dial.
func (q *dialQueue) begin(p *peer, b *booking, now time.Time) {
	p.dial = b
	if b.spare {
		q.spare++
	}
	for _, g := range b.groups {
		q.running.Add(g)
		if b.stranger {
			q.failures.Add(g, now)
		}
	}
}

// end frees the dialer of a peer's dial, if it holds one, and gives the peers that were held
// for it.
func (q *dialQueue) end(p *peer) (released []*peer) {
	b := p.dial
	if b == nil || b.ended {
		return nil
	}
	b.ended = true
	if b.spare {
		q.spare--
	}
	for _, g := range b.groups {
		q.running.Remove(g)
		for _, key := range [...]prefix.Key{g.Host, g.Net} {
			if held := q.held[key]; held != nil {
				next := (*held)[0]
				q.remove(next)
				released = append(released, next)
			}
		}
	}
	return released
}

// excuse takes back what a peer's dial counted as a failure, once.
func (q *dialQueue) excuse(p *peer) {
	if p.dial == nil || !p.dial.stranger {
		return
	}
	p.dial.stranger = false
	for _, g := range p.dial.groups {
		q.failures.Return(g)
	}
}

// groupsOf are the groups of a target's addresses, each once.
func groupsOf(target p2p.Target) []prefix.Groups {
	groups := make([]prefix.Groups, 0, 2)
	var seen [2]netip.Addr // at most one address of each family
	for _, a := range addresses(target) {
		if ip := a.Addr(); ip != seen[0] && ip != seen[1] {
			seen[0], seen[1] = ip, seen[0]
			groups = append(groups, prefix.Of(ip))
		}
	}
	return groups
}

// dueQueue is a heap of peers by due time.
type dueQueue []*peer

// headBefore reports whether a peer is due by then.
func (q dueQueue) headBefore(at time.Time) bool { return len(q) > 0 && !q[0].due.After(at) }

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = int32(i), int32(j)
}
func (q *dueQueue) Push(x any) {
	p := x.(*peer)
	p.index = int32(len(*q))
	*q = append(*q, p)
}
func (q *dueQueue) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	p.index = -1
	return p
}

// due counts the peers whose time has come. A heap has none under one whose time
// has not.
func (q dueQueue) due(now time.Time) (n int) {
	for pending := []int{0}; len(pending) > 0; {
		i := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if i < len(q) && !q[i].due.After(now) {
			n++
			pending = append(pending, 2*i+1, 2*i+2)
		}
	}
	return n
}
