package api

import (
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// maxMatches is how many sets of filters a view remembers the nodes of.
	maxMatches = 32
	// What was asked for since matchedFor is found in the next view before anybody asks, so many
	// of the last.
	matchedFor         = time.Minute
	maxPreparedMatches = 4
)

// matchCache has the nodes of a view that pass filters that were asked for: the pages of a list, and
// pages that many look at, do not read all nodes each.
type matchCache struct {
	mu   sync.Mutex
	made map[string]*match // by filterKey
}

type match struct {
	filters []filter
	used    time.Time

	once  sync.Once
	bits  []uint64 // of the places in view.nodes
	total int
}

// filterKey is the same for requests with the same filters. The same filters match the same
// nodes, whoever asks.
func (r *request) filterKey() string {
	filters := maps.Clone(r.values)
	for _, name := range []string{"format", "sort", "fields", "limit", "cursor"} {
		delete(filters, name)
	}
	return filters.Encode()
}

// matched finds the nodes that pass all filters.
func (v *view) matched(key string, filters []filter) *match {
	m := v.matches.get(key, filters)
	m.once.Do(func() { v.match(m) })
	return m
}

func (m *matchCache) get(key string, filters []filter) *match {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.made[key]
	if found == nil {
		if m.made == nil {
			m.made = map[string]*match{}
		}
		if len(m.made) >= maxMatches {
			delete(m.made, m.byUse()[0])
		}
		found = &match{filters: filters}
		m.made[key] = found
	}
	found.used = time.Now()
	return found
}

// byUse are the keys, those that were used the longest ago first.
func (m *matchCache) byUse() []string {
	return slices.SortedFunc(maps.Keys(m.made), func(a, b string) int { return m.made[a].used.Compare(m.made[b].used) })
}

// match reads the nodes as they are in memory, not in an order: that is several times as fast.
func (v *view) match(m *match) {
	m.bits = make([]uint64, (len(v.nodes)+63)/64)
	for i := range v.nodes {
		if passes(&v.nodes[i], m.filters) {
			m.bits[i/64] |= 1 << (i % 64)
			m.total++
		}
	}
}

// prepare finds what was asked for lately of the view before.
func (m *matchCache) prepare(v *view, last *matchCache) {
	last.mu.Lock()
	defer last.mu.Unlock()
	keys := last.byUse()
	for _, key := range keys[max(0, len(keys)-maxPreparedMatches):] {
		if was := last.made[key]; time.Since(was.used) < matchedFor {
			v.matched(key, was.filters)
			m.made[key].used = was.used
		}
	}
}

// matching gives a page of a listing, where the next one begins, 0 when there is none, and how many
// nodes pass its filters.
func (v *view) matching(l listing, key string) (page []*node, next, total int) {
	total = len(v.nodes)
	pass := func(int32) bool { return true }
	if len(l.filters) > 0 {
		m := v.matched(key, l.filters)
		total = m.total
		pass = func(at int32) bool { return m.bits[at/64]>>(at%64)&1 == 1 }
	}
	for i := min(l.start, len(l.nodes)); i < len(l.nodes); i++ {
		if !pass(l.nodes[i]) {
			continue
		}
		if len(page) == l.limit {
			return page, i, total
		}
		page = append(page, &v.nodes[l.nodes[i]])
	}
	return page, 0, total
}
