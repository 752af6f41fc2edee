package main

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// persona is a kind of client as it behaves.
type persona struct {
	agent string
	// lead and stay are slots from SUBSCRIBE to the duty and to UNSUBSCRIBE; lead 0 is
	// Prysm, -1 Teku.
	lead, stay int
	weight     float64 // in the mix, an assumption that each run varies
	// rate is how many of its aggregators' duties a node shows, relative to what the
	// specification says; 0 counts as 1.
	rate float64
}

// personas are the six clients' windows: facts of their sources, repeated here so
// that a mistake in the estimator's table shows.
func personas() []persona {
	return []persona{
		{agent: "Lighthouse/v8.0.1-ced49dd/x86_64-linux", lead: 1, stay: 2, weight: 45},
		{agent: "Prysm/v7.0.0/abcdef", lead: 0, stay: 0, weight: 20},
		{agent: "nimbus", lead: 3, stay: 4, weight: 12},
		{agent: "teku/teku/v25.9.0/linux-x86_64", lead: -1, stay: 0, weight: 12},
		{agent: "lodestar/v1.44.0/abcdef", lead: 2, stay: 3, weight: 6},
		{agent: "Grandine/2.0.0-abcdef0/x86_64-linux", lead: 1, stay: 2, weight: 5},
	}
}

// node is one simulated peer.
type node struct {
	network
	persona
	rand       *rand.Rand
	validators int
	longLived  [2]int
	allDuties  bool // flags every duty, not only the aggregators'
	silent     bool // flags none
	// keepsAll keeps every attestation and sync committee subnet; MetaData says so only
	// if it declares them.
	keepsAll, declares bool
	// floods joins and leaves subnets all the time, whatever its duties.
	floods bool
	// cluster is not 0 for a node whose validators are those of other nodes too: they draw
	// the same duties.
	cluster uint64
}

// spurious is how many subnets an epoch shows that no duty explains.
const spurious = 0.003

// span is a stretch of time on one subnet, in Unix milliseconds.
type span struct {
	from, to int64
	subnet   int
}

// history is a node's subscriptions around some epochs: spans of one subnet do not
// touch.
type history struct {
	spans     []span // by from
	longLived [2]int
}

// live draws the node's subscriptions for the duties of epochs from to to, both in it.
func (n *node) live(from, to int) history {
	if n.keepsAll {
		return everySubnet(n.longLived)
	}
	latency := map[int]int64{}
	var spans []span
	for e := from; e <= to; e++ {
		for _, d := range n.dutiesOf(e) {
			begin, end := n.window(d.slot)
			spans = append(spans, span{n.tick(latency, begin), n.tick(latency, end), d.subnet})
		}
		if n.rand.Float64() < spurious {
			at := e*n.slotsPerEpoch() + n.rand.IntN(n.slotsPerEpoch())
			spans = append(spans, span{n.tick(latency, at), n.tick(latency, at+1+n.rand.IntN(3)), n.rand.IntN(64)})
		}
	}
	if n.floods {
		spans = append(spans, n.flood(from, to)...)
	}
	return history{merged(spans), n.longLived}
}

// everySubnet is the history of a node that never leaves one.
func everySubnet(longLived [2]int) history {
	h := history{longLived: longLived}
	for subnet := range eth2.AttestationSubnetCount {
		h.spans = append(h.spans, span{0, math.MaxInt64, subnet})
	}
	return h
}

// flood joins every subnet in every second slot, for a slot.
func (n *node) flood(from, to int) (spans []span) {
	slot := n.clock.SlotDuration.Milliseconds()
	for s := from * n.slotsPerEpoch(); s < to*n.slotsPerEpoch(); s += 2 {
		at := n.clock.SlotStart(eth2.Slot(s)).UnixMilli()
		for subnet := range eth2.AttestationSubnetCount {
			spans = append(spans, span{at + int64(subnet), at + int64(subnet) + slot, subnet})
		}
	}
	return spans
}

// dutiesOf draws the duties of an epoch that the node shows.
func (n *node) dutiesOf(epoch int) []duty {
	r := n.rand
	if n.cluster != 0 {
		r = rand.New(rand.NewPCG(n.cluster, uint64(epoch)))
	}
	if n.silent {
		return nil
	}
	if !n.allDuties {
		return n.duties(r, n.showing(r), epoch)
	}
	var out []duty
	for range n.validators {
		out = append(out, n.place(epoch, r.IntN(n.slotsPerEpoch()), r.IntN(n.committees())))
	}
	return out
}

// showing is how many validators have a chance to show, such that the rate comes out.
func (n *node) showing(r *rand.Rand) int {
	if n.rate == 0 {
		return n.validators
	}
	return int(math.Floor(float64(n.validators)*n.rate + r.Float64()))
}

// window is in which slot's beginning the node joins and leaves for a duty.
func (n *node) window(slot int) (begin, end int) {
	s := n.slotsPerEpoch()
	switch n.lead {
	case 0:
		return (slot - 1) / s * s, slot + 1
	case -1:
		return slot/s*s - s, slot + 1
	}
	return slot - n.lead, slot - n.lead + n.stay
}

// tick is when an action at the beginning of a slot is observed. Clocks differ, so now and
// then it seems to come before.
func (n *node) tick(latency map[int]int64, slot int) int64 {
	late, ok := latency[slot]
	if !ok {
		if late = 40 + n.rand.Int64N(700); n.rand.IntN(20) == 0 {
			late = -n.rand.Int64N(300)
		}
		latency[slot] = late
	}
	return n.clock.SlotStart(eth2.Slot(slot)).UnixMilli() + late
}

// merged joins spans of one subnet that touch: a node that stays does not leave.
func merged(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.subnet, b.subnet), cmp.Compare(a.from, b.from))
	})
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && out[n-1].subnet == s.subnet && out[n-1].to >= s.from {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	return out
}

// at is the set of subnets at a time, sorted.
func (h history) at(ms int64) []int {
	out := []int{h.longLived[0], h.longLived[1]}
	for _, s := range h.spans {
		if s.from <= ms && ms < s.to {
			out = append(out, s.subnet)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// changes are those in a stretch of time, as a watch logs them.
func (h history) changes(from, to int64) (out []event.SubnetChange) {
	for _, s := range h.spans {
		if slices.Contains(h.longLived[:], s.subnet) {
			continue
		}
		if s.from > from && s.from <= to {
			out = append(out, event.SubnetChange{At: s.from - from, Subnet: s.subnet, Subscribed: true})
		}
		if s.to > from && s.to <= to {
			out = append(out, event.SubnetChange{At: s.to - from, Subnet: s.subnet})
		}
	}
	slices.SortStableFunc(out, func(a, b event.SubnetChange) int { return cmp.Compare(a.At, b.At) })
	return out
}
