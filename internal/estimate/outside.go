package estimate

import "iter"

// Span is from a time to a later one, Unix milliseconds.
type Span [2]int64

// Outside cuts out of the log of an epoch what is not in covered, which is disjoint and in order
// of time: what another sentry has watched counts once. Of a slot of which only a part is covered
// all is left, since a part of a slot does not show its duties.
func (w WatchLog) Outside(p Params, covered []Span) iter.Seq[WatchLog] {
	return func(yield func(WatchLog) bool) {
		t, ok := newTiming(p)
		if !ok || !t.within(w.From) || !t.within(w.To) || w.To <= w.From {
			return
		}
		var c *cutter
		at, fresh, freshTo := w.From, w.From, w.To+1
		piece := func(to, freshTo int64) bool {
			if at >= to {
				return true
			}
			out := c.cut(at, to, w.To)
			out.fresh = Span{fresh, max(fresh, freshTo)}
			return yield(out)
		}
		for _, s := range covered {
			from, to := max(t.slotEnd(s[0]), at), min(t.slotStart(s[1]), w.To)
			if s[1] > w.From && s[0] < w.To && c == nil {
				c = newCutter(w)
			}
			if from >= to { // no whole slot: what it begins or ends with is known
				if s[0] <= fresh {
					fresh = max(fresh, s[1])
				} else if s[1] >= w.To {
					freshTo = min(freshTo, s[0])
				}
				continue
			}
			if !piece(from, s[0]) {
				return
			}
			c.cut(from, to, w.To)
			at, fresh = to, s[1]
		}
		if c == nil { // nearly always
			yield(w)
			return
		}
		piece(w.To, freshTo)
	}
}

// slotEnd is the first time from ms on at which changes of a slot begin to appear.
func (t timing) slotEnd(ms int64) int64 {
	if !t.within(ms) {
		return t.begins(1)
	}
	slot := t.slotAt(ms)
	if t.begins(slot) < ms {
		slot++
	}
	return t.begins(slot)
}

// slotStart is the last time up to ms at which changes of a slot begin to appear; 0 before genesis.
func (t timing) slotStart(ms int64) int64 {
	if !t.within(ms) {
		return 0
	}
	return t.begins(t.slotAt(ms))
}

// Bounds of JoinSpans: what is older, or more, is forgotten.
const (
	maxSpans   = 32
	spansAge   = 2 * 24 * 3600 * 1000 // ms before the end of the newest
	spansApart = 1                    // ms: parts of a watch follow one another without a gap
)

// JoinSpans returns the union of a list, which is disjoint and in order of time, and one more,
// and for how many milliseconds of that one nobody had watched before. The list stays as it is.
func JoinSpans(list []Span, s Span) (union []Span, added int64) {
	if s[1] <= s[0] {
		return list, 0
	}
	union, added = make([]Span, 0, len(list)+1), s[1]-s[0]
	placed := false
	for _, o := range list {
		added -= max(0, min(o[1], s[1])-max(o[0], s[0]))
	}
	for _, o := range list {
		switch {
		case o[1]+spansApart < s[0]:
			union = append(union, o)
		case s[1]+spansApart < o[0]:
			if !placed {
				union, placed = append(union, s), true
			}
			union = append(union, o)
		default:
			s = Span{min(s[0], o[0]), max(s[1], o[1])}
		}
	}
	if !placed {
		union = append(union, s)
	}
	oldest := union[len(union)-1][1] - spansAge
	for len(union) > maxSpans || union[0][1] < oldest {
		union = union[1:]
	}
	return union, max(0, added)
}
