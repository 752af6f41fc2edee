package estimate

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"sort"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Duties are the aggregators' duties, each a slot and a subnet, that a node showed in the
// newest of the epochs that were watched as a whole: what FitMultiplicity compares between
// nodes. They name no validator. The value is encoded, about ten bytes an epoch, and
// immutable; nil has none.
type Duties []byte

// Bounds of Duties: the newest epochs of a week, up to so many, and of each as many of its
// first slots as fit so many bytes. So they depend on nothing but what was seen, in whatever
// order it came.
const (
	dutyEpochs    = 32
	maxEpochBytes = 32
	maxDutyBytes  = dutyEpochs * maxEpochBytes
)

// dutyEpoch is what was shown in one watched epoch.
type dutyEpoch struct {
	from  eth2.Slot // the first duty slot that is covered
	slots uint64
	// visible is the chance that a duty of the node shows: not on its long-lived subnets, nor
	// where it is subscribed already.
	visible float64
	duties  []uint64 // slot after from * subnets + subnet, ascending
}

// AddWatch returns the duties with those of the whole epochs of a watch. Of two watches of one
// epoch the one that shows more counts. Clients that do not show a duty's slot add nothing.
func (d Duties) AddWatch(p Params, c eth2.Client, w WatchLog) Duties {
	window, ok := windowOf(c)
	if !ok || window.policy == epochAhead {
		return d
	}
	for epoch := range w.Epochs(p) {
		t, ok := newTimeline(p, epoch)
		if !ok || t.longLived == allSubnets {
			continue
		}
		var seen dutyEpoch
		if window.policy == slotsAhead {
			seen = t.dutiesBySubscribe(window.lead)
		} else {
			seen = t.dutiesByUnsubscribe()
		}
		if seen.slots == p.slots() && seen.visible > 0 {
			d = d.with(seen)
		}
	}
	return d
}

// dutiesBySubscribe reads a client that subscribes lead slots before each duty, as slotBySlot.
func (t timeline) dutiesBySubscribe(lead uint64) (seen dutyEpoch) {
	first := t.slotAt(t.from)
	if t.begins(first) < t.from {
		first++
	}
	seen.from = first + eth2.Slot(lead)
	c := t.cursor()
	c.advance(t.begins(first))
	visible, all := 0, 0
	for slot := first; t.begins(slot+1) <= t.to; slot++ {
		before := c.on
		began := c.advance(t.begins(slot + 1))
		reached := t.params.reached(slot+eth2.Slot(lead), 1)
		eligible := reached &^ t.longLived &^ before
		visible, all = visible+bits.OnesCount64(eligible), all+bits.OnesCount64(reached)
		for on := began & eligible; on != 0; on &= on - 1 {
			seen.duties = append(seen.duties, seen.slots*subnets+uint64(bits.TrailingZeros64(on)))
		}
		seen.slots++
	}
	seen.visible = float64(visible) / float64(max(1, all))
	return seen
}

// dutiesByUnsubscribe reads a client that leaves each subnet in the slot after the last of
// its duties there in the epoch, so that earlier ones on the same subnet do not show.
func (t timeline) dutiesByUnsubscribe() (seen dutyEpoch) {
	first := t.slotAt(t.from)
	last := t.slotAt(t.to)
	if t.begins(first) != t.from || t.begins(last) != t.to || first == 0 {
		return seen
	}
	seen.from, seen.slots = first-1, uint64(last-first)
	for _, c := range t.changes {
		if slot := t.slotAt(c.At); !c.Subscribed && slot < last && t.longLived>>c.Subnet&1 == 0 {
			seen.duties = append(seen.duties, uint64(slot-first)*subnets+uint64(c.Subnet))
		}
	}
	slices.Sort(seen.duties)
	seen.duties = slices.Compact(seen.duties)
	filled := min(float64(len(seen.duties)), subnets-0.5) / subnets
	seen.visible = 1 - float64(bits.OnesCount64(t.longLived))/subnets
	if filled > 0 { // of so many at random places, those that are the last of their subnet
		seen.visible *= filled / -math.Log1p(-filled)
	}
	return seen
}

