package dataset

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Interval is a run of counters, both ends inclusive.
type Interval [2]uint64

// Coverage is the set of event keys that are stored: for each producer the
// intervals of its counters, ascending, neither overlapping nor adjacent. It
// takes some bytes per gap, not per key. The zero value is empty; Add needs a map.
type Coverage map[string][]Interval

// Has reports whether the key is in the set.
func (c Coverage) Has(producer string, counter uint64) bool {
	i, found := search(c[producer], counter)
	return found || i > 0 && c[producer][i-1][1] >= counter
}

// Add puts the key into the set; false when it is there already.
func (c Coverage) Add(producer string, counter uint64) bool {
	if c.Has(producer, counter) {
		return false
	}
	c.addRun(producer, Interval{counter, counter})
	return true
}

// Merge adds every key of other, in time linear in the runs from the first of other on.
func (c Coverage) Merge(other Coverage) {
	for producer, runs := range other {
		if have, known := c[producer]; known {
			c[producer] = mergeIntervals(have, runs)
		} else {
			c[strings.Clone(producer)] = slices.Clone(runs) // the name may be a part of a message
		}
	}
}

// mergeIntervals adds the runs of b to those of a, which it may change.
func mergeIntervals(a, b []Interval) []Interval {
	if len(b) == 0 {
		return a
	}
	from, _ := search(a, b[0][0])
	from = max(0, from-1) // the run before may touch it
	if from+1 >= len(a) {
		return appendMerged(a[:from], slices.Clone(a[from:]), b)
	}
	return appendMerged(a[:from:from], a[from:], b)
}

// appendMerged appends the union of a and b, each ascending, to out, which ends before them.
func appendMerged(out, a, b []Interval) []Interval {
	for len(a)+len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0][0] <= b[0][0] {
			out, a = appendRun(out, a[0]), a[1:]
		} else {
			out, b = appendRun(out, b[0]), b[1:]
		}
	}
	return out
}

// appendRun appends a run that starts no earlier than the last of runs.
func appendRun(runs []Interval, run Interval) []Interval {
	if last := len(runs) - 1; last >= 0 && touches(runs[last], run) {
		runs[last][1] = max(runs[last][1], run[1])
		return runs
	}
	return append(runs, run)
}

// search finds the run that starts at counter, or where one would be inserted.
func search(runs []Interval, counter uint64) (int, bool) {
	return slices.BinarySearchFunc(runs, counter, func(r Interval, n uint64) int {
		switch {
		case r[0] < n:
			return -1
		case r[0] > n:
			return 1
		}
		return 0
	})
}

// addRun merges a run with those that it touches.
func (c Coverage) addRun(producer string, run Interval) {
	runs, known := c[producer]
	if !known {
		producer = strings.Clone(producer) // it may be a part of a message
	}
	from, _ := search(runs, run[0])
	if from > 0 && touches(runs[from-1], run) {
		from--
	}
	to := from
	for to < len(runs) && touches(runs[to], run) {
		run = Interval{min(run[0], runs[to][0]), max(run[1], runs[to][1])}
		to++
	}
	c[producer] = slices.Replace(runs, from, to, run)
}

// touches reports whether two runs overlap or are adjacent.
func touches(a, b Interval) bool {
	if a[0] > b[0] {
		a, b = b, a
	}
	return b[0] <= a[1] || b[0]-1 == a[1]
}

func (c Coverage) encode() (string, error) {
	if c == nil {
		c = Coverage{}
	}
	b, err := json.Marshal(c)
	return string(b), err
}

// decodeCoverage refuses what encode cannot have written: everything else relies on the
// order of the runs.
func decodeCoverage(text string) (Coverage, error) {
	c := Coverage{}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return nil, fmt.Errorf("covered event keys: %w", err)
	}
	for producer, runs := range c {
		if len(runs) == 0 {
			delete(c, producer)
		}
		for i, run := range runs {
			if run[0] > run[1] || i > 0 && (runs[i-1][1] >= run[0] || touches(runs[i-1], run)) {
				return nil, fmt.Errorf("covered event keys: %q has the counters %d to %d out of order", producer, run[0], run[1])
			}
		}
	}
	return c, nil
}
