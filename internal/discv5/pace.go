package discv5

import (
	"net/netip"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/prefix"
)

// Pace of our packets, of every kind: requests, handshakes, answers, repeats. The
// smallest known quotas are those that Lighthouse sets, 8 packets per second from a
// node and 9 from an address; who exceeds them is banned for an hour.
const (
	// endpointInterval and endpointBurst bound the packets to one UDP endpoint: four
	// per second. The burst is a visit: two packets of the handshake and two more
	// requests.
	endpointInterval = 250 * time.Millisecond
	endpointBurst    = 4
	// addressInterval and addressBurst bound those to one address (IPv6: one /64), for
	// which there may be records of any number of nodes, networkInterval and
	// networkBurst those to one /24 (/48).
	addressInterval = 125 * time.Millisecond
	addressBurst    = 8
	networkInterval = addressInterval / 4
	networkBurst    = 4 * addressBurst
	// maxPacketDelay bounds how long a packet waits for its turn, and so the queue of
	// an endpoint to four packets. One that would wait longer is dropped, as a network
	// would.
	maxPacketDelay = time.Second
	// maxPaced bounds the endpoints and the addresses that are remembered. Only packets
	// from forged addresses, which we would answer, can reach it.
	maxPaced = 1 << 16
	// paceMemory is how long traffic is remembered after the last packet to it: longer
	// than a limit binds and than a request lasts.
	paceMemory = 10 * time.Second
)

// traffic is what went to and came from an endpoint or an address.
type traffic struct {
	fullAt time.Time // when the whole burst is available again (the TAT of GCRA)
	heard  int       // packets that came from it
}

// next is the earliest time for one more packet.
func (t *traffic) next(now time.Time, interval time.Duration, burst int) time.Time {
	return laterOf(now, t.fullAt.Add(-time.Duration(burst-1)*interval))
}

func (t *traffic) add(at time.Time, interval time.Duration) {
	t.fullAt = laterOf(t.fullAt, at).Add(interval)
}

func laterOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// pacer schedules packets so that no endpoint and no address gets more than its limit.
type pacer struct {
	mu        sync.Mutex
	endpoints map[netip.AddrPort]*traffic
	addresses map[prefix.Key]*traffic // and networks
	swept     time.Time
}

func newPacer() *pacer {
	return &pacer{endpoints: make(map[netip.AddrPort]*traffic), addresses: make(map[prefix.Key]*traffic)}
}

// reserve returns when a packet may be sent, and counts it; false when it must be
// dropped.
func (p *pacer) reserve(to netip.AddrPort, now time.Time) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweep(now)
	groups := prefix.Of(to.Addr())
	if len(p.endpoints) >= maxPaced && p.endpoints[to] == nil || len(p.addresses) >= maxPaced-1 && p.addresses[groups.Host] == nil {
		return time.Time{}, false
	}
	at := p.next(to, now, 1)
	if at.Sub(now) > maxPacketDelay {
		return time.Time{}, false
	}
	trafficOf(p.endpoints, to).add(at, endpointInterval)
	if groups.Host != 0 {
		trafficOf(p.addresses, groups.Host).add(at, addressInterval)
	}
	if groups.Net != 0 {
		trafficOf(p.addresses, groups.Net).add(at, networkInterval)
	}
	return at, true
}

// ready returns when a visit may begin: a whole burst can then be sent at once.
func (p *pacer) ready(to netip.AddrPort, now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next(to, now, endpointBurst)
}

// next is the earliest time for the given number of packets at once. mu is held.
func (p *pacer) next(to netip.AddrPort, now time.Time, packets int) time.Time {
	at := now
	if t := p.endpoints[to]; t != nil {
		at = laterOf(at, t.next(now, endpointInterval, endpointBurst-packets+1))
	}
	groups := prefix.Of(to.Addr())
	if t := p.addresses[groups.Host]; t != nil {
		at = laterOf(at, t.next(now, addressInterval, addressBurst-packets+1))
	}
	if t := p.addresses[groups.Net]; t != nil {
		at = laterOf(at, t.next(now, networkInterval, networkBurst-packets+1))
	}
	return at
}

func trafficOf[K comparable](m map[K]*traffic, key K) *traffic {
	t := m[key]
	if t == nil {
		t = new(traffic)
		m[key] = t
	}
	return t
}

// sweep forgets what no limit needs any more. mu is held.
func (p *pacer) sweep(now time.Time) {
	if now.Sub(p.swept) < paceMemory/2 {
		return
	}
	p.swept = now
	for to, t := range p.endpoints {
		if now.Sub(t.fullAt) > paceMemory {
			delete(p.endpoints, to)
		}
	}
	for to, t := range p.addresses {
		if now.Sub(t.fullAt) > paceMemory {
			delete(p.addresses, to)
		}
	}
}

// received counts a packet from an endpoint to which we sent one lately.
func (p *pacer) received(from netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.endpoints[from]; t != nil {
		t.heard++
	}
}

// heardFrom is the number of packets that have come from an endpoint since packets go
// to it.
func (p *pacer) heardFrom(from netip.AddrPort) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.endpoints[from]; t != nil {
		return t.heard
	}
	return 0
}
