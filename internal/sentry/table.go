package sentry

import (
	"net/netip"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/prefix"
)

// table is the bounded set of peers and the queue of those to visit. One goroutine
// owns it.
type table struct {
	max          int
	allowPrivate bool
	forks        forks
	revisit      int // epochs
	byID         map[string]*peer
	queue        dialQueue
	reachable    int
	adoptedAt    time.Time // when adopt took a stored table over; zero without one
	// dialled holds when an address was last dialled, for spacing: nodes that come
	// back with a new identity keep their address.
	dialled map[netip.AddrPort]time.Time
	// store keeps the table across restarts; nil keeps nothing.
	store *Store
}

func newTable(cfg Config, f forks) *table {
	return &table{
		max: cfg.MaxPeers, allowPrivate: cfg.AllowPrivate, forks: f,
		revisit: cfg.Revisit,
		queue:   dialQueue{dialers: cfg.Dialers, failures: prefix.Rate{Budget: failureBudget, Period: f.clock.Scale(failuresPeriod)}},
		byID:    make(map[string]*peer), dialled: make(map[netip.AddrPort]time.Time),
	}
}

// scaled shrinks a wait with the network's slots.
func (t *table) scaled(d time.Duration) time.Duration { return t.forks.clock.Scale(d) }

// offer adds or updates a record. It reports whether the record is to be published: the
// peer's first, one with a higher seq, or another that the peer itself gave.
func (t *table) offer(r *enr.Record, now time.Time) (publish bool) {
	if r.Eth2 == nil || r.PeerID == "" {
		return false
	}
	p := t.byID[r.PeerID]
	if p != nil && p.seq != 0 && r.Seq <= p.seq && (!r.Own || r.Raw == p.text) {
		p.lastSeen = now
		if r.Raw == p.text {
			p.text = r.Raw // the finder's string: after a restart there are two
		}
		first := !p.announced && r.Seq == p.seq
		p.announced = p.announced || first
		return first
	}
	if p == nil {
		rank := rankForeign
		if t.forks.ours(r.Eth2.ForkDigest, now) {
			rank = rankDialable
		}
		if p = t.add(r.PeerID, rank, now); p == nil {
			return false
		}
	}
	t.update(p, r, now)
	p.announced = true
	t.store.record(p)
	return true
}

// add creates an entry for a new peer; nil when the table is full of better ones.
func (t *table) add(id string, rank int, now time.Time) *peer {
	if len(t.byID) >= t.max && !t.evict(rank) {
		return nil
	}
	p := &peer{id: id, index: -1, due: now, lastSeen: now}
	t.byID[id] = p
	return p
}

// update replaces the record with a newer one. A new address ends the backoff of the old
// one, but not the wait that the peer asked for; and only now and then, or whoever makes up
// addresses would be dialled without end.
func (t *table) update(p *peer, r *enr.Record, now time.Time) {
	var before p2p.Target // where it was dialled
	if p.dialable {
		before = t.target(p)
	}
	p.setRecord(r)
	p.lastSeen = now
	if !t.onNetwork(p, now) {
		p.dialable = false
		t.unqueue(p)
		return
	}
	target := targetOf(r, t.allowPrivate)
	moved := !p.dialable || !sameAddresses(before, target)
	if p.dialable = hasAddress(target); !p.dialable {
		t.unqueue(p)
		return
	}
	if !moved {
		return
	}
	if !p.lastVisit.IsZero() && !p.mayMove(now, t.scaled(moveInterval)) {
		if p.index < 0 {
			t.schedule(p, latest(now, p.due))
		}
		return
	}
	p.fails = 0
	if p.visiting > 0 {
		p.moved = true
		return
	}
	t.schedule(p, latest(now, p.notBefore, p.lastVisit.Add(t.scaled(spacing))))
}

// beginVisit marks a visit; an inbound one may be of a peer not known before. False when
// there is no room for a new peer.
func (t *table) beginVisit(id string, now time.Time) (*peer, bool) {
	p := t.byID[id]
	if p == nil {
		if p = t.add(id, rankDialable, now); p == nil {
			return nil, false
		}
	}
	t.unqueue(p)
	p.visiting++
	t.store.begin(p, now)
	return p, true
}

// nextVisit is when a guest's next visit is due: one that cannot be dialled is visited when
// it dials in the next interval.
func (t *table) nextVisit(p *peer, now time.Time) time.Time {
	if p.dialable && p.due.After(now) {
		return p.due
	}
	return t.intervalStart(t.intervalOf(now) + 1)
}

// onNetwork reports whether a peer with a record is on our network as far as we
// know: by the record, or, when that is old, by the digest it had when we last spoke.
func (t *table) onNetwork(p *peer, now time.Time) bool {
	if t.forks.ours(p.digest, now) {
		return true
	}
	_, once := t.forks.schedule.Lookup(p.digest)
	return once && !p.lastHandshake.IsZero() && t.forks.ours(t.forks.current(p.lastHandshake), now)
}

