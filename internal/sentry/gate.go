package sentry

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/prefix"
)

// gate decides whose records and connections the schedule accepts, and feeds the digest
// alarm. Only the schedule's goroutine uses it.
type gate struct {
	exclude *Exclude
	shard   Shard
	alarm   *alarm
	log     *slog.Logger
}

func newGate(cfg Config, f forks) *gate {
	return &gate{exclude: cfg.Exclude, shard: cfg.Shard, alarm: newAlarm(f, cfg.log), log: cfg.log}
}

// admitsRecord decides on a record. known is the table's entry of the peer, nil when
// there is none.
func (g *gate) admitsRecord(r *enr.Record, known *peer, now time.Time) bool {
	if g.exclude.record(r) {
		return false
	}
	if known != nil {
		g.observe(r, known, now)
	}
	return g.shard.Has(r.NodeID)
}

// observe gives a peer's record to the alarm, if the peer has completed a handshake: records
// and identities are free, addresses that answer are not. During an alarm any handshake will
// do: after a fork that we do not have there are no new ones.
func (g *gate) observe(r *enr.Record, p *peer, now time.Time) {
	recent := now.Sub(p.lastHandshake) <= g.alarm.forks.clock.Scale(recentContact)
	if p.lastHandshake.IsZero() || !recent && !g.alarm.raised {
		return
	}
	at := p.at
	if at == (prefix.Groups{}) { // from an earlier run
		if at = prefix.Of(r.IP4); at == (prefix.Groups{}) {
			at = prefix.Of(r.IP6)
		}
	}
	if at.Net == 0 {
		at.Net = at.Host
	}
	g.alarm.observe(r, at.Net, true, now) // the handshake was with our digest
}

// keeps decides on a peer of the table.
func (g *gate) keeps(p *peer) bool {
	return (p.text == "" || g.shard.Has(p.nodeID)) && !g.exclude.knows(p)
}

// admitsInbound decides on an inbound peer that connects from the address.
func (g *gate) admitsInbound(id string, from netip.Addr) bool {
	return !g.exclude.Peer(id) && !g.exclude.Address(from)
}

// reload reads the exclude file again if it has changed.
func (g *gate) reload() (changed bool) { return g.exclude.reloadLogged(g.log) }

// measure updates the figures that need a walk over the table or over the records of
// the last minutes.
func (s *schedule) measure(now time.Time) {
	due := s.table.queue.due(now)
	digests := s.gate.alarm.check(now)
	s.counters.add(func(st *Stats) {
		st.Queued, st.Due, st.Excluded = s.table.queue.len(), due, s.gate.exclude.Len()
		st.UnknownDigestShare, st.UnknownNextShare = digests.unknown, digests.next
	})
	if s.drought.due(now) {
		s.drought.check(s.counters.snapshot(), now)
	}
}
