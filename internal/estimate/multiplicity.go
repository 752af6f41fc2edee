package estimate

import (
	"math"

	"github.com/chainbound/valtrack/internal/eth2"
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
	Client     eth2.ClientKind
	Duties     Duties
	Validators float64
}

const (
	// dutyBlocks are spans of time, and groups of nodes, of which each is left out once to see how
	// much the result depends on it (jackknife); tBlocks is the 95th percentile of Student's t for
	// them.
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
	fit := multiplicityFit{nodes, coincidencesOf(p, nodes, reached)}
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
	whole := fit.observed(-1)
	shares := whole.shares(startingShares(), rounds, -1)
	all := whole.under(shares)
	out.Mean, out.Shared, out.Nodes = all.mean, all.shared, all.nodes
	variance, pooledVariance, pooled := 0.0, 0.0, fit.pooled(-1)
	for b := range dutyBlocks {
		part := fit.observed(b)
		off, pooledOff := part.under(part.shares(shares, more, -1)).mean-all.mean, fit.pooled(b)-pooled
		ofNodes := whole.under(whole.shares(shares, more, b)).mean - all.mean
		variance += (off*off + ofNodes*ofNodes) * (dutyBlocks - 1) / dutyBlocks
		pooledVariance += pooledOff * pooledOff * (dutyBlocks - 1) / dutyBlocks
	}
	const never = 3 // the mean of a count that is 0 with a chance of 5 %
	half := math.Hypot(tBlocks*math.Sqrt(variance), middle90*math.Hypot(all.sd, multiplicityError*(out.Mean-1))) + never/expected
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

// multiplicityFit has what the shares of nodes with each of the multiplicities are fitted to.
type multiplicityFit struct {
	nodes []DutyNode
	seen  []coincidences // by node
}

// observed are the nodes that were watched with others: how likely what they showed is with
// each of the multiplicities, and their validators.
type observed struct {
	likely [][]float64
	weight []float64
}

// observed leaves out one of the blocks of time.
func (f multiplicityFit) observed(block int) (o observed) {
	ks := multiplicities()
	for i := range f.seen {
		if f.seen[i].all(block).expected > 0 {
			o.likely, o.weight = append(o.likely, f.seen[i].likelihood(ks, block)), append(o.weight, f.nodes[i].Validators)
		}
	}
	return o
}

// shares fits those of the multiplicities, without one of the groups of nodes, from some shares
// on.
func (o observed) shares(from []float64, rounds, group int) []float64 {
	likely := o.likely
	if group >= 0 {
		likely = nil
		for i, l := range o.likely {
			if i%dutyBlocks != group {
				likely = append(likely, l)
			}
		}
	}
	start := startingShares()
	for range rounds {
		from = refit(from, start, likely)
	}
	return from
}

// fittedMultiplicity is what follows from shares, see Multiplicity. sd is the standard deviation
// of the mean by what the nodes' own coincidences leave open.
type fittedMultiplicity struct{ mean, shared, nodes, sd float64 }

// under is what the nodes say if the multiplicities have these shares.
func (o observed) under(shares []float64) fittedMultiplicity {
	ks := multiplicities()
	out := fittedMultiplicity{mean: 1}
	attachments, validators, shared, distinct, variance := 0.0, 0.0, 0.0, 0.0, 0.0
	for i, l := range o.likely {
		sum := 0.0
		for j, x := range shares {
			sum += x * l[j]
		}
		attachments += o.weight[i]
		k, inverse, square := 0.0, 0.0, 0.0 // means
		for j, x := range shares {
			p := x * l[j] / sum
			k, inverse, square = k+p*ks[j], inverse+p/ks[j], square+p/ks[j]/ks[j]
			if ks[j] >= sharing {
				shared, distinct = shared+o.weight[i]*p, distinct+o.weight[i]*p/ks[j]
			}
		}
		validators += o.weight[i] * inverse
		// The nodes that run the same validators are off together.
		variance += o.weight[i] * o.weight[i] * max(0, square-inverse*inverse) * k
	}
	if validators > 0 {
		out.mean = attachments / validators
		out.sd = out.mean / validators * math.Sqrt(variance)
	}
	if attachments > 0 && shared > 0 {
		out.shared, out.nodes = shared/attachments, shared/distinct
	}
	return out
}
