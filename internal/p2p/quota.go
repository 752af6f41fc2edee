package p2p

import "time"

// quotaKind is a kind of inbound request that has its own quota.
type quotaKind int

const (
	quotaStatus quotaKind = iota
	quotaPing
	quotaMetaData
	quotaGoodbye
	quotaStream // any stream that the peer opens
	quotaKinds
)

// quota is how often a peer may ask: burst requests at once, then one each
// interval. Clients ask far less often: Lighthouse pings every 15 s, and its own
// limits are 2 pings in 10 s, 2 metadata in 5 s and 5 status in 15 s.
type quota struct {
	interval time.Duration
	burst    int
}

// quota gives the quota of a kind.
func (k quotaKind) quota() quota {
	switch k {
	case quotaStatus:
		return quota{interval: 3 * time.Second, burst: 5}
	case quotaPing, quotaMetaData:
		return quota{interval: 2 * time.Second, burst: 5}
	case quotaStream:
		// A client opens some ten when it connects and one a few seconds later. Who opens
		// more than this is cut off: each costs us a negotiation.
		return quota{interval: time.Second / 20, burst: 64}
	default:
		return quota{interval: 10 * time.Second, burst: 2}
	}
}

// gcra is a token bucket kept as the time at which it is full again (generic cell
// rate algorithm). The zero value is a full bucket.
type gcra struct {
	full time.Time
}

// allow takes one token at now, if there is one.
func (g *gcra) allow(now time.Time, q quota) bool {
	full := g.full
	if full.Before(now) {
		full = now
	}
	full = full.Add(q.interval)
	if full.Sub(now) > time.Duration(q.burst)*q.interval {
		return false
	}
	g.full = full
	return true
}

// allowRequest spends one request of the session's quota of a kind.
func (s *Session) allowRequest(kind quotaKind) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buckets[kind].allow(now, kind.quota())
}
