package sentry

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
)

// peer is what we know of one peer. Only the table's owner touches it; visits get
// copies of what they need.
type peer struct {
	id  string
	seq uint64 // of the newest record
	// record is the newest one, nil for a peer that only ever dialled us. target is
	// empty where it is of another network or fork: such a peer is not dialled.
	record *enr.Record
	target p2p.Target

	due       time.Time
	notBefore time.Time // a goodbye's or a wrong digest's wait
	index     int       // in the queue, -1 when not queued
	visiting  int       // visits under way: an inbound one can meet a dial
	calls     int       // of those, inbound ones
	watching  bool      // one of them watches
	watched   watched
	moved     bool // the address changed during the visit

	fails     int // failed visits in a row
	reachable bool
	lastVisit time.Time // end of the last one
	spoke     time.Time // start of the last one with a handshake
	lastSeen  time.Time // newest record or visit
	// announced is set when the record was published since the start: each start
	// publishes what it finds once more, since a crash may have lost an event.
	announced bool
}

// dialable reports whether the newest record is of our network and has an address.
func (p *peer) dialable() bool { return len(p.target.QUIC)+len(p.target.TCP) > 0 }

// rank orders peers for eviction: the lowest goes first, the long unseen before
// the rest of its rank.
func (p *peer) rank() int {
	switch {
	case p.reachable:
		return 2
	case p.dialable():
		return 1
	default:
		return 0
	}
}

// table is the bounded set of peers and the queue of those to visit. One goroutine
// owns it.
type table struct {
	max          int
	allowPrivate bool
	forks        forks
	revisit      int // epochs
	byID         map[string]*peer
	queue        dueQueue
	reachable    int
	// dialled holds when an address was last dialled, for spacing: nodes that come
	// back with a new identity keep their address.
	dialled map[netip.AddrPort]time.Time
	// store keeps it all over a restart; nil keeps nothing.
	store *Store
}

func newTable(cfg Config, f forks) *table {
	return &table{
		max: cfg.MaxPeers, allowPrivate: cfg.AllowPrivate, forks: f,
		revisit: cfg.Revisit,
		byID:    make(map[string]*peer), dialled: make(map[netip.AddrPort]time.Time),
	}
}

// scaled shrinks a wait with the network's slots.
func (t *table) scaled(d time.Duration) time.Duration { return t.forks.clock.Scale(d) }

// offer takes a record in. It reports whether the record is to be published: the
// peer's first, or one with a higher seq.
func (t *table) offer(r *enr.Record, now time.Time) (publish bool) {
	if r.Eth2 == nil || r.PeerID == "" {
		return false
	}
	p := t.byID[r.PeerID]
	if p != nil && p.seq != 0 && r.Seq <= p.seq {
		p.lastSeen = now
		first := !p.announced && r.Seq == p.seq
		p.announced = p.announced || first
		return first
	}
	if p == nil {
		if p = t.add(r.PeerID, now); p == nil {
			return false
		}
	}
	t.update(p, r, now)
	p.announced = true
	t.store.record(p)
	return true
}

// add makes an entry for a new peer; nil when the table is full of better ones.
func (t *table) add(id string, now time.Time) *peer {
	if len(t.byID) >= t.max && !t.evict() {
		return nil
	}
	p := &peer{id: id, index: -1, due: now, lastSeen: now}
	t.byID[id] = p
	return p
}

// update takes over a newer record. A new address ends the back-off that the old
// one earned, but not the wait that the peer asked for.
func (t *table) update(p *peer, r *enr.Record, now time.Time) {
	p.seq, p.lastSeen = r.Seq, now
	if !t.dialable(p, r, now) {
		p.record, p.target = r, p2p.Target{}
		t.unqueue(p)
		return
	}
	target := targetOf(r, t.allowPrivate)
	moved := !p.dialable() || !sameAddresses(p.target, target)
	p.record, p.target = r, target
	if !moved {
		return
	}
	p.fails = 0
	if p.visiting > 0 {
		p.moved = true
		return
	}
	t.schedule(p, latest(now, p.notBefore, p.lastVisit.Add(t.scaled(spacing))))
}

// begin marks a visit; an inbound one may be of a peer not known before. False when
// there is no room for a new peer.
func (t *table) begin(id string, now time.Time) (*peer, bool) {
	p := t.byID[id]
	if p == nil {
		if p = t.add(id, now); p == nil {
			return nil, false
		}
	}
	t.unqueue(p)
	p.visiting++
	t.store.begin(p, now)
	return p, true
}

// needs lists the need for a watch turn of the peers that could have one.
func (t *table) needs() []float32 {
	needs := make([]float32, 0, t.reachable)
	for _, p := range t.byID {
		if p.reachable && !p.watching {
			needs = append(needs, p.watched.need())
		}
	}
	return needs
}

// dialable reports whether a peer is on our network as far as we know: by its
// record, or, when that is old, by the digest it had when we last spoke.
func (t *table) dialable(p *peer, r *enr.Record, now time.Time) bool {
	digest := r.Eth2.ForkDigest
	if t.forks.ours(digest, now) {
		return true
	}
	_, once := t.forks.schedule.Lookup(digest)
	return once && p.reachable && t.forks.ours(t.forks.current(p.spoke), now)
}