// with adds an epoch, and drops the oldest that are too many or too old. What is damaged is
// dropped.
func (d Duties) with(seen dutyEpoch) Duties {
	type epoch struct {
		from    eth2.Slot
		encoded []byte
	}
	list := make([]epoch, 0, dutyEpochs+1) // oldest first
	add := func(from eth2.Slot, encoded []byte) {
		i, found := slices.BinarySearchFunc(list, from, func(e epoch, from eth2.Slot) int { return cmp.Compare(e.from, from) })
		switch {
		case !found && len(encoded) > 0:
			list = slices.Insert(list, i, epoch{from, encoded})
		case found && moreShown(encoded, list[i].encoded):
			list[i].encoded = encoded
		}
	}
	for rest := d; len(rest) > 0; {
		e, size := rest.first(false)
		if size == 0 {
			break
		}
		encoded := []byte(rest[:size])
		if size > maxEpochBytes { // by an earlier version
			e, _ = rest.first(true)
			encoded = e.bounded()
		}
		add(e.from, encoded)
		rest = rest[size:]
	}
	add(seen.from, seen.bounded())
	if len(list) == 0 {
		return nil
	}
	newest := list[len(list)-1].from
	var out Duties
	for _, e := range list[max(0, len(list)-dutyEpochs):] {
		if e.from+dutySlots >= newest {
			out = append(out, e.encoded...)
		}
	}
	return slices.Clip(out)
}

// moreShown is a total order of the encodings of one epoch.
func moreShown(a, b []byte) bool {
	return cmp.Or(cmp.Compare(len(a), len(b)), bytes.Compare(a, b)) > 0
}

// bounded encodes as many of the epoch's first slots as fit; nil for none.
func (e dutyEpoch) bounded() []byte {
	for {
		n := min(len(e.duties)-1, maxEpochBytes) // the duty that does not fit, if any does not
		if n < maxEpochBytes {
			if b := e.encode(); len(b) <= maxEpochBytes {
				return b
			}
		}
		last := e.duties[n] / subnets
		if last == 0 {
			return nil
		}
		e.slots = last
		e.duties = e.duties[:sort.Search(n, func(i int) bool { return e.duties[i] >= last*subnets })]
	}
}

// Newest is the end of the last epoch that the duties cover; 0 for none.
func (d Duties) Newest() (last eth2.Slot) {
	for len(d) > 0 {
		e, size := d.first(false)
		if size == 0 {
			break
		}
		last, d = max(last, e.from+eth2.Slot(e.slots)), d[size:]
	}
	return last
}

// visibleSteps is the precision of an encoded dutyEpoch.visible.
const visibleSteps = 255

func (e dutyEpoch) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(e.from))
	b = binary.AppendUvarint(b, e.slots)
	b = append(b, byte(math.Round(visibleSteps*e.visible)))
	b = binary.AppendUvarint(b, uint64(len(e.duties)))
	before := uint64(0)
	for _, x := range e.duties {
		b = binary.AppendUvarint(b, x-before)
		before = x
	}
	return b
}

// decode returns the epochs, oldest first; of what is damaged, those before the damage.
func (d Duties) decode() (epochs []dutyEpoch) {
	for len(d) > 0 {
		e, size := d.first(true)
		if size == 0 || len(epochs) > 0 && e.from <= epochs[len(epochs)-1].from {
			return epochs
		}
		epochs, d = append(epochs, e), d[size:]
	}
	return epochs
}

// first reads the first epoch and returns how many bytes it has, 0 where it is damaged. The
// duties are read only if list is true.
func (d Duties) first(list bool) (e dutyEpoch, size int) {
	from, a := binary.Uvarint(d)
	if a <= 0 {
		return e, 0
	}
	slots, b := binary.Uvarint(d[a:])
	if b <= 0 || len(d) == a+b || from > latestSlot || slots > maxSlotsPerEpoch {
		return e, 0
	}
	e = dutyEpoch{from: eth2.Slot(from), slots: slots, visible: float64(d[a+b]) / visibleSteps}
	size = a + b + 1
	n, c := binary.Uvarint(d[size:])
	if size += c; c <= 0 || n > min(slots*subnets, uint64(len(d)-size)) {
		return e, 0
	}
	if list {
		e.duties = make([]uint64, 0, n)
	}
	at := uint64(0)
	for range n {
		step, c := binary.Uvarint(d[size:])
		if size += c; c <= 0 || step >= slots*subnets || at+step >= slots*subnets {
			return e, 0
		}
		if at += step; list {
			e.duties = append(e.duties, at)
		}
	}
	return e, size
}
