package main

import (
	"math/rand/v2"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// firstEpoch is where simulations begin, some time in 2026.
const firstEpoch = 400_000

// watchEpochs is how many whole epochs a watch visit has.
const watchEpochs = 3

// drawNode draws a node of a kind.
func drawNode(r *rand.Rand, net network, p persona, validators int) *node {
	first := r.IntN(64)
	return &node{network: net, persona: p, rand: r, validators: validators, longLived: [2]int{first, (first + 1) % 64}}
}

func (n *node) client() eth2.Client { return eth2.ParseAgent(n.agent) }

// attnets are those of the node's MetaData.
func (n *node) attnets() eth2.Attnets {
	if n.declares {
		var all eth2.Attnets
		for i := range all {
			all[i] = 0xff
		}
		return all
	}
	return eth2.NewAttnets(n.longLived[:])
}

// watch holds the connection for whole epochs: visits of a few, which begin shortly
// before an epoch, with pauses between them.
func (n *node) watch(p estimate.Params, s *estimate.Statistics, epochs int) {
	epoch := firstEpoch + n.rand.IntN(1000)
	for epochs > 0 {
		visit := min(epochs, watchEpochs)
		n.visit(p, s, epoch, visit)
		epochs -= visit
		epoch += visit + 2 + n.rand.IntN(10)
	}
}

func (n *node) visit(p estimate.Params, s *estimate.Statistics, epoch, epochs int) {
	s.AddWatch(p, n.visitLog(epoch, epochs))
}

// visitLog is the log of a visit of whole epochs.
func (n *node) visitLog(epoch, epochs int) estimate.WatchLog {
	slot := n.clock.SlotDuration.Milliseconds()
	from := n.clock.EpochStart(eth2.Epoch(epoch)).UnixMilli() - slot/10 - n.rand.Int64N(slot/4)
	to := n.clock.EpochStart(eth2.Epoch(epoch+epochs)).UnixMilli() + n.rand.Int64N(slot)
	return n.watchLog(from, to)
}

// watchBetween watches from one time to another.
func (n *node) watchBetween(p estimate.Params, s *estimate.Statistics, from, to int64) {
	s.AddWatch(p, n.watchLog(from, to))
}

func (n *node) watchLog(from, to int64) estimate.WatchLog {
	first, last := n.clock.EpochAt(time.UnixMilli(from)), n.clock.EpochAt(time.UnixMilli(to))
	h := n.live(int(first)-2, int(last)+2)
	return estimate.WatchLog{
		From: from, To: to, Initial: h.at(from), Changes: h.changes(from, to), LongLived: n.attnets(),
	}
}

// snapshots takes one snapshot in each of consecutive epochs, and returns what the earlier
// program makes of them.
func (n *node) snapshots(p estimate.Params, s *estimate.Statistics, epochs int) (counts []int) {
	epoch := firstEpoch + n.rand.IntN(1000)
	h := n.live(epoch-2, epoch+epochs+2)
	length := n.clock.EpochDuration().Milliseconds()
	for i := range epochs {
		at := n.clock.EpochStart(eth2.Epoch(epoch+i)).UnixMilli() + 800 + n.rand.Int64N(length-800)
		on := h.at(at)
		counts = append(counts, earlierCount(on, n.longLived))
		s.AddSnapshot(p, estimate.Snapshot{At: at, Subscribed: on, LongLived: n.attnets()})
	}
	return counts
}

// earlierCount is how many short-lived subnets the earlier program saw: it ignored
// subnet 0.
func earlierCount(on []int, longLived [2]int) (n int) {
	for _, s := range on {
		if s != 0 && s != longLived[0] && s != longLived[1] {
			n++
		}
	}
	return n
}

// earlierRule is the earlier program's number of validators: the most frequent count
// that is not zero, the smallest of several.
func earlierRule(counts []int) (mode int) {
	times := map[int]int{}
	for _, c := range counts {
		if c > 0 {
			times[c]++
		}
	}
	for c, n := range times {
		if n > times[mode] || n == times[mode] && (mode == 0 || c < mode) {
			mode = c
		}
	}
	return mode
}
