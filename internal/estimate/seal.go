package estimate

import "github.com/chainbound/valtrack/internal/eth2"

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

// seal lays the sums side by side, the last one at the end of what was covered.
func (r *reading) seal(after eth2.Slot) {
	var sums []run
	var first, end eth2.Slot
	for _, x := range r.all() {
		if x.from < after {
			continue
		}
		if len(sums) == 0 {
			first = x.from
		}
		sums, end = addTo(sums, x), x.end()
	}
	next := first
	for i := range sums {
		sums[i].from = next
		next = sums[i].end()
	}
	if n := len(sums); n > 0 {
		sums[n-1].from = end - eth2.Slot(sums[n-1].slots)
	}
	r.runs, r.early = sums, packed{}
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
