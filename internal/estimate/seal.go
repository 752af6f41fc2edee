package estimate

import (
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Seal reduces Statistics at the end of their day: it combines the spans of one kind of cell
// into one. Duties before after are covered by earlier days and are left out. From
// then on nothing can be added: where in the day each span was is lost, except for
// the first slot and the last.
func (s *Statistics) Seal(after eth2.Slot) {
	if s.sealed {
		return
	}
	s.sealed = true
	for i := range s.readings {
		s.readings[i].seal(after)
	}
}

func (r *reading) seal(after eth2.Slot) {
	runs := slices.DeleteFunc(r.all(), func(x run) bool { return x.from < after })
	r.runs, r.early = sumsOf(runs), packed{}
}

// combine makes room in a reading that has maxRuns: the oldest runs become one for each kind of
// cell, as in a sealed day, since an observation of their slots is hardly still to come. Those that
// begin the day stay, as a day before may have covered them, too. It is false where the runs
// cannot be decoded.
func (r *reading) combine() bool {
	const first, oldest = 64, 128
	if !r.unpack() {
		return false
	}
	// There are fewer kinds than runs: at most four for each length of a window.
	for _, n := range [...]int{oldest, maxRuns - first} {
		if len(r.runs) >= maxRuns {
			r.runs = slices.Replace(r.runs, first, first+n, sumsOf(r.runs[first:first+n])...)
		}
	}
	return len(r.runs) < maxRuns
}

// sumsOf combines runs of one kind into one each. It lays these side by side, the last one at the
// end of what was covered.
func sumsOf(runs []run) (sums []run) {
	if len(runs) == 0 {
		return nil
	}
	for _, x := range runs {
		sums = addTo(sums, x)
	}
	next := runs[0].from
	for i := range sums {
		sums[i].from = next
		next = sums[i].end()
	}
	last := &sums[len(sums)-1]
	last.from = runs[len(runs)-1].end() - eth2.Slot(last.slots)
	return sums
}

// addTo adds a run to the one of its kind. Those with every subnet on are a kind of
// their own, see Evidence.
func addTo(sums []run, x run) []run {
	for i := range sums {
		if y := &sums[i]; y.cell == x.cell && y.snapshot == x.snapshot && (y.off == 0) == (x.off == 0) {
			y.slots, y.on, y.off = y.slots+x.slots, y.on+x.on, y.off+x.off
			return sums
		}
	}
	return append(sums, x)
}
