package estimate

import (
	"math/bits"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Statistics are what was observed of one peer with one client version in one day, in
// some tens of bytes: for each span of duty slots how many cells were filled and how
// many were not. No duty slot is in two spans. Not safe for concurrent use.
//
// An observation belongs to the day in which it started.
type Statistics struct {
	// readings has one entry for each window that the client may have, the likeliest first.
	readings  []reading
	sync      []syncReading
	behaviour Behaviour
	fullness  fullness
	sealed    bool // nothing can be added
}

// reading is what was observed, interpreted with one window.
type reading struct {
	window window
	early  packed // runs before the others, see OpenStatistics
	runs   []run  // by from, disjoint
}

// packed are n encoded runs; n is 0 for none.
type packed struct {
	n    int
	end  eth2.Slot // of the last
	data []byte
}

// all returns all runs; those that cannot be decoded are left out.
func (r *reading) all() []run {
	r.unpack()
	return r.runs
}

// run is a span of duty slots and its cells of one kind.
type run struct {
	from     eth2.Slot
	slots    uint32
	on, off  uint32
	cell     cell
	snapshot bool // from a snapshot, not from a watch
}

// syncReading is what a peer served as syncnets in one sync committee period.
type syncReading struct {
	period   uint32
	syncnets eth2.Syncnets
}

// fullness distinguishes a node that keeps every subnet from one with many duties.
type fullness struct {
	full, partial           uint32 // snapshots with all subnets, and with fewer
	firstFull, lastFull     eth2.Epoch
	fullEpochs, otherEpochs uint32 // watched epochs with all subnets and none left; others, also in part
	declared                uint32 // observations with all subnets in MetaData
}

// Behaviour is how a client was observed to subscribe, which Calibrate compares with its
// window.
type Behaviour struct {
	// Lifetimes counts subscriptions by their time from SUBSCRIBE to UNSUBSCRIBE in
	// slots, rounded; see lifetimeBin.
	Lifetimes [LifetimeBins]uint32
	// Slots is the sum of those times, in slots.
	Slots uint32
	// Subscribed counts SUBSCRIBEs in whole slots, AtEpochStart those of an epoch's
	// first two slots.
	Subscribed, AtEpochStart uint32
	// Epochs counts duty epochs watched as a whole; Filled, Squares and Cells are the
	// sums over them of the filled cells, of their squares, and of all cells.
	Epochs  uint32
	Filled  uint64
	Squares uint64
	Cells   uint64
}

// LifetimeBins is the number of bins of Behaviour.Lifetimes.
const LifetimeBins = 10

// lifetimeBin returns the bin of a time in whole slots: 0 to 4 each have their own,
// then 5-8, 9-16, 17-32, 33-64, and more.
func lifetimeBin(slots uint64) int {
	if slots <= 4 {
		return int(slots)
	}
	return min(LifetimeBins-1, 2+bits.Len64(slots-1))
}

// NewStatistics returns empty Statistics of a client.
func NewStatistics(c eth2.Client) *Statistics {
	s := newStatistics()
	if w, ok := windowOf(c); ok {
		s.readings = append(s.readings, reading{window: w})
		return s
	}
	for _, x := range candidatesOf(c) {
		s.readings = append(s.readings, reading{window: x.window})
	}
	return s
}

// newStatistics returns empty Statistics without readings.
func newStatistics() *Statistics {
	// Nearly all have one reading and one period: allocating those with the rest saves as
	// much time as decoding them takes.
	space := &struct {
		Statistics
		reading [1]reading
		sync    [1]syncReading
	}{}
	s := &space.Statistics
	s.readings, s.sync = space.reading[:0], space.sync[:0]
	return s
}

// Behaviour returns the observed behaviour, for calibration.
func (s *Statistics) Behaviour() Behaviour { return s.behaviour }

// Span is from the first duty slot that is covered to the last; ok is false for none.
func (s *Statistics) Span() (first, last eth2.Slot, ok bool) {
	for i := range s.readings {
		runs := s.readings[i].all()
		if n := len(runs); n > 0 {
			end := runs[n-1].end() - 1
			if !ok || runs[0].from < first {
				first = runs[0].from
			}
			last, ok = max(last, end), true
		}
	}
	return first, last, ok
}

// WatchedSlots counts the duty slots that watches covered: for an unknown client, with
// its likeliest window.
func (s *Statistics) WatchedSlots() (n uint64) {
	if len(s.readings) == 0 {
		return 0
	}
	for _, r := range s.readings[0].all() {
		if !r.snapshot {
			n += uint64(r.slots)
		}
	}
	return n
}

// AllSubnets reports whether the node keeps all 64 subnets whatever its duties, judged by
// this day alone: then its attestation subnets are no evidence. Evidence judges by all days.
func (s *Statistics) AllSubnets() bool {
	// A Teku node with ten thousand validators can be on all subnets for epochs; one that
	// keeps them by choice declares it in MetaData. Lodestar and old Prysm do not.
	fullByDuties := len(s.readings) == 1 && s.readings[0].window.policy == epochAhead
	return s.fullness.declared > 0 || !fullByDuties && s.fullness.allSubnets()
}

// mostlyFull reports whether a node was hardly ever seen with fewer than all subnets:
// what a node's duties do only with more validators than any is known to have.
func (f fullness) mostlyFull() bool {
	const others = 4 // full ones for each that is not, at least
	full, other := uint64(f.full)+uint64(f.fullEpochs), uint64(f.partial)+uint64(f.otherEpochs)
	return full > 0 && others*other <= full
}

// allSubnets reports whether there is enough to say that.
func (f fullness) allSubnets() bool {
	const epochs, snapshots = 2, 3
	return f.mostlyFull() && (f.fullEpochs >= epochs || f.full >= snapshots && f.lastFull >= f.firstFull+epochs-1)
}

// insert adds a run; when its slots are covered already it replaces what covers them only
// if it shows more than twice as much, or includes it. It reports whether the run was added.
func (r *reading) insert(x run) bool {
	if x.on+x.off == 0 {
		return false
	}
	i, ok := r.put(x)
	if ok {
		r.join(i, func(a, b run) bool { return true })
	}
	return ok
}

// insertSlots is insert of a run that lies within a duty epoch, in which others may
// complete it: also one without a cell that could show anything. It returns the Behaviour
// of the epoch that the run has completed, if it has.
func (r *reading) insertSlots(x run, perEpoch eth2.Slot) (whole Behaviour) {
	i, ok := r.put(x)
	if !ok {
		return whole
	}
	i = r.join(i, func(_, b run) bool { return b.from%perEpoch != 0 })
	if x = r.runs[i]; x.from%perEpoch == 0 && x.slots == uint32(perEpoch) {
		whole = x.behaviour()
		r.join(i, func(a, b run) bool { return a.from%perEpoch == 0 && b.end()%perEpoch == 0 })
	}
	return whole
}

// put is insert without join. It returns where the run is.
func (r *reading) put(x run) (i int, ok bool) {
	if x.slots == 0 || r.early.n+len(r.runs) >= maxRuns && !r.combine() {
		return 0, false
	}
	if behind := x.from > r.early.end || x.from == r.early.end && x.snapshot; !behind && !r.unpack() {
		return 0, false
	}
	from, to := r.overlap(x)
	if from == len(r.runs) { // nearly always
		r.runs = append(r.runs, x)
		return from, true
	}
	var known uint64
	for _, y := range r.runs[from:to] {
		known += y.exposure()
	}
	if from < to && x.exposure() <= 2*known && !x.includes(r.runs[from:to]) {
		return 0, false
	}
	r.runs = slices.Replace(r.runs, from, to, x)
	return from, true
}

// maxRuns bounds the runs of a day. A visit in each epoch adds one or two: on mainnet a day has 225
// epochs, on Gnosis 1080.
const maxRuns = 1024

// join merges a run with those that touch it and are of its kind, as far as the rule allows
// for a run and the next. It returns where the run is then.
func (r *reading) join(i int, allowed func(a, b run) bool) int {
	for _, left := range [...]int{i, i - 1} {
		if left < 0 || left+1 >= len(r.runs) {
			continue
		}
		a, b := &r.runs[left], r.runs[left+1]
		if a.end() == b.from && a.cell == b.cell && !a.snapshot && !b.snapshot && allowed(*a, b) {
			a.slots, a.on, a.off = a.slots+b.slots, a.on+b.on, a.off+b.off
			r.runs = slices.Delete(r.runs, left+1, left+2)
			i = left
		}
	}
	return i
}

// overlap returns the runs that share duty slots with x, or where x would be inserted.
func (r *reading) overlap(x run) (from, to int) {
	if n := len(r.runs); n == 0 || r.runs[n-1].end() <= x.from { // nearly always
		return n, n
	}
	from, _ = slices.BinarySearchFunc(r.runs, x.from, func(y run, slot eth2.Slot) int {
		if y.end() <= slot {
			return -1
		}
		return 1
	})
	for to = from; to < len(r.runs) && r.runs[to].from < x.end(); {
		to++
	}
	return from, to
}

// includes reports whether a watch's run covers others and more: it knows what they know, as of an
// epoch whose later part another sentry has reported first.
func (r run) includes(others []run) bool {
	slots := uint32(0)
	for _, o := range others {
		if o.from < r.from || o.end() > r.end() {
			return false
		}
		slots += o.slots
	}
	return !r.snapshot && slots < r.slots
}

func (r run) end() eth2.Slot { return r.from + eth2.Slot(r.slots) }

// exposure measures how much a run can show: its cells in slots and subnets.
func (r run) exposure() uint64 { return uint64(r.on+r.off) * max(1, uint64(r.cell)) }

// Add sums.
func (h *Behaviour) Add(o Behaviour) {
	for i, n := range o.Lifetimes {
		h.Lifetimes[i] += n
	}
	h.Slots += o.Slots
	h.Subscribed += o.Subscribed
	h.AtEpochStart += o.AtEpochStart
	h.addEpochs(o)
}

func (h *Behaviour) addEpochs(o Behaviour) {
	h.Epochs += o.Epochs
	h.Filled += o.Filled
	h.Squares += o.Squares
	h.Cells += o.Cells
}

func (f *fullness) add(o fullness) {
	if o.full > 0 {
		if f.full == 0 || o.firstFull < f.firstFull {
			f.firstFull = o.firstFull
		}
		f.lastFull = max(f.lastFull, o.lastFull)
	}
	f.full += o.full
	f.partial += o.partial
	f.fullEpochs += o.fullEpochs
	f.otherEpochs += o.otherEpochs
	f.declared += o.declared
}
