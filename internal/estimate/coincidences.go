package estimate

import (
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

// coincidences are those of one node's duties with those of the others.
type coincidences struct {
	block  [dutyBlocks]coincidence
	duties int // that the node showed
	// bunched is the variance of the coincidences with one more node a validator that comes
	// from its being watched, or not, for all of a visit.
	bunched float64
	// apart is the chance that another node was watched in none of its visits.
	apart float64
	// burst is on how many nodes beyond one a duty is shown: by chance, they all coincide at
	// once.
	burst float64
}

// coincidence sums over duties: on how many other nodes they were shown, on how many by
// chance, and on how many they would be with one more node a validator.
type coincidence struct{ shown, chance, expected float64 }

// all sums the blocks but one.
func (c *coincidences) all(without int) (sum coincidence) {
	for b, x := range c.block {
		if b != without {
			sum = coincidence{sum.shown + x.shown, sum.chance + x.chance, sum.expected + x.expected}
		}
	}
	return sum
}

// likelihood of what was shown with each of the multiplicities, relative to the highest: a
// count whose variance is above its mean, as coincidences come in bunches, is negative binomial.
func (c *coincidences) likelihood(ks []float64, without int) []float64 {
	sum := c.all(without)
	out := make([]float64, len(ks))
	most := math.Inf(-1)
	for j, k := range ks {
		mean := max(1e-6, sum.chance+(k-1)*sum.expected)
		if extra := (k-1)*c.bunched + c.burst*sum.chance; extra < 1e-3*mean {
			out[j] = sum.shown*math.Log(mean) - mean
		} else {
			r := mean * mean / extra
			a, _ := math.Lgamma(sum.shown + r)
			b, _ := math.Lgamma(r)
			out[j] = a - b + r*math.Log(r/(r+mean)) + sum.shown*math.Log(mean/(r+mean)) // but for what all have in common
		}
		most = max(most, out[j])
	}
	for j := range out {
		out[j] = math.Exp(out[j] - most)
	}
	return out
}

// coverBlock is how many slots are kept together.
const coverBlock = 32

// slotCover is what was seen of one slot: sums over the nodes that covered it.
type slotCover struct {
	nodes           int
	duties, visible trusted // that they showed, and the chance that a duty shows
}

// trusted is a sum over nodes, and the same with each node times its claim.
type trusted struct{ all, claimed float64 }

func (t *trusted) add(x, claim float64) {
	t.all, t.claimed = t.all+x, t.claimed+claim*x
}

// to is the sum that counts for a node with a claim, see claimOf.
func (t trusted) to(claim float64) float64 { return min(t.all, t.claimed/claim) }

// covers are those of all slots that were covered.
type covers map[uint64]*[coverBlock]slotCover

func (c covers) of(slot uint64) *slotCover {
	b := c[slot/coverBlock]
	if b == nil {
		b = new([coverBlock]slotCover)
		c[slot/coverBlock] = b
	}
	return &b[slot%coverBlock]
}

// dutySlots is how long a duty counts, a week of mainnet's slots: nodes change their validators.
const dutySlots = 7 * 7200

// crawledDuties are the nodes' duties that are compared.
type crawledDuties struct {
	epochs      [][]dutyEpoch // by node
	claims      []float64
	first, last uint64 // slots
}

// dutiesOf decodes the duties of the newest week.
func dutiesOf(p Params, nodes []DutyNode) crawledDuties {
	c := crawledDuties{make([][]dutyEpoch, len(nodes)), make([]float64, len(nodes)), math.MaxUint64, 0}
	for i := range nodes[:min(len(nodes), 1<<nodeBits)] {
		c.epochs[i] = nodes[i].Duties.decode()
		for _, e := range c.epochs[i] {
			c.last = max(c.last, uint64(e.from)+e.slots)
		}
	}
	for i, list := range c.epochs {
		c.epochs[i] = slices.DeleteFunc(list, func(e dutyEpoch) bool { return uint64(e.from)+dutySlots < c.last })
		c.claims[i] = claimOf(p, c.epochs[i], nodes[i].Validators)
	}
	c.align(nodes)
	for _, list := range c.epochs {
		for _, e := range list {
			c.first = min(c.first, uint64(e.from))
		}
	}
	return c
}

// claimOf is which part of the duties that a node shows its validators explain, at most 1. Who
// shows more may show those of others: with a node of a higher claim its duties coincide only
// by the ratio of the claims, so that a peer that copies what others do, and does not count for
// their validators, does not halve them. Nodes that show every duty have equal claims.
func claimOf(p Params, epochs []dutyEpoch, validators float64) float64 {
	const highestRate, sds, few = 1.5, 3, 3
	shown, expected := 0.0, 0.0
	for _, e := range epochs {
		shown += float64(len(e.duties))
		expected += highestRate * validators * p.AggregatorShare() * e.visible * float64(e.slots) / float64(p.slots())
	}
	return min(1, (expected+sds*math.Sqrt(expected)+few)/max(1, shown))
}

// nodeBits is the part of a packed duty that has the node; above it are the slot and the subnet.
const nodeBits = 20

// coincidencesOf compares the duties of all nodes; a slot reaches so many subnets.
func coincidencesOf(p Params, nodes []DutyNode, reached float64) []coincidences {
	d := dutiesOf(p, nodes)
	slots, packed := d.covers()
	blockOf := func(slot uint64) int {
		return int(min(dutyBlocks-1, (slot-d.first)*dutyBlocks/max(1, d.last-d.first)))
	}
	out := make([]coincidences, len(nodes))
	for len(packed) > 0 {
		at := packed[0] >> nodeBits
		n, all := 1, trusted{}
		for n < len(packed) && packed[n]>>nodeBits == at {
			n++
		}
		for _, x := range packed[:n] {
			all.add(1, d.claims[x&(1<<nodeBits-1)])
		}
		for _, x := range packed[:n] {
			i := x & (1<<nodeBits - 1)
			out[i].block[blockOf(at/subnets)].shown += all.to(d.claims[i]) - 1
		}
		packed = packed[n:]
	}
	others := float64(max(1, len(nodes)-1))
	for i, list := range d.epochs {
		v, claim := visits{others: others, epoch: eth2.Slot(p.slots()), apart: 1}, d.claims[i]
		for _, e := range list {
			for rest := e.duties; len(rest) > 0; {
				offset, n := rest[0]/subnets, 1
				for n < len(rest) && rest[n]/subnets == offset {
					n++
				}
				slot := uint64(e.from) + offset
				c, own := slots.of(slot), float64(n)
				b := &out[i].block[blockOf(slot)]
				b.chance += own * (c.duties.to(claim) - own) / reached
				b.expected += own * max(0, c.visible.to(claim)-e.visible) / others * (1 - 1/reached)
				rest = rest[n:]
			}
			out[i].duties += len(e.duties)
			v.add(e, slots.of(uint64(e.from)+e.slots/2).nodes)
		}
		out[i].bunched = v.close()
		out[i].apart = v.apart
	}
	setBursts(out)
	return out
}

// covers sums what was seen of each slot, and lists all duties by slot and subnet, packed.
func (d crawledDuties) covers() (covers, []uint64) {
	slots, packed := covers{}, []uint64(nil)
	for i, list := range d.epochs {
		for _, e := range list {
			for s := range e.slots {
				c := slots.of(uint64(e.from) + s)
				c.nodes++
				c.visible.add(e.visible, d.claims[i])
			}
			for _, x := range e.duties {
				at := uint64(e.from)*subnets + x
				packed = append(packed, at<<nodeBits|uint64(i))
				slots.of(at/subnets).duties.add(1, d.claims[i])
			}
		}
	}
	slices.Sort(packed)
	return slots, packed
}

// setBursts sets burst, the same for all nodes.
func setBursts(list []coincidences) {
	surplus, duties := 0.0, 0.0
	for i := range list {
		all := list[i].all(-1)
		surplus += all.shown - all.chance
		duties += float64(list[i].duties)
	}
	for i := range list {
		list[i].burst = max(0, surplus) / max(1, duties)
	}
}

// visits sum the variance that comes from which other nodes are watched with one, visit by
// visit: for all of a visit's duties they are the same.
type visits struct {
	others         float64
	epoch          eth2.Slot // slots of one
	end            eth2.Slot // of the visit so far
	duties, q, sum float64
	apart          float64 // as in coincidences
}

// add adds an epoch and how many nodes were watched in it.
func (v *visits) add(e dutyEpoch, watched int) {
	if e.from != v.end {
		v.close()
	}
	v.end = e.from + v.epoch // some of its slots may not be kept
	v.duties += float64(len(e.duties))
	v.q = min(1, float64(watched-1)/v.others)
}

func (v *visits) close() float64 {
	v.sum += v.duties * v.duties * v.q * (1 - v.q)
	v.apart *= 1 - v.q
	v.duties, v.q = 0, 0
	return v.sum
}
