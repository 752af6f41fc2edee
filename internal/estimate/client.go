package estimate

import (
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2"
)

// habit is how a client follows the duties of its validators.
type habit uint8

const (
	// slotsAhead subscribes a few slots before each duty.
	slotsAhead habit = iota
	// epochStart subscribes for the rest of the epoch, and the first slot of the next,
	// at the epoch's start.
	epochStart
	// epochAhead subscribes as soon as the validator client asks: by the end of the
	// epoch before the duty's.
	epochAhead
)

// window is one client's habit, and the chance that a client is of this kind.
type window struct {
	kind  eth2.ClientKind
	habit habit
	// lead is from the slot of the SUBSCRIBE to the duty's; slots is for how many slots
	// a duty is visible. Both only for slotsAhead.
	lead, slots uint64
	share       float64
}

// windowsByKind are the current releases' habits with the shares of clients that an
// unknown one is taken from: Lighthouse subnet_service/mod.rs (pull request 6890),
// Prysm sync/subscriber_beacon_attestation.go, Nimbus action_tracker.nim, Teku
// AttestationTopicSubscriber.java, Lodestar attnetsService.ts, Grandine
// attestation_subnets.rs.
func windowsByKind() []window {
	return []window{
		{eth2.ClientLighthouse, slotsAhead, 1, 2, 0.45},
		{eth2.ClientPrysm, epochStart, 0, 0, 0.20},
		{eth2.ClientNimbus, slotsAhead, 3, 4, 0.12},
		{eth2.ClientTeku, epochAhead, 0, 0, 0.12},
		{eth2.ClientLodestar, slotsAhead, 2, 3, 0.06},
		{eth2.ClientGrandine, slotsAhead, 1, 2, 0.05},
	}
}

// windowsOf are the habits that a client may have: one when it is known, all with
// their shares when it is not.
func windowsOf(c eth2.Client) []window {
	all := windowsByKind()
	for _, w := range all {
		if w.kind != c.Kind {
			continue
		}
		if major, ok := majorOf(c); ok && w.kind == eth2.ClientLighthouse && major < 7 {
			w.slots = 1 // left the subnet when the duty's slot began
		}
		w.share = 1
		return []window{w}
	}
	// Grandine shows what Lighthouse shows.
	mixture := all[:len(all)-1]
	mixture[0].share += all[len(all)-1].share
	return mixture
}

func majorOf(c eth2.Client) (int, bool) {
	major, _, _ := strings.Cut(c.Release(), ".")
	n, err := strconv.Atoi(major)
	return n, err == nil
}

// look gives for how many slots' duties a look in a slot shows the subscriptions.
func (w window) look(slot eth2.Slot, slotsPerEpoch uint64) uint64 {
	phase := uint64(slot) % slotsPerEpoch
	switch w.habit {
	case epochStart:
		return slotsPerEpoch - phase + 1
	case epochAhead:
		return 2*slotsPerEpoch - phase
	default:
		return w.slots
	}
}
