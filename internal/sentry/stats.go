package sentry

import (
	"maps"
	"sync"
	"time"
)

// Stats counts what the sentry has done since its start; Live, Table and Reachable
// are current values.
type Stats struct {
	Records    uint64 // node records with an eth2 entry: new or with a higher seq
	OurDigest  uint64 // of those, records of nodes to dial
	Dialled    uint64 // outbound visits whose dial has ended
	Connected  uint64 // outbound visits that got a connection
	Inbound    uint64 // inbound visits started
	Refused    uint64 // inbound connections turned away
	Guests     uint64 // inbound connections of peers that were let stay without a visit
	Shortages  uint64 // visits that did not take place because we were short of something
	Handshaked uint64 // visits, either way, that got Status and MetaData
	Published  uint64 // events handed over
	Lost       uint64 // events that could not be handed over
	Watches    uint64 // visits that stayed to watch
	// SubnetChanges counts the subscription changes that watches have logged.
	SubnetChanges uint64
	Outcomes      map[string]uint64 // ended visits by event.Outcome*
	Live          int               // ongoing visits
	Watching      int               // of those, visits that watch
	Table         int               // peers in the table
	Reachable     int               // peers whose last visit was a handshake, a few revisit intervals ago at most
	Queued        int               // peers that wait for their next dial
	Due           int               // of those, peers that are due
	Excluded      int               // entries of the exclude file
	Latency       Latency           // from the dial, or the connection of an inbound peer, to MetaData
	// UnknownDigestShare is the share of the nodes that seem to be on our network
	// whose fork digest our schedule does not have, from 0 to 1, as of the last time that
	// there were enough nodes to tell.
	UnknownDigestShare float64
	// UnknownNextShare is the share of these nodes that have a digest of ours and announce a
	// next fork that our schedule does not have, likewise.
	UnknownNextShare float64
	// ClockSkewMS is by how many milliseconds our clock is ahead of the broker's; nil when
	// that was not measured lately.
	ClockSkewMS *int64
}

// latencyBounds are the upper bounds of Latency's buckets in seconds.
func latencyBounds() [latencyBuckets]float64 { return [...]float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20} }

const latencyBuckets = 8

// Latency counts times.
type Latency struct {
	Count uint64
	Sum   time.Duration
	// Within counts the times up to each of latencyBounds.
	Within [latencyBuckets]uint64
}

// Buckets are the counts by upper bound in seconds.
func (l Latency) Buckets() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(l.Within))
	for i, bound := range latencyBounds() {
		buckets[bound] = l.Within[i]
	}
	return buckets
}

func (l *Latency) observe(d time.Duration) {
	l.Count++
	l.Sum += d
	for i, bound := range latencyBounds() {
		if d.Seconds() <= bound {
			l.Within[i]++
		}
	}
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

func (c *counters) snapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	stats := c.stats
	stats.Outcomes = maps.Clone(stats.Outcomes)
	return stats
}

// Stats may be called at any time, from any goroutine.
func (s *Sentry) Stats() Stats {
	stats := s.counters.snapshot()
	stats.ClockSkewMS = s.skew.milliseconds(time.Now())
	return stats
}
