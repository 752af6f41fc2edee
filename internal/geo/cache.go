package geo

import (
	"net/netip"
	"sync"
)

// maxCached bounds a cache: peers choose their addresses.
const maxCached = 1 << 15

// question is an address and the version of the databases that answer.
type question struct {
	ip      netip.Addr
	version uint64
}

// cache remembers what was found. When it is full it begins again. The zero value is empty.
type cache struct {
	mu     sync.RWMutex
	places map[question]*Place
	// distinct has each place once: thousands of addresses are in the same networks, and
	// what handles their places finds them in the processor's caches.
	distinct map[Place]*Place
}

// get returns the place of an address, which find finds the first time.
func (c *cache) get(q question, find func() *Place) *Place {
	c.mu.RLock()
	p, ok := c.places[q]
	c.mu.RUnlock()
	if ok {
		return p
	}
	p = find()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.places == nil || len(c.places) == maxCached {
		c.places, c.distinct = map[question]*Place{}, map[Place]*Place{}
	}
	if p != nil {
		if same, ok := c.distinct[*p]; ok {
			p = same
		}
		c.distinct[*p] = p
	}
	c.places[q] = p
	return p
}
