package main

import (
	"maps"
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
	var evidence []*estimate.Evidence
	for _, m := range c.members {
		e, _ := m.evidence(base)
		evidence = append(evidence, e)
	}
	l := estimate.Learn(c.params, evidence, c.nodes)
	model := l.Model(c.params)
	c.rates = map[eth2.ClientKind]float64{}
	for _, v := range l.Versions {
		if v.WatchedError > 0 {
			c.rates[v.Kind] = v.WatchedRatio
		}
	}
	sums := map[eth2.ClientKind]estimate.Sum{}
	for _, m := range c.members {
		e, moved := m.evidence(model)
		m.estimate = model.Estimate(e)
		if moved {
			m.estimate.Flags |= estimate.FlagMoved
		}
		m.flagged = m.estimate.Flags != 0
		sum := sums[m.client().Kind]
		sum.Add(m.estimate, 1)
		sums[m.client().Kind] = sum
	}
	c.total, _ = model.Totals(slices.Collect(maps.Values(sums)))
	c.multiplicity = unknown
	c.stake = interval{c.total.StakeETH, c.total.StakeLow, c.total.StakeHigh}
	return c
}

// evidence sums a node's days since its number last changed.
func (m *member) evidence(model *estimate.Model) (e *estimate.Evidence, moved bool) {
	var days []estimate.DayStatistics
	for i, s := range m.days {
		days = append(days, estimate.DayStatistics{Day: int32(i), Client: m.client(), Statistics: s})
	}
	from := model.Stretch(days)
	e = estimate.NewEvidence(m.client(), m.custody)
	for _, d := range days[from:] {
		e.Add(d.Statistics, d.Client)
	}
	return e.Close(), from > 0
}

// nodes are the crawl's, to calibrate with.
func (c *crawl) nodes(yield func(estimate.Node) bool) {
	for _, m := range c.members {
		if !yield(estimate.Node{Client: m.client(), Custody: m.custody, Statistics: slices.Clone(m.days)}) {
			return
		}
	}
}
