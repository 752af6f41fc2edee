package api

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/prefix"
)

// client is whom limits are shared by: the holder of a key or, without one, an address and
// the network that it is in.
type client struct {
	key  string // its name; empty without one
	addr netip.Addr
}

// share is what counts as one client, and how many times the share of one address it has.
type share struct {
	name   string
	factor int
}

// shares are those that a client's use counts in.
func (c client) shares() []share {
	if c.key != "" {
		return []share{{"key " + c.key, keyFactor}}
	}
	out := []share{{"address " + addressGroup(c.addr), 1}}
	if network := networkGroup(c.addr); network != "" {
		out = append(out, share{"network " + network, networkFactor})
	}
	return out
}

// addressGroup is what counts as one address: an IPv4 address or an IPv6 /64.
func addressGroup(addr netip.Addr) string { return groupOf(addr, 32, 64) }

// networkGroup is the IPv4 /24 or IPv6 /48 of an address; empty for local addresses, whose
// neighbours are not one party.
func networkGroup(addr netip.Addr) string {
	if prefix.Of(addr).Net == 0 {
		return ""
	}
	return groupOf(addr, 24, 48)
}

func groupOf(addr netip.Addr, bits4, bits6 int) string {
	addr = addr.Unmap().WithZone("")
	bits := bits4
	if addr.Is6() {
		bits = bits6
	}
	if p, err := addr.Prefix(bits); err == nil && !p.IsSingleIP() {
		return p.String()
	}
	return addr.String()
}

// slots bound how much of one kind of work is done at one time: in total and for one client.
// Work of which there is too much waits for a moment, if it is quick.
type slots struct {
	what     string
	total    int
	each     int // of one address; a network and a key have their factors of it, up to half of all
	patience time.Duration

	mu    sync.Mutex
	used  int
	by    map[string]int
	freed chan struct{} // closed when something is released
}

func newSlots(what string, total, each int, patience time.Duration) *slots {
	return &slots{what: what, total: total, each: each, patience: patience, by: map[string]int{}, freed: make(chan struct{})}
}

// acquire takes a slot; release must be called once when the problem is nil.
func (s *slots) acquire(ctx context.Context, c client) (release func(), p *problem) {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for {
		var freed chan struct{}
		if release, freed, p = s.try(c); p == nil {
			return release, nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, p
		}
	}
}

// try also returns what is closed when it may be tried again.
func (s *slots) try(c client) (release func(), freed chan struct{}, p *problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shares := c.shares()
	for _, x := range shares {
		limit := min(s.each*x.factor, max(s.each, s.total/2))
		if s.by[x.name] >= limit {
			p := newProblem(http.StatusTooManyRequests, "you already have %d %s open, of at most %d: try again when one has ended", s.by[x.name], s.what, limit)
			p.retryAfter = slotRetry
			return nil, s.freed, p
		}
	}
	if s.used >= s.total {
		p := newProblem(http.StatusServiceUnavailable, "all %d %s are in use: try again later", s.total, s.what)
		p.retryAfter = slotRetry
		return nil, s.freed, p
	}
	s.used++
	for _, x := range shares {
		s.by[x.name]++
	}
	return sync.OnceFunc(func() { s.release(shares) }), nil, nil
}

func (s *slots) release(shares []share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	for _, x := range shares {
		if s.by[x.name]--; s.by[x.name] == 0 {
			delete(s.by, x.name)
		}
	}
	close(s.freed)
	s.freed = make(chan struct{})
}

// inUse is the number of slots that are taken.
func (s *slots) inUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}
