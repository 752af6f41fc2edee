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
	visitPeer(ctx, handover context.Context, target p2p.Target, record *enr.Record) result
	receivePeer(ctx, handover context.Context, session *p2p.Session, record *enr.Record) result
}

// result is what a visit means for the schedule.
type result struct {
	outcome    string // event.Outcome*; empty when no visit took place
	started    time.Time
	handshaked bool
	goodbye    *uint64 // the peer's reason, when it said goodbye
}

// finished is a visit's result on its way back.
type finished struct {
	peer    *peer
	inbound bool
	result
}

// schedule decides who is visited when. Its run goroutine owns the table; every
// visit has a goroutine of its own, at most Dialers outbound ones and at most
// MaxConnections in all.
type schedule struct {
	cfg      Config
	forks    forks
	table    *table
	visitor  visitor
	counters *counters
	done     chan finished
	visits   sync.WaitGroup
	dials    int // outbound visits under way
	live     int // all visits under way
}

func newSchedule(cfg Config, f forks, v visitor, c *counters) *schedule {
	return &schedule{cfg: cfg, forks: f, table: newTable(cfg, f), visitor: v, counters: c, done: make(chan finished)}
}

// run schedules until ctx ends, then waits for the visits under way, whose ctx has
// ended too.
func (s *schedule) run(ctx, handover context.Context, door <-chan caller, offers <-chan offer) {
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
		case f := <-s.done:
			s.finish(f)
		case <-tidy.C:
			s.table.forget(time.Now())
		case <-wake.C:
		case <-ctx.Done():
		}
	}
	for s.live > 0 {
		s.finish(<-s.done)
	}
	s.visits.Wait()
	s.report()
}

// dispatch starts the visits that are due, as far as the limits allow, and tells
// when to look again; zero when only a finished visit or a record can change that.
func (s *schedule) dispatch(ctx, handover context.Context) (wake time.Time) {
	for s.dials < s.cfg.Dialers && s.live < s.cfg.MaxConnections {
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
		s.start(p, false, func() result { return s.visitor.visitPeer(ctx, handover, target, record) })
	}
	return time.Time{}
}

// start runs one visit.
func (s *schedule) start(p *peer, inbound bool, visit func() result) {
	s.live++
	s.visits.Go(func() { s.done <- finished{peer: p, inbound: inbound, result: visit()} })
}

// receive lets an inbound peer in, unless we are full or have just seen it.
func (s *schedule) receive(ctx, handover context.Context, c caller) {
	now := time.Now()
	id := c.session.PeerID()
	recent := false
	if p := s.table.byID[id]; p != nil {
		recent = now.Sub(p.lastVisit) < s.table.scaled(spacing)
	}
	var p *peer
	ok := s.live < s.cfg.MaxConnections && !recent
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
	s.start(p, true, func() result {
		defer close(c.left)
		return s.visitor.receivePeer(ctx, handover, c.session, record)
	})
}

func (s *schedule) take(o offer) {
	now := time.Now()
	news := s.table.offer(o.record, now)
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
	if !f.inbound {
		s.dials--
	}
	s.table.end(f.peer, f.result, time.Now())
}

func (s *schedule) report() {
	s.counters.add(func(st *Stats) {
		st.Live, st.Table, st.Reachable = s.live, len(s.table.byID), s.table.reachable
	})
}
