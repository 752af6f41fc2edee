package estimate

import (
	"maps"
	"math"
	"slices"
)

// ClientSums are the sums of the nodes of each client: an error in what is assumed of a client
// is the same for its nodes. The map must not be nil to be added to.
type ClientSums map[string]Sum

// Add adds a node, see Sum.
func (c ClientSums) Add(client string, e Estimate, weight float64) {
	s := c[client]
	s.Add(e, weight)
	c[client] = s
}

// Merge adds other nodes.
func (c ClientSums) Merge(o ClientSums) {
	for client, s := range o {
		c[client] = c[client].plus(s)
	}
}

// Nodes is how many there are.
func (c ClientSums) Nodes() (n int) {
	for _, s := range c {
		n += s.Nodes
	}
	return n
}

// list has the sums in an order that does not change.
func (c ClientSums) list() (sums []Sum) {
	for _, client := range slices.Sorted(maps.Keys(c)) {
		sums = append(sums, c[client])
	}
	return sums
}

// all is the sum over the clients.
func (c ClientSums) all() (sum Sum) {
	for _, s := range c.list() {
		sum.merge(s)
	}
	return sum
}

// plus adds more nodes of the same client.
func (s Sum) plus(o Sum) Sum {
	return Sum{s.Nodes + o.Nodes, s.full.plus(o.full), s.admitted.plus(o.admitted), s.claimed.plus(o.claimed), s.limited + o.limited}
}

// TotalOf is the total of nodes, see Totals.
func (m *Model) TotalOf(c ClientSums) Total {
	all, _ := m.Totals(c.list())
	return all
}

// Share is a part of a total, from 0 to 1, with a 90 % interval. It is NaN of nothing.
type Share struct{ Share, Low, High float64 }

// ShareOf is the share that a group of nodes has of the validators of the group and the
// rest. What is the same relative error for all nodes changes both alike, and so not the
// share: the aggregators' share is in the interval of a total, but not in this one. What the
// prior makes of nodes is taken to differ between the group and the rest. Limited nodes,
// as in a total, widen it from none of what they claim to all.
func ShareOf(group, rest ClientSums) Share { return shareOfSums(group.all(), rest.all()) }

func shareOfSums(group, rest Sum) Share {
	s := shareOf(group.full.plus(group.admitted), rest.full.plus(rest.admitted))
	if group.limited > 0 {
		s.Low = math.Min(s.Low, shareOf(group.full, rest.full.plus(rest.admitted)).Low)
		s.High = math.Max(s.High, shareOf(group.full.plus(group.claimed), rest.full.plus(rest.admitted)).High)
	}
	if rest.limited > 0 {
		s.Low = math.Min(s.Low, shareOf(group.full, rest.full.plus(rest.claimed)).Low)
		s.High = math.Max(s.High, shareOf(group.full.plus(group.claimed), rest.full).High)
	}
	return s
}

func shareOf(g, r part) Share {
	if !(g.mean+r.mean > 0) {
		return Share{math.NaN(), math.NaN(), math.NaN()}
	}
	switch {
	case g.mean == 0:
		return Share{}
	case r.mean == 0:
		return Share{1, 1, 1}
	}
	gLow, gHigh := g.relative()
	rLow, rHigh := r.relative()
	// The logarithm of the odds g/r is a difference. Each end of its interval follows from the
	// ends of both sums' (the method of variance estimates recovery, MOVER), which need not
	// be symmetric: of nodes that may have very many, neither is their sum's.
	at := func(by float64) float64 { return 1 / (1 + r.mean/g.mean*math.Exp(-by)) }
	return Share{at(0), at(-math.Hypot(math.Log(gLow), math.Log(rHigh))), at(math.Hypot(math.Log(gHigh), math.Log(rLow)))}
}

// relative are the ends of a sum's interval over the sum, without what is the same relative
// error everywhere; 1 for a sum of 0.
func (a part) relative() (low, high float64) {
	if a.mean == 0 {
		return 1, 1
	}
	half := middle90 * math.Hypot(math.Hypot(math.Sqrt(a.variance), a.shared), math.Hypot(systematic*a.mean, priorShift*a.deviations))
	return math.Min(1, math.Max(a.least(), a.mean-half)/a.mean), 1 + half/a.mean
}

// least is what a sum has at least: all parts together, and each alone.
func (a part) least() float64 { return math.Max(a.largest, a.low*(1-middle90*systematic)) }
