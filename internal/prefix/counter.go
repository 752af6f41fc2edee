package prefix

import "time"

// Budget is what one group may have, Host and Net each on its own.
type Budget struct{ Host, Net int }

// Counter counts what groups use at one time. The zero Counter is empty.
type Counter struct{ used map[Key]int }

// Add counts one use by an address's groups. It must be removed again.
func (c *Counter) Add(g Groups) {
	if c.used == nil {
		c.used = make(map[Key]int)
	}
	for _, k := range [...]Key{g.Host, g.Net} {
		if k != 0 {
			c.used[k]++
		}
	}
}

// Remove takes one use back.
func (c *Counter) Remove(g Groups) {
	for _, k := range [...]Key{g.Host, g.Net} {
		if c.used[k] > 1 {
			c.used[k]--
		} else {
			delete(c.used, k)
		}
	}
}

// Full gives the group that has used up its budget, zero when there is none.
func (c *Counter) Full(g Groups, b Budget) Key {
	switch {
	case g.Host != 0 && c.used[g.Host] >= b.Host:
		return g.Host
	case g.Net != 0 && c.used[g.Net] >= b.Net:
		return g.Net
	}
	return 0
}

// Used is the number of uses of a group.
func (c *Counter) Used(k Key) int { return c.used[k] }

// Len is the number of groups that use something.
func (c *Counter) Len() int { return len(c.used) }

// Rate bounds how often groups use something: its Budget at once, and as much again in
// each period (generic cell rate algorithm).
type Rate struct {
	Budget Budget
	Period time.Duration
	full   map[Key]time.Time // when the whole budget is available again
}

// Next is the earliest time from now on at which an address's groups may use one more.
func (r *Rate) Next(g Groups, now time.Time) time.Time {
	at := now
	for _, u := range r.uses(g) {
		if u.key == 0 {
			continue
		}
		if free := r.full[u.key].Add(u.each - r.Period); free.After(at) {
			at = free
		}
	}
	return at
}

// Add counts one use at a time.
func (r *Rate) Add(g Groups, at time.Time) {
	if r.full == nil {
		r.full = make(map[Key]time.Time)
	}
	for _, u := range r.uses(g) {
		if u.key == 0 {
			continue
		}
		full := r.full[u.key]
		if full.Before(at) {
			full = at
		}
		r.full[u.key] = full.Add(u.each)
	}
}

// Return takes back one use that turned out not to count.
func (r *Rate) Return(g Groups) {
	for _, u := range r.uses(g) {
		if full, ok := r.full[u.key]; ok {
			r.full[u.key] = full.Add(-u.each)
		}
	}
}

type use struct {
	key  Key
	each time.Duration // in which one use is earned
}

func (r *Rate) uses(g Groups) [2]use {
	return [...]use{
		{g.Host, r.Period / time.Duration(r.Budget.Host)},
		{g.Net, r.Period / time.Duration(r.Budget.Net)},
	}
}

// Forget drops what no longer binds, which bounds the memory by the rate of Add.
func (r *Rate) Forget(now time.Time) {
	for k, full := range r.full {
		if !full.After(now) {
			delete(r.full, k)
		}
	}
}

// Len is the number of groups that are remembered.
func (r *Rate) Len() int { return len(r.full) }
