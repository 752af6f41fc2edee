package estimate

import (
	"math/bits"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// WatchLog is the subscription log of a watch, or of one part of it, in the form of
// event.Watch. Malformed entries are ignored.
type WatchLog struct {
	From, To int64 // Unix milliseconds
	Initial  []int // attestation subnets at From
	Since    []int // as in event.Watch
	Changes  []event.SubnetChange
	// LongLived are the long-lived subnets that the node had at any time
	// of the log: MetaData's at its start and after each change.
	LongLived eth2.Attnets
	// fresh is the time that nobody else has watched, see Outside; zero for all of it.
	fresh Span
}

// Snapshot is a peer's subscriptions at one time.
type Snapshot struct {
	At         int64 // Unix milliseconds
	Subscribed []int // attestation subnets; nil when not known
	LongLived  eth2.Attnets
}

// maxWatchSlots bounds what is read of one log: some days.
const maxWatchSlots = 1 << 17

// AddWatch adds a watch, or a part of one: a watch is the sum of its epochs (see Epochs), so
// that nothing is lost where it was cut at EpochCut, in whatever order its parts are added.
func (s *Statistics) AddWatch(p Params, w WatchLog) {
	for epoch := range w.Epochs(p) {
		s.addEpoch(p, epoch)
	}
}

func (s *Statistics) addEpoch(p Params, w WatchLog) {
	t, ok := newTimeline(p, w)
	if !ok || s.sealed {
		return
	}
	for i := range s.readings {
		r := &s.readings[i]
		var seen Behaviour
		switch r.window.policy {
		case slotsAhead:
			seen = t.slotBySlot(r)
		case epochStart:
			seen = t.epochByEpoch(r)
		case epochAhead:
			seen = t.nextEpochs(r)
		}
		if len(s.readings) == 1 {
			s.behaviour.Add(t.behaviour())
			s.behaviour.addEpochs(seen)
		}
	}
	s.fullness.addWatch(t)
}

// AddSnapshot adds a snapshot. One whose duties are covered already is not used. Of one without
// subscriptions it takes whether the node declares that it keeps all subnets.
func (s *Statistics) AddSnapshot(p Params, o Snapshot) {
	t, ok := newTiming(p)
	if !ok || s.sealed || !t.within(o.At) {
		return
	}
	if o.Subscribed == nil {
		if attnetSet(o.LongLived) == allSubnets {
			s.fullness.declared++
		}
		return
	}
	on, slot := subnetSet(o.Subscribed), t.slotAt(o.At)
	for i := range s.readings {
		r := &s.readings[i]
		span := r.window.snapshotSlots(slot, p.slots())
		first := slot
		if r.window.policy == slotsAhead {
			first += eth2.Slot(r.window.lead + 1 - min(span, r.window.lead+1))
		}
		kind, reached := p.window(first, span)
		x := count(on, reached&^attnetSet(o.LongLived))
		x.from, x.slots, x.cell, x.snapshot = first, uint32(span), kind, true
		r.insert(x)
	}
	s.fullness.addSnapshot(on, attnetSet(o.LongLived), p.Clock.EpochOf(slot))
}

// AddSyncnets adds the sync committee subnets of a MetaData or a record. Those of a
// period's end can be of the next period and are not used.
func (s *Statistics) AddSyncnets(p Params, at int64, syncnets eth2.Syncnets) {
	const early = 5 // epochs; clients join up to four ahead
	t, ok := newTiming(p)
	if !ok || !t.within(at) {
		return
	}
	epoch := uint64(p.Clock.EpochOf(t.slotAt(at)))
	if period := p.syncPeriod(); epoch%period+early < period {
		s.addSync(syncReading{uint32(epoch / period), syncnets})
	}
}

// addSync keeps one reading a period: all subnets seen in it.
func (s *Statistics) addSync(r syncReading) {
	const days = 8 // more periods than any day has
	i := slices.IndexFunc(s.sync, func(x syncReading) bool { return x.period == r.period })
	switch {
	case i >= 0:
		s.sync[i].syncnets |= r.syncnets
	case len(s.sync) < days:
		s.sync = append(s.sync, r)
		slices.SortFunc(s.sync, func(a, b syncReading) int { return int(a.period) - int(b.period) })
	}
}

// timeline is the log of an epoch, or of a part of one, in time.
type timeline struct {
	timing
	params    Params
	from, to  int64 // Unix milliseconds
	initial   uint64
	since     []int64              // when a subnet of initial was joined, Unix milliseconds; 0 or missing where not known
	changes   []event.SubnetChange // in order, all valid, At in Unix milliseconds
	longLived uint64
	fresh     Span // as in WatchLog
}

// slotBySlot reads a client that subscribes for each duty when its slot is near. A
// subnet that was off when a slot began goes on in that slot if and only if there is
// a duty lead slots later; of one that is on there is nothing to learn. So it does
// not matter for how long the client stays.
func (t timeline) slotBySlot(r *reading) (seen Behaviour) {
	first := t.slotAt(t.from)
	if t.begins(first) < t.from {
		first++
	}
	lead, perEpoch := eth2.Slot(r.window.lead), eth2.Slot(t.params.slots())
	c := t.cursor()
	c.advance(t.begins(first))
	x := run{from: first + lead, cell: oneCommittee}
	for slot := first; t.begins(slot+1) <= t.to; slot++ {
		duty := slot + lead
		if duty%perEpoch == 0 {
			seen.addEpochs(r.insertSlots(x, perEpoch))
			x = run{from: duty, cell: oneCommittee}
		}
		before := c.on
		began := c.advance(t.begins(slot + 1))
		seenOn := count(began, t.params.reached(duty, 1)&^t.longLived&^before)
		x.slots, x.on, x.off = x.slots+1, x.on+seenOn.on, x.off+seenOn.off
	}
	seen.addEpochs(r.insertSlots(x, perEpoch))
	return seen
}

// epochByEpoch reads a client that joins, at an epoch's start, the subnets of the
// rest of the epoch's duties and of the first slot of the next. The duty of the first
// slot itself belongs to the epoch before, and its subnet is left when the second
// slot begins: so what counts is seen from the middle of that slot on.
func (t timeline) epochByEpoch(r *reading) (seen Behaviour) {
	perEpoch := eth2.Slot(t.params.slots())
	c := t.cursor()
	for start := t.slotAt(t.from) / perEpoch * perEpoch; t.starts(start) < t.to; start += perEpoch {
		first := start + 1
		if t.starts(first)+t.slot/2 < t.from {
			first = t.slotOf(t.from)
		}
		begin := max(t.from, t.starts(first)+t.slot/2)
		whole := t.begins(start + perEpoch)
		end := min(t.to, whole)
		if end <= begin || end < whole && end-begin < 2*t.slot {
			continue
		}
		c.advance(begin)
		on := c.on
		on |= c.advance(end)
		span := uint64(start + perEpoch - first + 1)
		kind, reached := t.params.window(first, span)
		x := count(on, reached&^t.longLived)
		x.from, x.slots, x.cell = first, uint32(span), kind
		if r.insert(x) && span == uint64(perEpoch) {
			seen.addEpochs(x.behaviour())
		}
	}
	return seen
}

// nextEpochs reads a client that has joined the subnets of all duties of an epoch
// when the one before ends: what counts is seen in the middle of that one's last slot,
// whose own duties show as well.
func (t timeline) nextEpochs(r *reading) (seen Behaviour) {
	perEpoch := eth2.Slot(t.params.slots())
	c := t.cursor()
	for next := (t.slotAt(t.from)/perEpoch + 1) * perEpoch; t.starts(next)-t.slot/2 <= t.to; next += perEpoch {
		at := t.starts(next) - t.slot/2
		if at < t.from {
			continue
		}
		c.advance(at)
		kind, reached := t.params.window(next-1, uint64(perEpoch)+1)
		x := count(c.on, reached&^t.longLived)
		x.from, x.slots, x.cell = next, uint32(perEpoch), kind
		if r.insert(x) {
			seen.addEpochs(x.behaviour())
		}
	}
	return seen
}

// behaviour counts the lifetimes and starts of short-lived subscriptions.
func (t timeline) behaviour() (h Behaviour) {
	var since [subnets]int64
	copy(since[:], t.since)
	for _, c := range t.changes {
		subnet := c.Subnet
		if t.longLived>>subnet&1 == 1 {
			continue
		}
		known := t.fresh != Span{} && (c.At < t.fresh[0] || c.At >= t.fresh[1])
		switch {
		case c.Subscribed:
			since[subnet] = c.At
			if known {
				continue
			}
			h.Subscribed++
			if uint64(t.slotAt(c.At))%t.params.slots() < 2 {
				h.AtEpochStart++
			}
		case known:
			since[subnet] = 0
		case since[subnet] != 0:
			slots := uint64((c.At - since[subnet] + t.slot/2) / t.slot)
			h.Lifetimes[lifetimeBin(slots)]++
			h.Slots += uint32(slots)
			since[subnet] = 0
		}
	}
	return h
}

// addWatch counts whether all subnets stayed on.
func (f *fullness) addWatch(t timeline) {
	if t.longLived == allSubnets {
		f.declared++
		return
	}
	left := slices.ContainsFunc(t.changes, func(c event.SubnetChange) bool { return !c.Subscribed })
	switch {
	case t.initial != allSubnets || left:
		f.otherEpochs++
	case t.to-t.from+t.tolerance >= t.slot*int64(t.params.slots()):
		f.fullEpochs++
	}
}

// addSnapshot counts a snapshot.
func (f *fullness) addSnapshot(on, longLived uint64, epoch eth2.Epoch) {
	switch {
	case longLived == allSubnets:
		f.declared++
	case on != allSubnets:
		f.partial++
	default:
		f.add(fullness{full: 1, firstFull: epoch, lastFull: epoch})
	}
}

// behaviour is that of one whole duty epoch.
func (r run) behaviour() Behaviour {
	on := uint64(r.on)
	return Behaviour{Epochs: 1, Filled: on, Squares: on * on, Cells: on + uint64(r.off)}
}

// count counts the eligible subnets that are on and off.
func count(on, eligible uint64) run {
	return run{on: uint32(bits.OnesCount64(on & eligible)), off: uint32(bits.OnesCount64(eligible &^ on))}
}
