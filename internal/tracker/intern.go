package tracker

import "strings"

// maxCached bounds a boundedCache: peers choose some of its keys.
const maxCached = 4096

// boundedCache keeps what was made from each of the last keys. It is emptied when it is
// full. Keys are copied, so that the cache does not keep alive what they are a part of.
type boundedCache[V any] struct{ known map[string]V }

func (m *boundedCache[V]) get(key string, make func(string) V) V {
	v, ok := m.known[key]
	if !ok {
		if m.known == nil || len(m.known) == maxCached {
			m.known = map[string]V{}
		}
		key = strings.Clone(key)
		v = make(key)
		m.known[key] = v
	}
	return v
}

// interner keeps one string for all equal ones.
type interner struct{ cache boundedCache[string] }

// intern sets a field to the interned s.
func (i *interner) intern(into *string, s string) {
	if *into != s {
		*into = i.cache.get(s, func(s string) string { return s })
	}
}
