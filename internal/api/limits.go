package api

import (
	"math"
	"net/http"
	"net/netip"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	// maxLimiters bounds how many clients are remembered.
	maxLimiters = 20_000
	// keyFactor and networkFactor are how many times the share of an address a key has, and
	// all addresses of a network together; burstSeconds is the time whose requests may come at
	// once.
	keyFactor     = 4
	networkFactor = 8
	burstSeconds  = 5
)

// What runs at one time: of all clients, and of one address.
const (
	maxExports, eachExports = 8, 2 // of nodes and changes, and /validators
	maxReads, eachReads     = 4, 1 // of the datasets
	maxDetails, eachDetails = 4, 2 // explanations of a node
	maxStreams, eachStreams = 256, 8

	// quick is how long a request waits for a slot of work that does not take long.
	quick     = 3 * time.Second
	slotRetry = 5 // seconds until a client should try again
)

// limits bound what clients may ask for.
type limits struct {
	rate     rate.Limit
	limiters *lru.Cache[string, *rate.Limiter]
	exports  *slots
	reads    *slots
	details  *slots
	streams  *slots
}

func newLimits(perSecond float64) *limits {
	l := &limits{
		rate:    rate.Limit(perSecond),
		exports: newSlots("exports", maxExports, eachExports, 0),
		reads:   newSlots("readers of the datasets", maxReads, eachReads, quick),
		details: newSlots("explanations", maxDetails, eachDetails, quick),
		streams: newSlots("event streams", maxStreams, eachStreams, 0),
	}
	if perSecond <= 0 {
		l.rate = rate.Inf
	}
	l.limiters, _ = lru.New[string, *rate.Limiter](maxLimiters) // fails for sizes below 1 only
	return l
}

// allow counts a request of a client.
func (l *limits) allow(c client) *problem {
	if l.rate == rate.Inf {
		return nil
	}
	for _, x := range c.shares() {
		limit := l.rate * rate.Limit(x.factor)
		limiter, known := l.limiters.Get(x.name)
		if !known {
			limiter = rate.NewLimiter(limit, max(1, int(float64(limit)*burstSeconds)))
			l.limiters.Add(x.name, limiter)
		}
		reservation := limiter.Reserve()
		wait := reservation.Delay()
		if wait == 0 {
			continue
		}
		reservation.Cancel()
		p := newProblem(http.StatusTooManyRequests, "more than %g requests per second: try again later, or with a key", float64(limit))
		p.retryAfter = int(math.Ceil(wait.Seconds()))
		return p
	}
	return nil
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
