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
		c.places = map[question]*Place{}
	}
	c.places[q] = p
	return p
}
