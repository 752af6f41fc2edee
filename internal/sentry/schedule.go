package sentry

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/prefix"
)

// tidyEvery is how often outdated state is dropped and the exclude file is checked.
const tidyEvery = time.Minute

// offer is a record offered to the table.
type offer struct {
	record  *enr.Record
	publish chan bool // buffered: whether the record is to be published
}

// visitor carries out visits: *Sentry. The handover context is for publishing what
// was seen, and lasts longer than ctx (withGracePeriod).
type visitor interface {
	visitPeer(ctx, handover context.Context, target p2p.Target, record *enr.Record, limit time.Duration, requestSlot requestSlotFunc) result
	receivePeer(ctx, handover context.Context, session *p2p.Session, record *enr.Record, requestSlot requestSlotFunc) result
	hostGuest(ctx, handover context.Context, session *p2p.Session, until time.Time) result
}

// result is what a visit means for the schedule.
type result struct {
	outcome    string // event.Outcome*; empty when no visit took place
	guest      bool   // the peer was a guest, and is due when it was
	started    time.Time
	handshaked bool
	goodbye    *uint64 // the peer's reason, when it said goodbye
	stayed     bool
	watched    time.Duration // how long it watched, when it stayed
	took       time.Duration // until the end of the census
	from       netip.Addr    // the peer's address, invalid when it was not connected
}

// inboundPerAddress bounds the inbound visits from one public address (IPv6: one /64
// network), watches included: enough for nodes that share an address, too few to fill
// the inbound slots from it. inboundPerNetwork bounds those from one /24 (/48) while less
// than half of the slots are free.
const (
	inboundPerAddress = 4
	inboundPerNetwork = 8
)

// running is an ongoing visit. The schedule's goroutine owns it.
type running struct {
	peer          *peer
	inbound       bool
	from          netip.Addr // address of an inbound peer, invalid when not known
	requestedSlot bool       // it asked for a watch slot
	watching      bool       // it has one, and no dial or inbound slot any more
	watchedAt     prefix.Groups
	cancel        context.CancelFunc
}

// finished is a visit's result on its way back.
type finished struct {
	visit *running
	result
}

// schedule decides who is visited when, and who stays. Its run goroutine owns the
// table; every visit has its own goroutine: at most Dialers outbound census
// visits, at most MaxWatched that watch, and at most MaxConnections in all.
type schedule struct {
	cfg          Config
	forks        forks
	table        *table
	gate         *gate
	visitor      visitor
	counters     *counters
	drought      *drought
	slots        watchSlots
	slotRequests chan slotRequest
	done         chan finished
	visits       sync.WaitGroup
	running      map[*running]struct{} // all ongoing visits
	dials        int                   // of those, outbound census visits
	inbound      int                   // and inbound ones
	sources      prefix.Counter        // inbound visits
}

func newSchedule(cfg Config, f forks, v visitor, c *counters) *schedule {
	return &schedule{
		cfg: cfg, forks: f, table: newTable(cfg, f), gate: newGate(cfg, f), visitor: v, counters: c, drought: newDrought(cfg, f, time.Now()),
		slots: newWatchSlots(cfg, f.clock), slotRequests: make(chan slotRequest), done: make(chan finished),
		running: make(map[*running]struct{}),
	}
}

// run schedules until ctx ends, then waits for the ongoing visits, whose ctx has
// ended too.
func (s *schedule) run(ctx, handover context.Context, inbound <-chan inboundConn, offers <-chan offer) {
	s.table.adopt(s.cfg.Store, s.gate.keeps, time.Now())
	saving, endSaving := context.WithCancel(context.WithoutCancel(ctx))
	var saver sync.WaitGroup
	saver.Go(func() { s.table.store.run(saving) })
	defer saver.Wait()
	defer endSaving()
	save := time.NewTicker(storeTick)
	defer save.Stop()
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	for ctx.Err() == nil {
		if at := s.dispatch(ctx, handover); !at.IsZero() {
			wake.Reset(time.Until(at))
		}
		s.report()
		select {
		case o := <-offers:
			s.offerRecord(o)
		case c := <-inbound:
			s.acceptInbound(ctx, handover, c)
		case a := <-s.slotRequests:
			s.answerSlotRequest(a)
		case f := <-s.done:
			s.finishVisit(f)
		case <-tidy.C:
			s.tidy(time.Now())
		case <-save.C:
			s.table.store.notify()
			s.measure(time.Now())
		case <-wake.C:
		case <-ctx.Done():
		}
	}
	for len(s.running) > 0 {
		s.finishVisit(<-s.done)
	}
	s.visits.Wait()
	s.report()
}

