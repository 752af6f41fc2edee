package devnet

import (
	"math/rand/v2"
	"slices"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// bucketSize is discv5's k.
const bucketSize = 16

// routing is who is in whose discv5 table. The scheduler's goroutine owns it once
// the devnet runs.
type routing struct {
	holders [][]int // by node: the nodes whose table has it, up or down
}

// fillTables gives every answering node the table that a long-running one would
// have: up to 16 random nodes at each distance, which the crawler can ask for.
func fillTables(nodes []*node, r *rand.Rand) *routing {
	route := &routing{holders: make([][]int, len(nodes))}
	for _, n := range nodes {
		route.fill(nodes, n, r)
	}
	return route
}

// grow makes room for one more node.
func (r *routing) grow() { r.holders = append(r.holders, nil) }

// fill gives one node a table of nodes that are in others' tables. A node that
// does not answer has none.
func (r *routing) fill(nodes []*node, n *node, random *rand.Rand) {
	l := n.life.Load()
	if l.disc == nil {
		return
	}
	var filled [257]int
	// Another order for each node, so that all are in about as many tables.
	for _, j := range random.Perm(len(nodes)) {
		other := nodes[j]
		if other == n || other.persona == Unlisted || other.retired {
			continue
		}
		d := enode.LogDist(n.local.ID(), other.local.ID())
		if filled[d] < bucketSize && l.disc.AddKnownNode(other.local.Node()) {
			filled[d]++
			r.hold(j, n.index)
		}
	}
}

func (r *routing) hold(node, holder int) {
	if !slices.Contains(r.holders[node], holder) {
		r.holders[node] = append(r.holders[node], holder)
	}
}

// spread replaces a node's record in the tables that have it, after it changed.
func (r *routing) spread(nodes []*node, n *node) {
	record := n.local.Node()
	for _, holder := range r.holders[n.index] {
		// A node that is already in the table is updated; the result says only
		// that it is not new.
		if l := nodes[holder].life.Load(); l != nil {
			l.disc.AddKnownNode(record)
		}
	}
}

// join puts a node that came up into the tables that have room for it, and its
// record, which may be new, into those that have it.
func (r *routing) join(nodes []*node, n *node) {
	r.spread(nodes, n)
	record := n.local.Node()
	for _, other := range nodes {
		if l := other.life.Load(); other != n && l != nil && l.disc != nil && l.disc.AddKnownNode(record) {
			r.hold(n.index, other.index)
		}
	}
}

// remove takes a node out of every table.
func (r *routing) remove(nodes []*node, n *node) {
	record := n.local.Node()
	for _, holder := range r.holders[n.index] {
		if l := nodes[holder].life.Load(); l != nil {
			l.disc.DeleteNode(record)
		}
	}
	r.holders[n.index] = nil
}
