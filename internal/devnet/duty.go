package devnet

import (
	"math"
	"math/rand/v2"

	"github.com/chainbound/valtrack/internal/eth2"
)

// duty is one aggregator's attestation duty.
type duty struct {
	slot   eth2.Slot
	subnet int
}

// aggregatorDuties are the duties of a node's validators in epoch e that make
// them subscribe. Every validator attests once per epoch, at a uniform slot in a
// uniform committee, and aggregates with probability p (phase0/validator.md,
// is_aggregator); the subnet is compute_subnet_for_attestation. The draw depends
// on r alone.
func aggregatorDuties(r *rand.Rand, validators int, e eth2.Epoch, slotsPerEpoch uint64, committees int, p float64) []duty {
	var out []duty
	for range validators {
		offset, committee, aggregates := r.Uint64N(slotsPerEpoch), r.IntN(committees), r.Float64() < p
		if !aggregates {
			continue
		}
		subnet := (uint64(committees)*offset + uint64(committee)) % eth2.AttestationSubnetCount
		out = append(out, duty{slot: eth2.Slot(uint64(e)*slotsPerEpoch + offset), subnet: int(subnet)})
	}
	return out
}

// window gives the slots at whose start a client subscribes for a duty and leaves
// again.
type window func(d eth2.Slot, slotsPerEpoch uint64) (subscribe, unsubscribe eth2.Slot)

// windowBefore subscribes n slots ahead and leaves after the duty: Lighthouse and
// Grandine 1, Lodestar 2, Nimbus 3.
func windowBefore(n eth2.Slot) window {
	return func(d eth2.Slot, _ uint64) (eth2.Slot, eth2.Slot) { return d - min(n, d), d + 1 }
}

// windowFromEpochStart is Prysm's: at an epoch's start it takes every duty up to
// the first slot of the next epoch.
func windowFromEpochStart(d eth2.Slot, slotsPerEpoch uint64) (eth2.Slot, eth2.Slot) {
	epoch := eth2.Slot(slotsPerEpoch)
	start := d / epoch * epoch
	if d == start && d > 0 {
		start -= epoch
	}
	return start, d + 1
}

// windowFromEpochBefore is Teku's: it subscribes as soon as the validator client
// knows the duties, one epoch ahead.
func windowFromEpochBefore(d eth2.Slot, slotsPerEpoch uint64) (eth2.Slot, eth2.Slot) {
	epoch := eth2.Slot(slotsPerEpoch)
	start := d / epoch * epoch
	return start - min(epoch, start), d + 1
}

// Shares of the default validator distribution and of the ways in which a custody
// group count departs from the requirement (fulu/validator.md).
const (
	shareWithoutValidators = 0.45
	maxDefaultValidators   = 1000

	shareAllSubnets = 0.04
	shareSupernode  = 0.06
	shareStaleCGC   = 0.03 // had more validators once: clients do not go back
	shareExternal   = 0.40 // not counted by clients that omit an external client's validators

	minSampledColumns = 8 // SAMPLES_PER_SLOT
)

// drawValidators draws from the default distribution.
func drawValidators(r *rand.Rand) int {
	if r.Float64() < shareWithoutValidators {
		return 0
	}
	return int(math.Exp(r.Float64() * math.Log(maxDefaultValidators+1)))
}

// custodyRequirement is the custody group count of a node whose validators hold 32
// ETH each (get_validators_custody_requirement).
func custodyRequirement(validators int) uint64 {
	if validators == 0 {
		return eth2.CustodyRequirement
	}
	return uint64(min(max(validators, eth2.ValidatorCustodyRequirement), eth2.NumberOfCustodyGroups))
}

// drawCustody draws a node's custody group count; omitsExternal is the profile's.
func drawCustody(r *rand.Rand, omitsExternal bool, validators int) uint64 {
	x, stale := r.Float64(), r.IntN(eth2.NumberOfCustodyGroups)
	required := custodyRequirement(validators)
	switch {
	case x < shareSupernode:
		return eth2.NumberOfCustodyGroups
	case x < shareSupernode+shareStaleCGC:
		return max(required, custodyRequirement(stale))
	case omitsExternal && x > 1-shareExternal:
		return eth2.CustodyRequirement
	}
	return required
}

// drawSyncnets draws the sync committee subnets of a node: each of the four with
// the chance that one of its validators is among the 128 of the subnet.
func drawSyncnets(r *rand.Rand, validators, activeValidators int) (s eth2.Syncnets) {
	const members = 512 / eth2.SyncCommitteeSubnetCount
	share := min(1, members/float64(max(activeValidators, 1)))
	chance := 1 - math.Pow(1-share, float64(validators))
	for i := range eth2.SyncCommitteeSubnetCount {
		if r.Float64() < chance {
			s |= 1 << i
		}
	}
	return s
}