// dispatch starts the visits that are due, within the limits. It returns when to
// run again, zero when only a finished visit or a record can change anything.
func (s *schedule) dispatch(ctx, handover context.Context) (wake time.Time) {
	for s.mayDial() {
		now := time.Now()
		if until, ok := s.forks.dialBlackout(now); ok {
			return until
		}
		p, due := s.table.nextDue(now)
		if p == nil {
			return due
		}
		s.dials++
		target, record, limit := s.table.target(p), p.record(), s.table.visitLimit(p, now)
		st := &running{peer: p}
		s.start(ctx, st, func(ctx context.Context) result {
			return s.visitor.visitPeer(ctx, handover, target, record, limit, s.slotRequester(st))
		})
	}
	return time.Time{}
}

// mayDial reports whether there is a slot for another dial. Inbound visits have slots of
// their own: however many there are, they leave those of dials free.
func (s *schedule) mayDial() bool {
	live := len(s.running)
	return s.dials < s.cfg.Dialers && live < s.cfg.MaxConnections && live-s.inbound < s.cfg.MaxConnections-s.cfg.inboundRoom()
}

// start runs one visit, once the store has noted that it begins.
func (s *schedule) start(ctx context.Context, st *running, visit func(context.Context) result) {
	ctx, st.cancel = context.WithCancel(ctx)
	s.running[st] = struct{}{}
	saved := s.table.store.save()
	s.visits.Go(func() {
		awaitSaved(ctx, saved)
		s.done <- finished{visit: st, result: visit(ctx)}
	})
}

// admission is what becomes of an inbound peer.
type admission int

const (
	refuse admission = iota
	visitIt
	// beGuest: we have just met it and it dials us again, so it has room for us. Clients
	// that want more peers go on dialling, once a second; being connected stops that.
	beGuest
)

// admit decides on an inbound peer. One that is due for a visit is visited as long as there
// is a slot, any other is a guest while half of the slots are free. Inbound peers never
// take the slots of dials and watches.
func (s *schedule) admit(id string, from netip.Addr, now time.Time) admission {
	slots := max(1, s.cfg.MaxConnections-s.cfg.MaxWatched-s.cfg.dialRoom())
	if len(s.running) >= s.cfg.MaxConnections || s.inbound >= slots || s.crowded(from, slots) || !s.gate.admitsInbound(id, from) {
		return refuse
	}
	p := s.table.byID[id]
	switch {
	case p == nil:
		return visitIt
	case p.inboundVisits > 0:
		return refuse // its connection before this one is just ending
	case !s.table.metInInterval(p, now):
		return visitIt
	case s.inbound < (slots+1)/2:
		return beGuest
	}
	return refuse
}

// acceptInbound starts the visit of an inbound peer, lets it stay as a guest, or refuses it.
func (s *schedule) acceptInbound(ctx, handover context.Context, c inboundConn) {
	now := time.Now()
	id, from := c.session.PeerID(), addressIn(c.session.Multiaddr())
	var p *peer
	as := s.admit(id, from, now)
	ok := as != refuse
	if ok {
		p, ok = s.table.beginVisit(id, now)
	}
	if !ok {
		s.counters.add(func(st *Stats) { st.Refused++ })
		close(c.done)
		return
	}
	record := p.record()
	s.inbound++
	p.inboundVisits++
	s.sources.Add(prefix.Of(from))
	st := &running{peer: p, inbound: true, from: from}
	if as == beGuest {
		s.counters.add(func(st *Stats) { st.Guests++ })
		until := s.table.nextVisit(p, now)
		s.start(ctx, st, func(ctx context.Context) result {
			defer close(c.done)
			return s.visitor.hostGuest(ctx, handover, c.session, until)
		})
		return
	}
	s.counters.add(func(st *Stats) { st.Inbound++ })
	s.start(ctx, st, func(ctx context.Context) result {
		defer close(c.done)
		return s.visitor.receivePeer(ctx, handover, c.session, record, s.slotRequester(st))
	})
}

