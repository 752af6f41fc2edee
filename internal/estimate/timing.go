package estimate

import (
	"encoding/binary"
	"math"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

const allSubnets uint64 = math.MaxUint64

// timing is the network's clock in milliseconds.
type timing struct {
	genesis, slot int64
	// tolerance is how much earlier than its slot a change can appear, as clocks differ.
	tolerance int64
}

func newTiming(p Params) (timing, bool) {
	t := timing{genesis: p.Clock.Genesis.UnixMilli(), slot: p.Clock.SlotDuration.Milliseconds()}
	t.tolerance = t.slot / 12 // a second of mainnet's twelve
	ok := t.genesis >= 0 && t.slot > 0 && p.Clock.SlotsPerEpoch > 0 && p.Clock.SlotsPerEpoch <= maxSlotsPerEpoch
	return t, ok
}

// within reports whether the clock can represent a time, with room for sums.
func (t timing) within(ms int64) bool { return ms >= t.genesis && ms < 1<<53 }

// slotOf is the slot of a time at or after genesis.
func (t timing) slotOf(ms int64) eth2.Slot { return eth2.Slot((ms - t.genesis) / t.slot) }

// slotAt is the slot that a change at the time belongs to.
func (t timing) slotAt(ms int64) eth2.Slot {
	return t.slotOf(ms + t.tolerance)
}

// starts is when a slot starts, begins when changes of the slot can come.
func (t timing) starts(s eth2.Slot) int64 { return t.genesis + int64(s)*t.slot }
func (t timing) begins(s eth2.Slot) int64 { return t.starts(s) - t.tolerance }

// cursor follows a timeline.
type cursor struct {
	changes []event.SubnetChange // those to come
	on      uint64
}

func (t timeline) cursor() *cursor { return &cursor{t.changes, t.initial} }

// advance moves to a time, and returns the subnets that were joined meanwhile, whether they
// are on still or not.
func (c *cursor) advance(to int64) (began uint64) {
	for len(c.changes) > 0 && c.changes[0].At < to {
		bit := uint64(1) << c.changes[0].Subnet
		if c.changes[0].Subscribed {
			began |= bit
			c.on |= bit
		} else {
			c.on &^= bit
		}
		c.changes = c.changes[1:]
	}
	return began
}

func attnetSet(a eth2.Attnets) uint64 { return binary.LittleEndian.Uint64(a[:]) }

// subnetSet ignores numbers that are not subnets.
func subnetSet(list []int) (on uint64) {
	for _, s := range list {
		if s >= 0 && s < subnets {
			on |= 1 << s
		}
	}
	return on
}
