package estimate

import "github.com/chainbound/valtrack/internal/eth2"

// subscriptionPolicy is how a client follows the duties of its validators. The values are
// in stored statistics.
type subscriptionPolicy uint8

const (
	// slotsAhead subscribes a few slots before each duty.
	slotsAhead subscriptionPolicy = iota
	// epochStart subscribes for the rest of the epoch, and the first slot of the next,
	// at the epoch's start.
	epochStart
	// epochAhead subscribes as soon as the validator client asks: by the end of the
	// epoch before the duty's.
	epochAhead
)

// window is when a client subscribes for a duty and for how long.
type window struct {
	policy subscriptionPolicy
	// lead is from the slot of the SUBSCRIBE to the duty's; slots is for how many slots
	// a duty is visible. Both only for slotsAhead.
	lead, slots uint64
}

// maxWindow bounds lead and slots.
const maxWindow = 63

// key is the window's identity in stored statistics: the policy in bits 0 and 1, the lead
// in bits 2 to 7, the slots above.
func (w window) key() uint64 { return uint64(w.policy) | w.lead<<2 | w.slots<<8 }

const maxWindowKey = maxWindow<<8 | 255

// windowOfKey is the window with a key; ok is false when there is none.
func windowOfKey(key uint64) (w window, ok bool) {
	w = window{policy: subscriptionPolicy(key & 3), lead: key >> 2 & maxWindow, slots: key >> 8}
	if w.policy == slotsAhead {
		return w, w.slots >= 1 && w.slots <= maxWindow
	}
	return w, w.policy <= epochAhead && w.lead == 0 && w.slots == 0
}

// snapshotSlots is for how many slots' duties a snapshot in a slot shows the subscriptions.
func (w window) snapshotSlots(slot eth2.Slot, slotsPerEpoch uint64) uint64 {
	phase := uint64(slot) % slotsPerEpoch
	switch w.policy {
	case epochStart:
		return slotsPerEpoch - phase + 1
	case epochAhead:
		return 2*slotsPerEpoch - phase
	default:
		return w.slots
	}
}