// endVisit applies the result of a visit and schedules the next one.
func (t *table) endVisit(p *peer, r result, now time.Time) {
	defer t.store.end(p)
	p.visiting--
	if p.visiting == 0 {
		t.endDial(p)
		if r.handshaked || r.outcome == "" || r.outcome == event.OutcomeCanceled {
			t.queue.excuse(p)
		}
		p.dial = nil
	}
	if r.guest {
		p.moved = false
		t.schedule(p, latest(now, p.due))
		return
	}
	if r.outcome == "" { // no visit took place: the peer was connected already
		t.schedule(p, now.Add(t.scaled(spacing)))
		return
	}
	p.lastVisit, p.lastSeen, p.tookMS = now, now, int32(r.took.Milliseconds())
	if r.handshaked {
		p.at = prefix.Of(r.from)
	}
	t.setReachable(p, r.handshaked || p.reachable && r.outcome == event.OutcomeCanceled)
	wait := jitter(t.scaled(spacing))
	nearFork := t.forks.nearFork(now)
	switch {
	case r.handshaked:
		p.fails, p.lastHandshake = 0, r.started
		if r.stayed {
			p.lastHandshake = now // a fork may have happened meanwhile
		}
		wait = max(wait, t.nextCensus(p, r.started, now).Sub(now))
	case r.outcome == event.OutcomeWrongNetwork && nearFork:
		wait = max(wait, jitter(t.scaled(nearForkWait)))
	case r.outcome == event.OutcomeCanceled:
	default:
		p.fails++
		wait = max(wait, t.backoff(p, r.outcome, now))
	}
	if r.outcome == event.OutcomeWrongNetwork && !nearFork {
		p.notBefore = now.Add(wait)
	}
	if r.goodbye != nil {
		p.notBefore = now.Add(jitter(t.scaled(goodbyeWait(*r.goodbye, nearFork))))
	}
	if p.moved {
		p.moved, p.fails = false, 0
		wait = t.scaled(spacing)
	}
	t.schedule(p, latest(now.Add(wait), p.notBefore))
}

// reachableIntervals is how long a peer counts as reachable after the last handshake,
// in intervals: one that is visited has one in each.
const reachableIntervals = 4

// expire ends the reachable state of peers that had no handshake for long: inbound
// peers that are not dialled and do not connect again, and peers that moved to another
// network. Stored peers get the same time from the start on.
func (t *table) expire(now time.Time) {
	limit := reachableIntervals * time.Duration(t.revisit) * t.forks.clock.EpochDuration()
	if now.Sub(t.adoptedAt) <= limit {
		return
	}
	for _, p := range t.byID {
		if p.visiting == 0 && now.Sub(p.lastHandshake) > limit {
			t.setReachable(p, false)
		}
	}
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

// schedule queues a peer that can be dialled, once it has no ongoing visit.
func (t *table) schedule(p *peer, due time.Time) {
	t.unqueue(p)
	p.due = due
	if p.visiting == 0 && p.dialable {
		t.queue.add(p, t.proven(p, due))
	}
}

func (t *table) unqueue(p *peer) { t.queue.remove(p) }

// proven reports whether a peer has had a quick handshake not long before a time, and no
// failure since.
func (t *table) proven(p *peer, at time.Time) bool {
	return p.fails == 0 && p.took() <= quickCensus && !p.lastHandshake.IsZero() && at.Sub(p.lastHandshake) < t.scaled(recentContact)
}

// endDial frees the dialer that a peer's dial holds, if it holds one.
func (t *table) endDial(p *peer) {
	for _, next := range t.queue.end(p) {
		t.schedule(next, next.due)
	}
}

// visitLimit is how long the next visit may take without its watch.
func (t *table) visitLimit(p *peer, now time.Time) time.Duration {
	if p.took() > slowCensus && t.queue.waiting(now) {
		return slowCensus
	}
	return visitTimeout
}

// nextDue takes the peer to dial now and marks it as visited; otherwise it returns the
// time at which one is due, zero for never.
func (t *table) nextDue(now time.Time) (p *peer, wake time.Time) {
	for {
		p, over, wake := t.queue.take(now)
		if p == nil {
			return nil, wake
		}
		if !t.onNetwork(p, now) { // a fork has happened
			p.dialable = false
			continue
		}
		target, stranger := t.target(p), !t.proven(p, now)
		groups := groupsOf(target)
		if free := t.freeAt(target, groups, stranger, now); free.After(now) {
			t.schedule(p, free)
			continue
		}
		if full := t.queue.full(groups); full != 0 && !over {
			t.queue.hold(p, full)
			continue
		}
		t.beginVisit(p.id, now)
		t.queue.begin(p, &booking{groups: groups, stranger: stranger, spare: stranger || over}, now)
		dialled := addresses(target)
		for _, a := range dialled {
			t.dialled[a] = now
		}
		t.store.dial(dialled, now)
		return p, time.Time{}
	}
}

// target is where a peer's record says that it can be dialled.
func (t *table) target(p *peer) p2p.Target {
	if r := p.record(); r != nil {
		return targetOf(r, t.allowPrivate)
	}
	return p2p.Target{PeerID: p.id}
}

// freeAt is when every address of the target may be dialled.
func (t *table) freeAt(target p2p.Target, groups []prefix.Groups, stranger bool, now time.Time) (free time.Time) {
	for _, a := range addresses(target) {
		if last, ok := t.dialled[a]; ok {
			free = latest(free, last.Add(t.scaled(spacing)))
		}
	}
	for _, g := range groups {
		if stranger {
			free = latest(free, t.queue.failures.Next(g, now))
		}
	}
	return free
}

// forgetDialled drops the addresses that may be dialled again, which bounds them by the
// rate of dials.
func (t *table) forgetDialled(now time.Time) {
	for a, last := range t.dialled {
		if now.Sub(last) > t.scaled(spacing) {
			delete(t.dialled, a)
		}
	}
	t.queue.failures.Forget(now)
	t.store.expire(now.Add(-t.scaled(spacing)))
}

// evict drops the peer of lowest rank, longest unseen, of a random sample. False when
// none of them may be dropped for a newcomer of the given rank.
func (t *table) evict(rank int) bool {
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
	if worst == nil || worst.rank() > rank {
		return false
	}
	t.drop(worst)
	return true
}

// drop removes a peer without ongoing visits.
func (t *table) drop(p *peer) {
	t.unqueue(p)
	t.setReachable(p, false)
	delete(t.byID, p.id)
	t.store.forget(p)
}

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}
