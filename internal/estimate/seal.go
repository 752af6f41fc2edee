package estimate

import "github.com/chainbound/valtrack/internal/eth2"

// Seal makes Statistics small that nothing more is added to: of the spans of one kind of
// cell it makes one. Sums, WatchedSlots and the end of Span stay as they are; where
// in the day each span was is lost.
func (s *Statistics) Seal() {
	for i := range s.readings {
		s.readings[i].seal()
	}
}

// seal lays the sums side by side, so that no slot is in two of them, the last one at
// the end of what was covered.
func (r *reading) seal() {
	if len(r.runs) < 2 {
		return
	}
	first, end := r.runs[0].from, r.runs[len(r.runs)-1].end()
	var sums []run
	for _, x := range r.runs {
		sums = addTo(sums, x)
	}
	next := first
	for i := range sums {
		sums[i].from = next
		next = sums[i].end()
	}
	last := &sums[len(sums)-1]
	last.from = end - eth2.Slot(last.slots)
	r.runs = sums
}

// addTo adds a run to the one of its kind.
func addTo(sums []run, x run) []run {
	for i := range sums {
		if y := &sums[i]; y.cell == x.cell && y.snapshot == x.snapshot {
			y.slots, y.on, y.off = y.slots+x.slots, y.on+x.on, y.off+x.off
			return sums
		}
	}
	return append(sums, x)
}
