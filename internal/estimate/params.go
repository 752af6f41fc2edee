package estimate

import (
	"math"
	"math/bits"

	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	// targetAggregators is TARGET_AGGREGATORS_PER_COMMITTEE, the same for all networks
	// (phase0/validator.md).
	targetAggregators = 16

	subnets = eth2.AttestationSubnetCount
)

// Params determine where a duty falls and how likely it is.
type Params struct {
	// Clock of the network; SlotsPerEpoch and SlotDuration must be above 0.
	Clock eth2.Clock
	// Preset of the network; a value of 0 counts as 1.
	Preset eth2.Preset
	// ActiveValidators of the network; 0 counts as 1.
	ActiveValidators uint64
	// PAggUncertainty is the relative uncertainty of the aggregators' share: 0 when
	// ActiveValidators is read from the chain, about 0.05 when it is only configured.
	PAggUncertainty float64
	// Balance is what an active validator holds; without it no stake is estimated.
	Balance Balance
}

// Balance is the mean effective balance of the active validators. The zero value is not known.
type Balance struct {
	Mean  float64 `json:"mean"`  // in ETH
	Error float64 `json:"error"` // relative standard deviation
}

// Known reports whether there is one.
func (b Balance) Known() bool { return b.Mean > 0 }

// SameDuties reports whether Statistics under these parameters and under others can be
// added: their cells and sync committee periods are the same.
func (p Params) SameDuties(o Params) bool {
	return p.slots() == o.slots() && p.CommitteesPerSlot() == o.CommitteesPerSlot() && p.syncPeriod() == o.syncPeriod()
}

// syncPeriod is in epochs.
func (p Params) syncPeriod() uint64 { return max(1, p.Preset.EpochsPerSyncCommitteePeriod) }

func (p Params) active() uint64 { return max(1, p.ActiveValidators) }

func (p Params) slots() uint64 { return max(1, p.Clock.SlotsPerEpoch) }

// CommitteesPerSlot is get_committee_count_per_slot (phase0/beacon-chain.md).
func (p Params) CommitteesPerSlot() uint64 {
	return max(1, min(p.Preset.MaxCommitteesPerSlot, p.active()/p.slots()/max(1, p.Preset.TargetCommitteeSize)))
}

// cellsPerEpoch counts the cells of one committee that an epoch has: where a slot has more
// committees than there are subnets, some share one.
func (p Params) cellsPerEpoch() uint64 { return p.slots() * min(p.CommitteesPerSlot(), subnets) }

// AggregatorShare is the chance that a duty makes its validator an aggregator
// (phase0/validator.md, is_aggregator): the mean over validators, as committees of
// one epoch differ by one member, and that can be a step of the division.
func (p Params) AggregatorShare() float64 {
	committees := p.slots() * p.CommitteesPerSlot()
	size, larger := p.active()/committees, p.active()%committees
	chance := func(size uint64) float64 { return 1 / float64(max(1, size/targetAggregators)) }
	inLarger := float64(larger*(size+1)) / float64(p.active())
	return inLarger*chance(size+1) + (1-inLarger)*chance(size)
}

// cell names what one observed cell is. 0 is one committee: a slot and a subnet that
// the slot reaches. w, from 1 to 2 epochs of slots, is one subnet over w slots.
type cell uint8

// oneCommittee is the cell that a watch of a client with a short window fills.
const oneCommittee cell = 0

// maxSlotsPerEpoch is the longest epoch whose two-epoch windows a cell can name.
const maxSlotsPerEpoch = 127

// window returns the cells that a set of subscriptions for the duties of w slots from
// first on fills: which they are, and on what subnets. With few committees a slot
// reaches only some subnets (phase0/validator.md, compute_subnet_for_attestation).
func (p Params) window(first eth2.Slot, w uint64) (cell, uint64) {
	if c := p.CommitteesPerSlot(); c*w < subnets {
		return oneCommittee, p.reached(first, w)
	}
	return cell(min(w, 2*maxSlotsPerEpoch)), math.MaxUint64
}

// reached is the set of subnets that the committees of w slots use.
func (p Params) reached(first eth2.Slot, w uint64) (on uint64) {
	c, slots := p.CommitteesPerSlot(), p.slots()
	if c >= subnets {
		return math.MaxUint64
	}
	for s := uint64(first); s < uint64(first)+w && on != math.MaxUint64; s++ {
		begin := int(c * (s % slots) % subnets)
		on |= bits.RotateLeft64(1<<c-1, begin)
	}
	return on
}

// share is the part of an epoch's duties that fall into a cell, by epoch: a window
// of more than an epoch has duties of two.
func (p Params) share(c cell) [2]float64 {
	if c == oneCommittee {
		return [2]float64{1 / float64(p.cellsPerEpoch())}
	}
	w, slots := float64(c), float64(p.slots())
	return [2]float64{min(w, slots) / slots / subnets, max(0, w-slots) / slots / subnets}
}

// perObservation is how many cells of a kind one observation has, roughly: what the
// spurious rate of an observation is spread over.
func (p Params) perObservation(c cell) float64 {
	const eligible = subnets - eth2.SubnetsPerNode
	if c == oneCommittee {
		return float64(p.cellsPerEpoch()) * eligible / subnets
	}
	return eligible
}