// answerSlotRequest tells a visit whether it may stay and watch. One that may frees its
// dial or inbound slot.
func (s *schedule) answerSlotRequest(a slotRequest) {
	a.visit.requestedSlot = true
	s.table.setReachable(a.visit.peer, true) // it has completed its handshake, and a watch ends late
	s.table.queue.excuse(a.visit.peer)
	granted := s.slots.acquire(s.table, a.visit.peer, a.summary, time.Now())
	if granted {
		s.leavePlace(a.visit)
		a.visit.watching, a.visit.peer.watching, a.visit.watchedAt = true, true, a.visit.peer.at
		s.counters.add(func(st *Stats) { st.Watches++ })
	}
	a.acquired <- granted
}

func (s *schedule) leavePlace(st *running) {
	if st.inbound {
		s.inbound--
	} else {
		s.dials--
		s.table.endDial(st.peer)
	}
}

func (s *schedule) offerRecord(o offer) {
	now := time.Now()
	if !s.drought.over {
		s.drought.observe(o.record, s.unfit(o.record, now))
	}
	publish := s.gate.admitsRecord(o.record, s.table.byID[o.record.PeerID], now) && s.table.offer(o.record, now)
	if publish {
		s.counters.add(func(st *Stats) {
			st.Records++
			if s.forks.ours(o.record.Eth2.ForkDigest, now) {
				st.OurDigest++
			}
		})
	}
	o.publish <- publish
}

func (s *schedule) finishVisit(f finished) {
	delete(s.running, f.visit)
	f.visit.cancel()
	p := f.visit.peer
	if f.visit.inbound {
		p.inboundVisits--
		s.sources.Remove(prefix.Of(f.visit.from))
	}
	if f.visit.watching {
		p.watching = false
		s.slots.release(p, f.visit.watchedAt, f.watched.Seconds()/s.forks.clock.EpochDuration().Seconds())
	} else {
		s.leavePlace(f.visit)
	}
	if !f.visit.requestedSlot && f.outcome != "" && f.outcome != event.OutcomeCanceled {
		p.watched.weight = 0
	}
	s.table.endVisit(p, f.result, time.Now())
	if record := p.record(); f.handshaked && record != nil {
		s.gate.observe(record, p, time.Now())
	}
	if p.visiting == 0 && s.gate.exclude.knows(p) {
		s.table.drop(p)
	}
}

// crowded reports whether an address has its share of the inbound slots. Addresses that are
// not globally reachable, such as that of a proxy or a translator of this house, behind
// which anybody may be, are bounded only while less than half of the slots are free.
func (s *schedule) crowded(from netip.Addr, slots int) bool {
	few := s.inbound >= slots/2
	budget := prefix.Budget{Host: inboundPerAddress, Net: inboundPerNetwork}
	if !few {
		budget.Net = slots
	}
	if !few && !enr.GloballyReachable(from) {
		return false
	}
	return s.sources.Full(prefix.Of(from), budget) != 0
}

// tidy drops outdated state. When the exclude file has changed it ends the visits of
// excluded peers and drops them from the table.
func (s *schedule) tidy(now time.Time) {
	s.table.forgetDialled(now)
	s.table.expire(now)
	if !s.gate.reload() {
		return
	}
	for st := range s.running {
		if s.gate.exclude.knows(st.peer) || s.gate.exclude.Address(st.from) {
			st.cancel() // finish drops the peer
		}
	}
	for _, p := range s.table.byID {
		if p.visiting == 0 && s.gate.exclude.knows(p) {
			s.table.drop(p)
		}
	}
}

func (s *schedule) report() {
	s.counters.add(func(st *Stats) {
		st.Live, st.Watching, st.Table, st.Reachable = len(s.running), s.slots.inUse, len(s.table.byID), s.table.reachable
	})
}
