package eth2

import (
	"math"
	"time"
)

// Clock maps wall time to slots and epochs. It holds no clock itself. Slot
// duration and slots per epoch must be above 0.
type Clock struct {
	Genesis       time.Time
	SlotDuration  time.Duration
	SlotsPerEpoch uint64
}

// SlotAt is the slot at t; before genesis it is 0.
func (c Clock) SlotAt(t time.Time) Slot {
	if since := t.Sub(c.Genesis); since > 0 {
		return Slot(since / c.SlotDuration)
	}
	return 0
}

// EpochAt is the epoch at t; before genesis it is 0.
func (c Clock) EpochAt(t time.Time) Epoch { return c.EpochOf(c.SlotAt(t)) }

// EpochOf is the epoch that holds the slot.
func (c Clock) EpochOf(s Slot) Epoch { return Epoch(uint64(s) / c.SlotsPerEpoch) }

// SlotStart is the time at which slot s begins. A slot that no clock reaches, such
// as one that a peer made up, saturates some 292 years after genesis.
func (c Clock) SlotStart(s Slot) time.Time {
	s = min(s, Slot(math.MaxInt64/c.SlotDuration))
	return c.Genesis.Add(time.Duration(s) * c.SlotDuration)
}

// EpochStart is the time at which epoch e begins. It saturates as SlotStart does:
// FarFutureEpoch is a time, but a distant one.
func (c Clock) EpochStart(e Epoch) time.Time {
	e = min(e, Epoch(math.MaxUint64/c.SlotsPerEpoch))
	return c.SlotStart(Slot(uint64(e) * c.SlotsPerEpoch))
}

// EpochDuration is the length of an epoch.
func (c Clock) EpochDuration() time.Duration {
	return time.Duration(c.SlotsPerEpoch) * c.SlotDuration
}

// Scale shrinks a time that is meant for mainnet's 12 s slots to this network's
// slots; it never stretches it.
func (c Clock) Scale(d time.Duration) time.Duration {
	const mainnetSlot = 12 * time.Second
	if c.SlotDuration >= mainnetSlot {
		return d
	}
	return time.Duration(float64(d) * float64(c.SlotDuration) / float64(mainnetSlot))
}
