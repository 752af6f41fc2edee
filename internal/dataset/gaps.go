package dataset

import "strings"

// sentryOf returns the sentry of a producer, which is <sentry>-<boot>. Messages that
// came without a key are numbered differently, with gaps that mean nothing: by the
// consumer under "@" and a minute, by replay under "file-" and a sum.
func sentryOf(producer string) (sentry string, counted bool) {
	if strings.HasPrefix(producer, "@") || strings.HasPrefix(producer, "file-") {
		return producer, false
	}
	i := strings.LastIndexByte(producer, '-')
	if i < 0 {
		return producer, false
	}
	return producer[:i], true
}

// MaxJump is how far a counter may be beyond the last one of its producer. A sentry skips the
// counters of what its spool had to drop: those of a year, at 30 events/s. A consumer refuses
// what is beyond, as all that is below it would count as missing; earlier versions stored it.
const MaxJump = 1 << 30

// Gaps returns the runs of a producer's counters that are neither in the set nor in
// rejected, from 1 to the last that is in either: events that were lost or are
// yet to arrive, or came before the datasets began. It is empty for a producer that
// does not count. A gap of more than MaxJump was never made by a sentry: it is none, and
// neither is what follows it.
func (c Coverage) Gaps(producer string, rejected Coverage) (gaps []Interval) {
	if _, counted := sentryOf(producer); !counted {
		return nil
	}
	runs := c[producer]
	if more := rejected[producer]; len(more) > 0 {
		runs = appendMerged(make([]Interval, 0, len(runs)+len(more)), runs, more)
	}
	believed, _ := splitFar(runs)
	next := uint64(1)
	for _, run := range believed {
		if run[0] > next {
			gaps = append(gaps, Interval{next, run[0] - 1})
		}
		next = run[1] + 1
	}
	return gaps
}

// splitFar separates the runs of counters that are beyond a gap that no sentry makes.
func splitFar(runs []Interval) (believed, far []Interval) {
	last := uint64(0)
	for i, run := range runs {
		if run[0] > last && run[0]-last > MaxJump {
			return runs[:i], runs[i:]
		}
		last = run[1]
	}
	return runs, nil
}

// Missing counts the events in all Gaps, by sentry. A sentry without gaps has 0.
func (c Coverage) Missing(rejected Coverage) map[string]uint64 {
	out := map[string]uint64{}
	for producer := range c {
		if sentry, counted := sentryOf(producer); counted {
			out[sentry] += count(c.Gaps(producer, rejected))
		}
	}
	return out
}

// Counted counts the events in the set, by sentry.
func (c Coverage) Counted() map[string]uint64 {
	out := map[string]uint64{}
	for producer, runs := range c {
		if sentry, counted := sentryOf(producer); counted {
			out[sentry] += count(runs)
		}
	}
	return out
}

// count is how many counters are in runs.
func count(runs []Interval) (n uint64) {
	for _, r := range runs {
		n += r[1] - r[0] + 1
	}
	return n
}

// overlap counts the keys of other that are in the set already.
func (c Coverage) overlap(other Coverage) (n uint64) {
	for producer, runs := range other {
		n += overlapRuns(c[producer], runs)
	}
	return n
}

// contains reports whether every key of other is in the set.
func (c Coverage) contains(other Coverage) bool {
	for producer, runs := range other {
		if overlapRuns(c[producer], runs) != count(runs) {
			return false
		}
	}
	return true
}

func overlapRuns(a, b []Interval) (n uint64) {
	if len(b) == 0 {
		return 0
	}
	from, _ := search(a, b[0][0])
	for a = a[max(0, from-1):]; len(a) > 0 && len(b) > 0; {
		if from, to := max(a[0][0], b[0][0]), min(a[0][1], b[0][1]); from <= to {
			n += to - from + 1
		}
		if a[0][1] < b[0][1] {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return n
}
