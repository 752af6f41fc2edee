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

// Merge adds every key of other.
func (c Coverage) Merge(other Coverage) {
	for producer, runs := range other {
		for _, run := range runs {
			c.addRun(producer, run)
		}
	}
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

func decodeCoverage(text string) (Coverage, error) {
	c := Coverage{}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return nil, fmt.Errorf("covered event keys: %w", err)
	}
	return c, nil
}
