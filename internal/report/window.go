package report

import (
	"maps"
	"slices"
	"time"
)

// bucket is the resolution of what was recorded when.
const bucket = time.Minute

// silence is the shortest gap between rows that is reported of a window: a fifth of it, but
// at least two minutes, since rows are committed once a minute, and no more than a quarter
// of an hour, in which a sentry visits some node. What is before the first row of all was not
// recorded, however short it is.
func silence(window int64) int64 {
	return max(2*bucket.Milliseconds(), min(window/5, 15*time.Minute.Milliseconds()))
}

// Window is the time that a report is of, and how much of it was recorded. Times are Unix
// milliseconds.
type Window struct {
	From int64 `json:"from"`
	To   int64 `json:"to"` // exclusive; never after the report was made
	// DataFrom and DataTo bound the rows of all times; 0 without any.
	DataFrom int64 `json:"data_from"`
	DataTo   int64 `json:"data_to"`
	// Gaps are the spans in which nothing was recorded: before the first row of all, and
	// between rows of at least a fifth of the window (two minutes at least) or a quarter of an
	// hour. GapsMS is their sum. Never nil.
	Gaps   []Span `json:"gaps"`
	GapsMS int64  `json:"gaps_ms"`
}

// Span is a span of time, Unix milliseconds.
type Span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// recorded is when rows were recorded: in buckets from a time on, and the bounds of all.
// Times are Unix milliseconds.
type recorded struct {
	at          map[int64]bool
	from        int64
	first, last int64
}

// maxRecorded bounds the buckets that one row fills, to a day.
const maxRecorded = int64(24 * time.Hour / bucket)

// add notes that something was recorded from one time to another.
func (c *recorded) add(from, to int64) {
	if c.first == 0 || from < c.first {
		c.first = from
	}
	c.last = max(c.last, to)
	first, last := max(from, c.from)/bucket.Milliseconds(), to/bucket.Milliseconds()
	for n := max(first, last-maxRecorded); n <= last; n++ {
		c.at[n] = true
	}
}

// gaps are the spans of silence in [from, to).
func (c *recorded) gaps(from, to int64) []Span {
	gaps, shortest := []Span{}, silence(to-from)
	add := func(start, end int64) {
		if start, end = max(start, from), min(end, to); end > start && end-start >= min(shortest, to-from) {
			gaps = append(gaps, Span{start, end})
		}
	}
	at := from
	if c.first-from >= time.Second.Milliseconds() && c.first < to {
		gaps, at = append(gaps, Span{from, c.first}), c.first
	}
	for _, n := range slices.Sorted(maps.Keys(c.at)) {
		start := n * bucket.Milliseconds()
		if start >= to {
			break
		}
		if start > at {
			add(at, start)
		}
		at = max(at, start+bucket.Milliseconds())
	}
	add(at, to)
	return gaps
}

// window describes a span of the report's data.
func (c *recorded) window(from, to int64) Window {
	w := Window{From: from, To: to, DataFrom: c.first, DataTo: c.last, Gaps: c.gaps(from, to)}
	for _, g := range w.Gaps {
		w.GapsMS += g.To - g.From
	}
	return w
}

// covered is the share of the window outside gaps.
func (w Window) covered() float64 {
	if w.To <= w.From {
		return 0
	}
	return 1 - float64(w.GapsMS)/float64(w.To-w.From)
}

// window is the report's; nil when it has all rows.
func (r *Report) window() *Window {
	if r.in.From == 0 && r.in.To == 0 {
		return nil
	}
	from, to := r.in.From, r.end()
	if from == 0 {
		from = min(r.recorded.first, to)
	}
	w := r.recorded.window(from, to)
	return &w
}
