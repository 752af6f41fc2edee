package eth2

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
)

const (
	// attestationSubnetPrefixBits is ceillog2(ATTESTATION_SUBNET_COUNT) +
	// ATTESTATION_SUBNET_EXTRA_BITS (phase0/p2p-interface.md).
	attestationSubnetPrefixBits = 6
	shuffleRoundCount           = 90
)

// ComputeSubscribedSubnets is compute_subscribed_subnets of
// consensus-specs phase0/p2p-interface.md: the attestation subnets that a node
// keeps subscribed to in the epoch, ascending. They change every 256 epochs, at
// an epoch that depends on the node.
func ComputeSubscribedSubnets(id NodeID, e Epoch) []int {
	list := backboneSubnets(shuffledPrefix(subnetPrefix(id), subnetPeriod(e, subnetOffset(id))))
	return list[:]
}

// shuffledPrefix is the first subnet of nodes with the prefix in the period.
func shuffledPrefix(prefix, period uint64) uint64 {
	seed := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, period))
	return shuffledIndex(prefix, AttestationSubnetCount, seed)
}

// LighthouseSubnets is Lighthouse's rule since its pull request 6146
// (SubnetRuleStatic): the node id's prefix itself, which never changes. Ascending.
func LighthouseSubnets(id NodeID) []int {
	list := backboneSubnets(subnetPrefix(id))
	return list[:]
}

// StaggeredSubnets is SubnetRuleStaggered. Ascending.
func StaggeredSubnets(id NodeID, e Epoch) []int {
	list := backboneSubnets(shuffledPrefix(subnetPrefix(id), subnetPeriod(e, staggeredOffset(id))))
	return list[:]
}

// NextSubnetRotation is the first epoch after e in which ComputeSubscribedSubnets
// uses another shuffling for the node; FarFutureEpoch when there is none.
func NextSubnetRotation(id NodeID, e Epoch) Epoch { return nextRotation(e, subnetOffset(id)) }

// NextStaggeredRotation is NextSubnetRotation for StaggeredSubnets.
func NextStaggeredRotation(id NodeID, e Epoch) Epoch { return nextRotation(e, staggeredOffset(id)) }

func nextRotation(e, offset Epoch) Epoch {
	next := Epoch(subnetPeriod(e, offset) + 1)
	if next > FarFutureEpoch/EpochsPerSubnetPeriod {
		return FarFutureEpoch
	}
	return next*EpochsPerSubnetPeriod - offset
}

// subnetPrefix is the node id's first six bits, 0..63.
func subnetPrefix(id NodeID) uint64 { return uint64(id[0] >> (8 - attestationSubnetPrefixBits)) }

// subnetOffset is node_id % EPOCHS_PER_SUBNET_SUBSCRIPTION: it spreads the nodes'
// rotations over the epochs.
func subnetOffset(id NodeID) Epoch { return Epoch(id[len(id)-1]) }

// staggeredOffset spreads the rotations in groups: the node id's first six bits, and 32
// epochs for each step of the next three.
func staggeredOffset(id NodeID) Epoch {
	group := (id[0]&3)<<1 | id[1]>>7
	return (Epoch(subnetPrefix(id)) + Epoch(group)*EpochsPerSubnetPeriod/8) % EpochsPerSubnetPeriod
}

// subnetPeriod counts the subscription periods since genesis of a node that rotates offset
// epochs before the multiples of their length.
func subnetPeriod(e, offset Epoch) uint64 {
	sum, carry := bits.Add64(uint64(e), uint64(offset), 0)
	period, _ := bits.Div64(carry, sum, EpochsPerSubnetPeriod)
	return period
}

// backboneSubnets are SUBNETS_PER_NODE subnets from the first one on.
func backboneSubnets(first uint64) (out [SubnetsPerNode]int) {
	for i := range out {
		out[i] = int((first + uint64(i)) % AttestationSubnetCount)
	}
	slices.Sort(out[:])
	return out
}

// shuffledIndex is compute_shuffled_index of phase0/beacon-chain.md ("swap or
// not"): the place of index in a shuffled list of count elements, count > 0.
func shuffledIndex(index, count uint64, seed [32]byte) uint64 {
	var source [37]byte // seed, round, position/256 as four bytes
	copy(source[:], seed[:])
	for round := range shuffleRoundCount {
		source[32] = byte(round)
		pivotHash := sha256.Sum256(source[:33])
		pivot := binary.LittleEndian.Uint64(pivotHash[:8]) % count
		flip := (pivot + count - index) % count
		position := max(index, flip)
		binary.LittleEndian.PutUint32(source[33:], uint32(position/256))
		hash := sha256.Sum256(source[:])
		if hash[position%256/8]>>(position%8)&1 == 1 {
			index = flip
		}
	}
	return index
}
