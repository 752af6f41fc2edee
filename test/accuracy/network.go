package main

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// network is the simulation's truth. It knows nothing of the estimator.
type network struct {
	clock      eth2.Clock
	validators int
}

// mainnetSize is the number of active validators the goals are stated for.
const mainnetSize = 950_000

func mainnet() network { return sized(mainnetSize) }

func sized(validators int) network {
	return network{eth2.Clock{
		Genesis: time.Unix(1_606_824_023, 0), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32,
	}, validators}
}

// duty is an aggregator's: its slot since genesis, and the subnet.
type duty struct{ slot, subnet int }

func (n network) slotsPerEpoch() int { return int(n.clock.SlotsPerEpoch) }

// committees is get_committee_count_per_slot (phase0/beacon-chain.md).
func (n network) committees() int {
	return max(1, min(64, n.validators/n.slotsPerEpoch()/128))
}

// duties draws the aggregators' duties of one epoch for a node with mine validators.
func (n network) duties(r *rand.Rand, mine, epoch int) []duty {
	if n.validators <= 1<<14 {
		return n.shuffled(r, mine, epoch)
	}
	return n.sampled(r, mine, epoch)
}

// shuffled deals all validators into committees, as compute_committee does, and asks
// each of mine whether it aggregates.
func (n network) shuffled(r *rand.Rand, mine, epoch int) (out []duty) {
	perSlot := n.committees()
	count := n.slotsPerEpoch() * perSlot
	order := r.Perm(n.validators)
	for i := range count {
		members := order[n.validators*i/count : n.validators*(i+1)/count]
		for _, v := range members {
			if v < mine && r.Float64() < aggregates(len(members)) {
				out = append(out, n.place(epoch, i/perSlot, i%perSlot))
			}
		}
	}
	return out
}

// sampled draws for each validator alone, which is the same where a node has a small
// part of all.
func (n network) sampled(r *rand.Rand, mine, epoch int) (out []duty) {
	perSlot := n.committees()
	count := n.slotsPerEpoch() * perSlot
	small := n.validators / count
	highest := aggregates(small) // larger committees have no higher share
	for v := skip(r, highest); v < mine; v += 1 + skip(r, highest) {
		size := small
		if r.Float64() < float64(n.validators%count*(small+1))/float64(n.validators) {
			size++
		}
		if r.Float64() < aggregates(size)/highest {
			out = append(out, n.place(epoch, r.IntN(n.slotsPerEpoch()), r.IntN(perSlot)))
		}
	}
	return out
}

// skip draws how many validators come before the next with chance p.
func skip(r *rand.Rand, p float64) int {
	if p >= 1 {
		return 0
	}
	return int(min(r.ExpFloat64()/-math.Log1p(-p), 1e9))
}

// place is compute_subnet_for_attestation (phase0/validator.md).
func (n network) place(epoch, slot, committee int) duty {
	return duty{epoch*n.slotsPerEpoch() + slot, (n.committees()*slot + committee) % eth2.AttestationSubnetCount}
}

// aggregates is the chance that is_aggregator is true in a committee.
func aggregates(size int) float64 { return 1 / float64(max(1, size/16)) }
