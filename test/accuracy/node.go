package main

import (
	"cmp"
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
}

// personas are the six clients' windows: facts of their sources, repeated here so
// that a mistake in the estimator's table shows.
func personas() []persona {
	return []persona{
		{"Lighthouse/v8.0.1-ced49dd/x86_64-linux", 1, 2, 45},
		{"Prysm/v7.0.0/abcdef", 0, 0, 20},
		{"nimbus", 3, 4, 12},
		{"teku/teku/v25.9.0/linux-x86_64", -1, 0, 12},
		{"lodestar/v1.44.0/abcdef", 2, 3, 6},
		{"Grandine/2.0.0-abcdef0/x86_64-linux", 1, 2, 5},
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
	return history{merged(spans), n.longLived}
}

func (n *node) dutiesOf(epoch int) []duty {
	if !n.allDuties {
		return n.duties(n.rand, n.validators, epoch)
	}
	var out []duty
	for range n.validators {
		out = append(out, n.place(epoch, n.rand.IntN(n.slotsPerEpoch()), n.rand.IntN(n.committees())))
	}
	return out
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