// end books a visit and schedules the next.
func (t *table) end(p *peer, r result, now time.Time) {
	defer t.store.end(p, now)
	p.visiting--
	if r.outcome == "" { // no visit took place: the peer was connected already
		t.schedule(p, now.Add(t.scaled(spacing)))
		return
	}
	p.lastVisit, p.lastSeen = now, now
	t.setReachable(p, r.handshaked || p.reachable && r.outcome == event.OutcomeCanceled)
	wait := jitter(t.scaled(spacing))
	turning := t.forks.turning(now)
	switch {
	case r.handshaked:
		p.fails, p.spoke = 0, r.started
		if r.stayed {
			p.spoke = now // a fork may have gone by meanwhile
		}
		wait = max(wait, t.nextCensus(p, r.started, now).Sub(now))
	case r.outcome == event.OutcomeWrongNetwork && turning:
		wait = max(wait, jitter(t.scaled(turningWait)))
	case r.outcome == event.OutcomeCanceled:
	default:
		p.fails++
		wait = max(wait, jitter(t.scaled(backoffOf(r.outcome).after(p.fails))))
	}
	if r.outcome == event.OutcomeWrongNetwork && !turning {
		p.notBefore = now.Add(wait)
	}
	if r.goodbye != nil {
		p.notBefore = now.Add(jitter(t.scaled(goodbyeWait(*r.goodbye, turning))))
	}
	if p.moved {
		p.moved, p.fails = false, 0
		wait = t.scaled(spacing)
	}
	t.schedule(p, latest(now.Add(wait), p.notBefore))
}

func (t *table) setReachable(p *peer, reachable bool) {
	if p.reachable != reachable {
		p.reachable = reachable
		if reachable {
			t.reachable++
		} else {
			t.reachable--
		}
	}
}

// schedule queues a peer that can be dialled, once no visit of it is under way.
func (t *table) schedule(p *peer, due time.Time) {
	t.unqueue(p)
	p.due = due
	if p.visiting == 0 && p.dialable() {
		heap.Push(&t.queue, p)
	}
}

func (t *table) unqueue(p *peer) {
	if p.index >= 0 {
		heap.Remove(&t.queue, p.index)
	}
}

// next takes the peer to dial now, marked as visited; otherwise it tells when one
// will be due, zero for never.
func (t *table) next(now time.Time) (p *peer, wake time.Time) {
	for t.queue.Len() > 0 {
		p := t.queue[0]
		if p.due.After(now) {
			return nil, p.due
		}
		if !t.dialable(p, p.record, now) { // a fork went by
			t.unqueue(p)
			p.target = p2p.Target{}
			continue
		}
		if free := t.freeAt(p.target); free.After(now) {
			t.schedule(p, free)
			continue
		}
		t.begin(p.id, now)
		for _, a := range addresses(p.target) {
			t.dialled[a] = now
		}
		return p, time.Time{}
	}
	return nil, time.Time{}
}

// freeAt is when every address of the target may be dialled.
func (t *table) freeAt(target p2p.Target) (free time.Time) {
	for _, a := range addresses(target) {
		if last, ok := t.dialled[a]; ok {
			free = latest(free, last.Add(t.scaled(spacing)))
		}
	}
	return free
}

// forget drops the addresses that may be dialled again, which bounds them by the
// rate of dials.
func (t *table) forget(now time.Time) {
	for a, last := range t.dialled {
		if now.Sub(last) > t.scaled(spacing) {
			delete(t.dialled, a)
		}
	}
}

// evict drops the peer of lowest rank, longest unseen, of a random sample. False
// when none of them may go.
func (t *table) evict() bool {
	const sample = 16
	var worst *peer
	seen := 0
	for _, p := range t.byID { // map order is random enough
		if p.visiting == 0 && (worst == nil || p.rank() < worst.rank() ||
			p.rank() == worst.rank() && p.lastSeen.Before(worst.lastSeen)) {
			worst = p
		}
		if seen++; seen == sample {
			break
		}
	}
	if worst == nil {
		return false
	}
	t.drop(worst)
	return true
}

// drop removes a peer of which no visit is under way.
func (t *table) drop(p *peer) {
	t.unqueue(p)
	t.setReachable(p, false)
	delete(t.byID, p.id)
	t.store.forget(p)
}

// targetOf is where the record says its node listens. A port of 0 is none.
func targetOf(r *enr.Record, allowPrivate bool) p2p.Target {
	target := p2p.Target{PeerID: r.PeerID}
	add := func(list *[]netip.AddrPort, ip netip.Addr, port uint16) {
		if ip.IsValid() && port != 0 && (allowPrivate || public(ip)) {
			*list = append(*list, netip.AddrPortFrom(ip, port))
		}
	}
	tcp6 := r.TCP6
	if tcp6 == 0 {
		tcp6 = r.TCP // EIP-778: the port of both families when tcp6 is missing
	}
	add(&target.QUIC, r.IP4, r.QUIC)
	add(&target.QUIC, r.IP6, r.QUIC6)
	add(&target.TCP, r.IP4, r.TCP)
	add(&target.TCP, r.IP6, tcp6)
	return target
}

func public(ip netip.Addr) bool { return ip.IsGlobalUnicast() && !ip.IsPrivate() }

func addresses(t p2p.Target) []netip.AddrPort { return slices.Concat(t.QUIC, t.TCP) }

func sameAddresses(a, b p2p.Target) bool {
	return slices.Equal(a.QUIC, b.QUIC) && slices.Equal(a.TCP, b.TCP)
}

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// dueQueue is a heap of peers by due time.
type dueQueue []*peer

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *dueQueue) Push(x any) {
	p := x.(*peer)
	p.index = len(*q)
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
