package estimate

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// EpochCut is where the log of an epoch begins and that of the one before ends: when the
// first changes of the epoch's first slot can appear, a twelfth of a slot before it.
func EpochCut(c eth2.Clock, epoch eth2.Epoch) time.Time {
	t, _ := newTiming(Params{Clock: c})
	return time.UnixMilli(t.begins(eth2.Slot(uint64(epoch) * c.SlotsPerEpoch)))
}

// Epochs cuts the log at each EpochCut in it; one without is yielded as it is. Each piece
// has the LongLived of the log. What is after maxWatchSlots is left out.
func (w WatchLog) Epochs(p Params) iter.Seq[WatchLog] {
	return func(yield func(WatchLog) bool) {
		t, ok := newTiming(p)
		if !ok || !t.within(w.From) || !t.within(w.To) || w.To <= w.From {
			return
		}
		end := min(w.To, w.From+maxWatchSlots*t.slot)
		next := func(at int64) int64 {
			return min(end, t.begins(eth2.Slot((uint64(t.slotAt(at))/p.slots()+1)*p.slots())))
		}
		if next(w.From) == w.To {
			yield(w)
			return
		}
		c := newCutter(w)
		for at := w.From; at < end; at = next(at) {
			if !yield(c.cut(at, next(at), end)) {
				return
			}
		}
	}
}

// cutter cuts pieces off a log's beginning.
type cutter struct {
	log     WatchLog
	changes []event.SubnetChange // those to come, in order, At after the log's From
	on      uint64
	since   [subnets]int64 // as in timeline
}

func newCutter(w WatchLog) *cutter {
	c := &cutter{log: w, changes: inOrder(w.Changes), on: subnetSet(w.Initial)}
	copy(c.since[:], w.joined())
	return c
}

// inOrder returns the valid changes by time.
func inOrder(changes []event.SubnetChange) []event.SubnetChange {
	valid := slices.DeleteFunc(slices.Clone(changes), func(c event.SubnetChange) bool { return c.At < 0 || c.Subnet < 0 || c.Subnet >= subnets })
	slices.SortStableFunc(valid, func(a, b event.SubnetChange) int { return cmp.Compare(a.At, b.At) })
	return valid
}

// joined is when each subnet of Initial was joined, Unix milliseconds by subnet; nil where
// nothing is known, and 0 for a subnet of which nothing is known.
func (w WatchLog) joined() []int64 {
	if len(w.Since) != len(w.Initial) || len(w.Since) == 0 {
		return nil
	}
	out := make([]int64, subnets)
	for i, subnet := range w.Initial {
		if ms := w.Since[i]; ms > 0 && subnet >= 0 && subnet < subnets {
			out[subnet] = w.From - int64(ms)
		}
	}
	return out
}

// cut is the piece of a span, which begins where the last one ended. A change at its end
// belongs to the next, unless that is the log's end.
func (c *cutter) cut(from, to, end int64) WatchLog {
	piece := WatchLog{From: from, To: to, LongLived: c.log.LongLived}
	for on := c.on; on != 0; on &= on - 1 {
		subnet := bits.TrailingZeros64(on)
		piece.Initial = append(piece.Initial, subnet)
		piece.Since = append(piece.Since, 0)
		if at := c.since[subnet]; at != 0 {
			piece.Since[len(piece.Since)-1] = int(from - at)
		}
	}
	for len(c.changes) > 0 {
		x := c.changes[0]
		at := c.log.From + x.At
		if at >= to && (to < end || at > to) {
			break
		}
		c.changes = c.changes[1:]
		if c.on &^= 1 << x.Subnet; x.Subscribed {
			c.on |= 1 << x.Subnet
			c.since[x.Subnet] = at
		} else {
			c.since[x.Subnet] = 0
		}
		x.At = at - from
		piece.Changes = append(piece.Changes, x)
	}
	return piece
}

func newTimeline(p Params, w WatchLog) (timeline, bool) {
	t, ok := newTiming(p)
	if !ok || !t.within(w.From) || !t.within(w.To) || w.To <= w.From {
		return timeline{}, false
	}
	changes := inOrder(w.Changes)
	changes = slices.DeleteFunc(changes, func(c event.SubnetChange) bool { return c.At > w.To-w.From })
	for i := range changes {
		changes[i].At += w.From
	}
	return timeline{t, p, w.From, w.To, subnetSet(w.Initial), w.joined(), changes, attnetSet(w.LongLived), w.fresh}, true
}
