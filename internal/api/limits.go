package api

import (
	"math"
	"net/http"
	"net/netip"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	// maxLimiters bounds how many addresses are remembered.
	maxLimiters = 20_000
	// keyFactor is how many times the rate of an address a key has, burstSeconds the time
	// that a burst may use up at once.
	keyFactor    = 4
	burstSeconds = 5
	// maxExports bounds the exports of nodes that run at one time, maxReads those that read the
	// datasets, maxDetails the nodes that are explained, maxStreams the event streams.
	maxExports = 8
	maxReads   = 2
	maxDetails = 4
	maxStreams = 256
)

// limits bound what clients may ask for.
type limits struct {
	rate     rate.Limit
	limiters *lru.Cache[string, *rate.Limiter]
	exports  chan struct{}
	reads    chan struct{}
	details  chan struct{}
	streams  chan struct{}
}

func newLimits(perSecond float64) *limits {
	l := &limits{
		rate: rate.Limit(perSecond), exports: make(chan struct{}, maxExports), reads: make(chan struct{}, maxReads),
		details: make(chan struct{}, maxDetails), streams: make(chan struct{}, maxStreams),
	}
	if perSecond <= 0 {
		l.rate = rate.Inf
	}
	l.limiters, _ = lru.New[string, *rate.Limiter](maxLimiters) // fails for sizes below 1 only
	return l
}

// allow counts a request of a key or, without one, of an address.
func (l *limits) allow(key string, addr netip.Addr) *problem {
	if l.rate == rate.Inf {
		return nil
	}
	limit, who := l.rate, "address "+addressGroup(addr)
	if key != "" {
		limit, who = keyFactor*l.rate, "key "+key
	}
	limiter, known := l.limiters.Get(who)
	if !known {
		limiter = rate.NewLimiter(limit, max(1, int(float64(limit)*burstSeconds)))
		l.limiters.Add(who, limiter)
	}
	reservation := limiter.Reserve()
	wait := reservation.Delay()
	if wait == 0 {
		return nil
	}
	reservation.Cancel()
	p := newProblem(http.StatusTooManyRequests, "more than %g requests per second: try again later, or with a key", float64(limit))
	p.retryAfter = int(math.Ceil(wait.Seconds()))
	return p
}

// addressGroup is what counts as one address: an IPv4 address or an IPv6 /64.
func addressGroup(addr netip.Addr) string {
	if addr = addr.Unmap(); addr.Is6() {
		if p, err := addr.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}

// acquire takes one of the slots; release must be called when the problem is nil.
func acquire(slots chan struct{}, what string) (release func(), p *problem) {
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	default:
		p := newProblem(http.StatusServiceUnavailable, "%d %s at one time are in use: try again later", cap(slots), what)
		p.retryAfter = 5
		return nil, p
	}
}

// clientAddr is where a request comes from: the peer's address or, when that is a trusted
// proxy, the last address in X-Forwarded-For that is not one.
func clientAddr(r *http.Request, proxies []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && trusted(addr, proxies); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop.Unmap()
	}
	return addr
}

func trusted(addr netip.Addr, proxies []netip.Prefix) bool {
	for _, p := range proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
