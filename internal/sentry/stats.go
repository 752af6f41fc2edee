package sentry

import (
	"maps"
	"sync"
)

// Stats counts what the sentry has done since its start; Live, Table and Reachable
// are of the moment.
type Stats struct {
	Records    uint64            // node records with an eth2 entry: new or with a higher seq
	OurDigest  uint64            // of those, records of nodes to dial
	Dialled    uint64            // outbound visits whose dial has ended
	Connected  uint64            // outbound visits that got a connection
	Inbound    uint64            // inbound visits begun
	Refused    uint64            // inbound connections turned away at MaxConnections
	Handshaked uint64            // visits, either way, that got Status and MetaData
	Published  uint64            // events handed over
	Lost       uint64            // events that could not be handed over
	Outcomes   map[string]uint64 // ended visits by event.Outcome*
	Live       int               // visits under way
	Table      int               // peers in the table
	Reachable  int               // peers whose last visit was a handshake
}

// counters guards the Stats.
type counters struct {
	mu    sync.Mutex
	stats Stats
}

func (c *counters) add(change func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.stats)
}

func (c *counters) ended(outcome string) {
	c.add(func(s *Stats) {
		if s.Outcomes == nil {
			s.Outcomes = make(map[string]uint64)
		}
		s.Outcomes[outcome]++
	})
}

// Stats may be called at any time, from any goroutine.
func (s *Sentry) Stats() Stats {
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	stats := s.counters.stats
	stats.Outcomes = maps.Clone(stats.Outcomes)
	return stats
}
