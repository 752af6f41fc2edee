package main

import (
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// This file has all that the cases know of the estimator: it does what a tracker does with
// the nodes of a crawl.

// learned is what the estimator makes of all nodes together. What it does not say is NaN.
type learned struct {
	total estimate.Total
	// rates are by client, relative to the specification's.
	rates map[eth2.ClientKind]float64
	// multiplicity is on how many nodes a validator is, on average.
	multiplicity interval
	stake        interval // ETH
}

// result is what the estimator makes of one node.
type result struct {
	estimate estimate.Estimate
	flagged  bool // says that the number is in doubt
}

// interval is an estimate with a 90 % interval.
type interval struct{ value, low, high float64 }

func (i interval) holds(truth float64) bool { return i.low <= truth && truth <= i.high }

var unknown = interval{math.NaN(), math.NaN(), math.NaN()}

// estimate calibrates, learns the prior, estimates every node, and sums.
func (c *crawl) estimate() *crawl {
	base := estimate.NewModel(c.params, estimate.DefaultPrior(), nil)
	calibration := estimate.Calibrate(base, c.nodes)
	var evidence []*estimate.Evidence
	for _, m := range c.members {
		e := estimate.NewEvidence(m.client(), m.custody)
		own := estimate.Behaviour{}
		for _, s := range m.days {
			own.Add(s.Behaviour())
		}
		m.flagged = own.AllDuties(c.params)
		trust := calibration.Trust(c.params, m.client(), own)
		for _, s := range m.days {
			e.Add(s, trust)
		}
		evidence = append(evidence, e.Close())
	}
	spurious := estimate.FitSpurious(base, evidence)
	prior := estimate.FitPrior(estimate.NewModel(c.params, estimate.DefaultPrior(), spurious), evidence)
	model := estimate.NewModel(c.params, prior, spurious)
	var sum estimate.Sum
	for i, m := range c.members {
		m.estimate = model.Estimate(evidence[i])
		sum.Add(m.estimate, 1)
	}
	c.total, _ = model.Totals([]estimate.Sum{sum})
	c.multiplicity = unknown
	c.stake = interval{c.total.StakeETH, c.total.StakeLow, c.total.StakeHigh}
	return c
}

// nodes are the crawl's, to calibrate with.
func (c *crawl) nodes(yield func(estimate.Node) bool) {
	for _, m := range c.members {
		if !yield(estimate.Node{Client: m.client(), Custody: m.custody, Statistics: slices.Clone(m.days)}) {
			return
		}
	}
}
