package sentry

import (
	"context"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/p2p"
)

// tidyEvery is how often old addresses are forgotten.
const tidyEvery = time.Minute

// offer is a record on its way into the table.
type offer struct {
	record *enr.Record
	news   chan bool // buffered: whether the record is to be published
}

// visitor carries out visits: *Sentry. The handover context is for publishing what
// was seen, and outlives ctx.
type visitor interface {
	visitPeer(ctx, handover context.Context, target p2p.Target, record *enr.Record, turn turnFunc) result
	receivePeer(ctx, handover context.Context, session *p2p.Session, record *enr.Record, turn turnFunc) result
}

// result is what a visit means for the schedule.
type result struct {
	outcome    string // event.Outcome*; empty when no visit took place
	started    time.Time
	handshaked bool
	goodbye    *uint64 // the peer's reason, when it said goodbye
	stayed     bool
	watched    time.Duration // how long it watched, when it stayed
}

// running is a visit under way. The schedule's goroutine owns it.
type running struct {
	peer     *peer
	inbound  bool
	watching bool // it has a watch turn, and no place among dials or callers any more
}

// finished is a visit's result on its way back.
type finished struct {
	visit *running
	result
}

// schedule decides who is visited when, and who stays. Its run goroutine owns the
// table; every visit has a goroutine of its own: at most Dialers outbound census
// visits, at most MaxWatched that watch, and at most MaxConnections in all.
type schedule struct {
	cfg      Config
	forks    forks
	table    *table
	gate     *gate
	visitor  visitor
	counters *counters
	turns    turns
	asks     chan ask
	done     chan finished
	visits   sync.WaitGroup
	dials    int // outbound census visits under way
	callers  int // inbound ones
	live     int // all visits under way
}

func newSchedule(cfg Config, f forks, v visitor, c *counters) *schedule {
	return &schedule{
		cfg: cfg, forks: f, table: newTable(cfg, f), gate: newGate(cfg, f), visitor: v, counters: c,
		turns: newTurns(cfg, f.clock), asks: make(chan ask), done: make(chan finished),
	}
}

// run schedules until ctx ends, then waits for the visits under way, whose ctx has
// ended too.
func (s *schedule) run(ctx, handover context.Context, door <-chan caller, offers <-chan offer) {
	s.table.adopt(s.cfg.Store, s.gate.keeps, time.Now())
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
			s.take(o)
		case c := <-door:
			s.receive(ctx, handover, c)
		case a := <-s.asks:
			s.answer(a)
		case f := <-s.done:
			s.finish(f)
		case <-tidy.C:
			s.table.forget(time.Now())
			s.gate.tidy(s.table)
		case <-save.C:
			s.table.store.tick(s.table, time.Now())
			s.measure(time.Now())
		case <-wake.C:
		case <-ctx.Done():
		}
	}
	for s.live > 0 {
		s.finish(<-s.done)
	}
	s.visits.Wait()
	s.report()
	s.table.store.finish(s.table, time.Now())
}

// dispatch starts the visits that are due, as far as the limits allow, and tells
// when to look again; zero when only a finished visit or a record can change that.
func (s *schedule) dispatch(ctx, handover context.Context) (wake time.Time) {
	for s.dials < s.cfg.Dialers && s.live < s.cfg.MaxConnections-s.cfg.inboundRoom() {
		now := time.Now()
		if until, ok := s.forks.quiet(now); ok {
			return until
		}
		p, due := s.table.next(now)
		if p == nil {
			return due
		}
		s.dials++
		target, record := p.target, p.record
		st := &running{peer: p}
		s.start(st, func() result { return s.visitor.visitPeer(ctx, handover, target, record, s.turnOf(st)) })
	}
	return time.Time{}
}

// start runs one visit.
func (s *schedule) start(st *running, visit func() result) {
	s.live++
	s.visits.Go(func() { s.done <- finished{visit: st, result: visit()} })
}

// welcome reports whether an inbound peer is let in: one that brings something new
// as long as there is a place, another when there are places enough and we have not
// just seen it. Callers never take the places of dials and watches.
func (s *schedule) welcome(id string, now time.Time) bool {
	places := max(1, s.cfg.MaxConnections-s.cfg.MaxWatched-s.cfg.dialRoom())
	if s.live >= s.cfg.MaxConnections || s.callers >= places {
		return false
	}
	p := s.table.byID[id]
	switch {
	case p == nil:
		return true
	case p.calls > 0:
		return false // its connection before this one is just ending
	case !s.table.visitedInWindow(p, now):
		return true
	}
	return s.callers < (places+1)/2 && now.Sub(p.lastVisit) >= s.table.scaled(spacing)
}

// receive lets an inbound peer in, or turns it away.
func (s *schedule) receive(ctx, handover context.Context, c caller) {
	now := time.Now()
	id := c.session.PeerID()
	var p *peer
	ok := s.welcome(id, now) && s.gate.lets(c)
	if ok {
		p, ok = s.table.begin(id, now)
	}
	if !ok {
		s.counters.add(func(st *Stats) { st.Refused++ })
		close(c.left)
		return
	}
	s.counters.add(func(st *Stats) { st.Inbound++ })
	record := p.record
	s.callers++
	p.calls++
	st := &running{peer: p, inbound: true}
	s.start(st, func() result {
		defer close(c.left)
		return s.visitor.receivePeer(ctx, handover, c.session, record, s.turnOf(st))
	})
}

// answer tells a visit whether it may stay and watch. One that does leaves its place
// to the next dial or caller.
func (s *schedule) answer(a ask) {
	granted := s.turns.grant(s.table, a.visit.peer, a.seen, time.Now())
	if granted {
		s.leavePlace(a.visit)
		a.visit.watching, a.visit.peer.watching = true, true
		s.counters.add(func(st *Stats) { st.Watches++ })
	}
	a.granted <- granted
}

func (s *schedule) leavePlace(st *running) {
	if st.inbound {
		s.callers--
	} else {
		s.dials--
	}
}

func (s *schedule) take(o offer) {
	now := time.Now()
	news := s.gate.admits(o.record, s.table.byID[o.record.PeerID], now) && s.table.offer(o.record, now)
	if news {
		s.counters.add(func(st *Stats) {
			st.Records++
			if s.forks.ours(o.record.Eth2.ForkDigest, now) {
				st.OurDigest++
			}
		})
	}
	o.news <- news
}

func (s *schedule) finish(f finished) {
	s.live--
	p := f.visit.peer
	if f.visit.inbound {
		p.calls--
	}
	if f.visit.watching {
		p.watching = false
		s.turns.release(p, f.watched.Seconds()/s.forks.clock.EpochDuration().Seconds())
	} else {
		s.leavePlace(f.visit)
	}
	s.table.end(p, f.result, time.Now())
}

func (s *schedule) report() {
	s.counters.add(func(st *Stats) {
		st.Live, st.Watching, st.Table, st.Reachable = s.live, s.turns.taken, len(s.table.byID), s.table.reachable
	})
}
