package estimate

import (
	"math"
	"slices"
)

// Multiplicity is how many nodes run each validator on average: those of distributed
// validators and of fallback nodes run on several. The zero value is not measured.
type Multiplicity struct {
	// Mean is attachments per validator, at least 1, with a 90 % interval.
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Shared is the part of the attachments whose validators run on several nodes, on Nodes
	// each on average; both 0 when there are none.
	Shared float64 `json:"shared"`
	Nodes  float64 `json:"nodes"`
	// Coincidences of duties that were observed, and how many of them were to be expected by
	// chance.
	Coincidences float64 `json:"coincidences"`
	ByChance     float64 `json:"by_chance"`
	// Measured is the part of the attachments whose nodes showed duties while others were
	// watched.
	Measured float64 `json:"measured"`
}

// Known reports whether it was measured.
func (m Multiplicity) Known() bool { return m.Mean > 0 }

// DutyNode is a node of a crawl with the validators that it counts for.
type DutyNode struct {
	Duties     Duties
	Validators float64
}

const (
	// dutyBlocks are spans of time of which each is left out once to see how much the result
	// depends on it (jackknife); tBlocks is the 95th percentile of Student's t for them.
	dutyBlocks = 10
	tBlocks    = 1.833
	// leastExpected is how many coincidences there should have been with two nodes per validator.
	leastExpected = 5
	// leastSubnets that a slot must reach: with fewer, chance fills the same ones.
	leastSubnets = 8
	// multiplicityError is the relative error of the surplus over 1 that does not average out:
	// what is assumed of the schedule of watches, and of nodes whose validators are not all on
	// equally many nodes.
	multiplicityError = 0.1
)

// FitMultiplicity measures the multiplicity from duties that several nodes showed. All nodes
// that count must be given, also those without duties.
//
// A validator's duty shows on each of its nodes. So with k nodes per validator, a duty that one
// node shows is shown by k-1 of the others, as far as they are watched in that slot and it is
// visible there; besides, by chance, by one of as many others as a slot has subnets. Which nodes
// are watched at one time is taken to be independent of which share validators. What counts is
// the mean of 1/k over attachments, so the distribution of k over nodes is fitted, by
// expectation maximisation.
func FitMultiplicity(p Params, nodes []DutyNode) (out Multiplicity) {
	reached := float64(min(p.CommitteesPerSlot(), subnets))
	if reached < leastSubnets {
		return out
	}
	fit := multiplicityFit{nodes, coincidencesOf(nodes, reached)}
	expected, attachments, measured, apart := 0.0, 0.0, 0.0, 0.0
	for i := range nodes {
		all := fit.seen[i].all(-1)
		expected += all.expected
		attachments += nodes[i].Validators
		if all.expected > 0 {
			measured += nodes[i].Validators
			apart += nodes[i].Validators * fit.seen[i].apart
			out.Coincidences += all.shown / 2 // each is seen from both nodes
			out.ByChance += all.chance / 2
		}
	}
	if expected < leastExpected || !(measured > 0) {
		return Multiplicity{}
	}
	out.Measured = measured / attachments
	const rounds, more = 100, 20
	all := fit.without(-1, startingShares(), rounds)
	out.Mean, out.Shared, out.Nodes = all.mean, all.shared, all.nodes
	variance, pooledVariance, pooled := 0.0, 0.0, fit.pooled(-1)
	for b := range dutyBlocks {
		off, pooledOff := fit.without(b, all.shares, more).mean-all.mean, fit.pooled(b)-pooled
		variance += off * off * (dutyBlocks - 1) / dutyBlocks
		pooledVariance += pooledOff * pooledOff * (dutyBlocks - 1) / dutyBlocks
	}
	const never = 3 // the mean of a count that is 0 with a chance of 5 %
	half := math.Hypot(tBlocks*math.Sqrt(variance), middle90*multiplicityError*(out.Mean-1)) + never/expected
	out.Low, out.High = max(1, out.Mean-half), out.Mean+half
	// Where two nodes are hardly ever watched together, many on two look like few on many: then
	// the mean of k is known, and that of 1/k only to be between.
	if most := pooled + tBlocks*math.Sqrt(pooledVariance); most > out.High {
		out.High += (most - out.High) * apart / measured
	}
	return out
}

// pooled is the mean of k, without one of the blocks: never below that of 1/k's inverse.
func (f multiplicityFit) pooled(without int) float64 {
	surplus, expected := 0.0, 0.0
	for i := range f.seen {
		sum := f.seen[i].all(without)
		surplus, expected = surplus+sum.shown-sum.chance, expected+sum.expected
	}
	return 1 + max(0, surplus)/max(1, expected)
}

// multiplicities are the numbers of nodes per validator that are told apart.
func multiplicities() []float64 {
	return []float64{1, 1.1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 10, 13, 16, 24, 32}
}

// sharing is from which multiplicity on a node's validators count as on several nodes.
const sharing = 1.5

// startingShares are those that a fit begins with, as priorStrength nodes: where nodes showed
// too little to tell, each validator runs on one.
func startingShares() []float64 {
	const alone = 0.95
	shares := make([]float64, len(multiplicities()))
	for j := range shares {
		shares[j] = (1 - alone) / float64(len(shares)-1)
	}
	shares[0] = alone
	return shares
}

// multiplicityFit fits the shares of nodes with each of the multiplicities.
type multiplicityFit struct {
	nodes []DutyNode
	seen  []coincidences // by node
}

// fittedShares are a fit's shares and what follows from them, see Multiplicity.
type fittedShares struct {
	shares              []float64
	mean, shared, nodes float64
}

// without fits without one of the blocks, from shares on.
func (f multiplicityFit) without(block int, shares []float64, rounds int) fittedShares {
	ks := multiplicities()
	var likely [][]float64
	var weight []float64
	for i := range f.seen {
		if f.seen[i].all(block).expected > 0 {
			likely, weight = append(likely, f.seen[i].likelihood(ks, block)), append(weight, f.nodes[i].Validators)
		}
	}
	start := startingShares()
	for range rounds {
		shares = refit(shares, start, likely)
	}
	out := fittedShares{shares: shares, mean: 1}
	attachments, validators, shared, distinct := 0.0, 0.0, 0.0, 0.0
	for i, l := range likely {
		sum := 0.0
		for j, x := range shares {
			sum += x * l[j]
		}
		attachments += weight[i]
		for j, x := range shares {
			part := weight[i] * x * l[j] / sum
			validators += part / ks[j]
			if ks[j] >= sharing {
				shared, distinct = shared+part, distinct+part/ks[j]
			}
		}
	}
	if validators > 0 {
		out.mean = attachments / validators
	}
	if slices.ContainsFunc(weight, func(w float64) bool { return w > 0 }) && shared > 0 {
		out.shared, out.nodes = shared/attachments, shared/distinct
	}
	return out
}
