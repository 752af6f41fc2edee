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
	c.params.Balance = meanOf(c.balances)
	base := estimate.NewModel(c.params, estimate.DefaultPrior(), nil)
	var evidence []*estimate.Evidence
	for _, m := range c.members {
		e, from := m.evidence(base)
		evidence = append(evidence, e)
		m.calibrates = m.days[from:]
	}
	l := estimate.Learn(c.params, evidence, c.nodes)
	model := l.Model(c.params)
	c.rates = map[eth2.ClientKind]float64{}
	for _, v := range l.Versions {
		if v.WatchedError > 0 {
			c.rates[v.Kind] = v.WatchedRatio
		}
	}
	for _, m := range c.members {
		e, from := m.evidence(model)
		m.estimate = model.Estimate(e)
		if from > 0 {
			m.estimate.Flags |= estimate.FlagMoved
		}
		m.flagged = m.estimate.Flags != 0
	}
	c.total, _ = model.Totals(c.sums())
	c.stake = unknown
	if c.total.StakeKnown {
		c.stake = interval{c.total.StakeETH, c.total.StakeLow, c.total.StakeHigh}
	}
	c.multiplicity = c.fitMultiplicity()
	return c
}

// evidence sums a node's days since its number last changed, and says from which on.
func (m *member) evidence(model *estimate.Model) (e *estimate.Evidence, from int32) {
	var days []estimate.DayStatistics
	for i, s := range m.days {
		days = append(days, estimate.DayStatistics{Day: int32(i), Client: m.client(), Statistics: s})
	}
	from = model.Stretch(days)
	e = estimate.NewEvidence(m.client(), m.custody)
	for _, d := range days[from:] {
		e.Add(d.Statistics, d.Client)
	}
	return e.Close(), from
}

// nodes are the crawl's, to calibrate with.
func (c *crawl) nodes(yield func(estimate.Node) bool) {
	for _, m := range c.members {
		if !yield(estimate.Node{Client: m.client(), Custody: m.custody, Statistics: slices.Clone(m.calibrates)}) {
			return
		}
	}
}

// sums adds up the nodes of each client.
func (c *crawl) sums() (list []estimate.Sum) {
	byKind := map[eth2.ClientKind]int{}
	for _, m := range c.members {
		kind := m.client().Kind
		if _, ok := byKind[kind]; !ok {
			byKind[kind] = len(list)
			list = append(list, estimate.Sum{})
		}
		list[byKind[kind]].Add(m.estimate, 1)
	}
	return list
}

// fitMultiplicity compares the duties of all nodes.
func (c *crawl) fitMultiplicity() interval {
	var list []estimate.DutyNode
	for _, m := range c.members {
		list = append(list, estimate.DutyNode{Client: m.client().Kind, Duties: m.duties, Validators: m.estimate.Mean})
	}
	if fit := estimate.FitMultiplicity(c.params, list); fit.Known() {
		return interval{fit.Mean, fit.Low, fit.High}
	}
	return unknown
}

// meanOf is the mean of effective balances and its relative standard error.
func meanOf(balances []uint64) estimate.Balance {
	if len(balances) == 0 {
		return estimate.Balance{}
	}
	n, sum, squares := float64(len(balances)), 0.0, 0.0
	for _, b := range balances {
		sum, squares = sum+float64(b), squares+float64(b)*float64(b)
	}
	mean := sum / n
	return estimate.Balance{Mean: mean, Error: math.Sqrt(max(0, squares/n-mean*mean)/n) / mean}
}
