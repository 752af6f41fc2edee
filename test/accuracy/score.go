package main

import (
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// mode is how nodes are observed.
type mode int

const (
	watched   mode = iota // connections held for whole epochs
	snapshots             // one per epoch
)

// trial is a way to observe and estimate.
type trial struct {
	mode    mode
	custody bool
	epochs  int
}

// outcome is one node's truth and estimate.
type outcome struct {
	truth    int
	estimate estimate.Estimate
	earlier  int // the earlier program's
}

func paramsOf(net network) estimate.Params {
	return estimate.Params{Clock: net.clock, Preset: eth2.MainnetPreset(), ActiveValidators: uint64(net.validators)}
}

// modelOf has the prior that validators are drawn from.
func modelOf(p estimate.Params) *estimate.Model {
	return estimate.NewModel(p, estimate.Prior{Bands: []estimate.Band{
		{Low: 0, High: 0, Share: 0.45}, {Low: 1, High: 8, Share: 0.23}, {Low: 9, High: 127, Share: 0.13}, {Low: 128, High: mostValidators, Share: 0.19},
	}}, nil)
}

// run observes one node and estimates it.
func (t trial) run(pop *population, m *estimate.Model, n *node) outcome {
	s := estimate.NewStatistics(n.client())
	out := outcome{truth: n.validators}
	if t.mode == watched {
		n.watch(m.Params(), s, t.epochs)
	} else {
		out.earlier = earlierRule(n.snapshots(m.Params(), s, t.epochs))
	}
	var c estimate.Custody
	if t.custody {
		c.Observe(0, pop.custody(n))
	}
	e := estimate.NewEvidence(n.client(), c)
	e.Add(s, n.client())
	out.estimate = m.Estimate(e)
	return out
}

// score sums outcomes up.
type score struct {
	nodes                     int
	medianError, earlierError float64 // relative; absolute where there are no validators
	coverage                  float64 // share of the 90 % intervals that hold the truth
	recall, falsePositive     float64 // of P(at least one) of 0.9 and more
	total, earlierTotal       float64 // over the truth's
}

func scoreOf(list []outcome) score {
	s := score{nodes: len(list)}
	var errs, earlier []float64
	var truth, with, found, wrong, inside float64
	for _, o := range list {
		v := float64(o.truth)
		errs = append(errs, math.Abs(float64(o.estimate.Median)-v)/math.Max(1, v))
		earlier = append(earlier, math.Abs(float64(o.earlier)-v)/math.Max(1, v))
		truth += v
		s.total += o.estimate.Mean
		s.earlierTotal += float64(o.earlier)
		if o.estimate.Low <= v && v <= o.estimate.High {
			inside++
		}
		sure := o.estimate.PValidator >= 0.9
		if o.truth > 0 {
			with++
		}
		if sure && o.truth > 0 {
			found++
		}
		if sure && o.truth == 0 {
			wrong++
		}
	}
	s.medianError, s.earlierError = median(errs), median(earlier)
	s.coverage = inside / float64(len(list))
	s.recall = found / math.Max(1, with)
	s.falsePositive = wrong / math.Max(1, float64(len(list))-with)
	s.total /= math.Max(1, truth)
	s.earlierTotal /= math.Max(1, truth)
	return s
}

func median(x []float64) float64 {
	slices.Sort(x)
	n := len(x)
	if n%2 == 1 {
		return x[n/2]
	}
	return (x[n/2-1] + x[n/2]) / 2
}

// mixes is over how many client mixes a score of one number of validators is taken.
const mixes = 5

// fixed scores nodes with one number of validators.
func (t trial) fixed(seed uint64, net network, m *estimate.Model, validators, trials int) score {
	var list []outcome
	for i := range uint64(mixes) {
		pop := newPopulation(seed*mixes+i, net)
		for range trials / mixes {
			list = append(list, t.run(pop, m, drawNode(pop.rand, net, pop.persona(), validators)))
		}
	}
	return scoreOf(list)
}

// drawn scores nodes from the whole population.
func (t trial) drawn(seed uint64, net network, m *estimate.Model, trials int) score {
	pop := newPopulation(seed, net)
	var list []outcome
	for range trials {
		list = append(list, t.run(pop, m, drawNode(pop.rand, net, pop.persona(), pop.validators())))
	}
	return scoreOf(list)
}
