package estimate

import (
	"math"

	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	// rateStep and rateSteps are the grid of the logarithm of a version's rate: from
	// -rateSteps to rateSteps steps, a factor of 2.7 each way.
	rateStep  = 0.02
	rateSteps = 50
	// nodeRateSD is by how much the rates of a version's nodes differ, relative. It bounds what
	// one node says of its version, however much it shows.
	nodeRateSD = 0.1
	// leastNodes is how many nodes the fit of a rate takes, mostNodes how many it uses.
	leastNodes, mostNodes = 5, 300
)

// rateFit sums the logarithms of the likelihood of a version's rate over its nodes.
type rateFit struct {
	nodes int
	logs  [2*rateSteps + 1]float64
}

// add adds a node whose custody group count says about how many validators it has. Of its
// cells those of watches or of snapshots are used.
func (f *rateFit) add(m *Model, e *Evidence, snapshots bool) {
	const expected = 1 // cells
	reading := e.custody.reading(e.kind)
	if f.nodes >= mostNodes || reading <= eth2.ValidatorCustodyRequirement || reading >= supernode || len(e.pools) != 1 {
		return
	}
	if m.params.AggregatorShare() > everyone || m.params.active() <= fewValidators {
		return // the rate and the number do not trade off in the same way
	}
	p := pools{}
	for _, c := range e.pools[0].cells {
		if c.snapshot == snapshots {
			p.cells = append(p.cells, c)
		}
	}
	if m.expected(p, reading) < expected {
		return
	}
	f.nodes++
	for i, l := range m.rateLikelihood(e, p, !snapshots) {
		f.logs[i] += math.Log(math.Max(l, 1e-300))
	}
}

// curve is the likelihood of cells by the logarithm of the number of validators, next to
// its greatest; none is that of no duty at all.
type curve struct {
	likelihood []float64
	none       float64
}

const (
	curveFrom  = -1.5 // logarithm of the least number
	curveSteps = 510  // of rateStep, up to 6,000
)

func (m *Model) curveOf(e *Evidence, p pools) (c curve) {
	c.likelihood = make([]float64, curveSteps)
	spurious := m.spuriousOf(e.kind)
	for _, x := range p.cells {
		eps := spurious / m.params.perObservation(x.cell)
		on, off, kept := float64(x.on), float64(x.off), math.Log1p(-eps)
		rate := -m.params.logEmpty(x.cell, 1, 1)
		for i := range c.likelihood {
			l := kept - rate*math.Exp(curveFrom+rateStep*float64(i))
			c.likelihood[i] += on*math.Log(-math.Expm1(l)) + off*l
		}
	}
	c.none = m.logSpurious(e, p)
	most := c.none
	for _, l := range c.likelihood {
		most = math.Max(most, l)
	}
	for i, l := range c.likelihood {
		c.likelihood[i] = math.Exp(l - most)
	}
	c.none = math.Exp(c.none - most)
	return c
}

// at is the likelihood of a number of validators, steps further on.
func (c curve) at(logValidators float64, steps int) float64 {
	x := (logValidators-curveFrom)/rateStep + float64(steps)
	i := int(x)
	if x < 0 || i+1 >= len(c.likelihood) {
		return 0
	}
	part := x - float64(i)
	return (1-part)*c.likelihood[i] + part*c.likelihood[i+1]
}

// rateLikelihood is the likelihood of each rate for one node, over all that it may have
// by its custody groups, and over its habits.
func (m *Model) rateLikelihood(e *Evidence, p pools, watched bool) []float64 {
	const (
		above      = 2 * supernode // numbers that custody below supernode excludes
		negligible = 1e-4
	)
	shares, custody := m.fitOf(e.versions[0]).shares, m.custodyTable(e.custody.reading(e.kind), e.kind)
	cells := m.curveOf(e, p)
	weights, most, sum := make([]float64, 0, above), 0.0, 0.0
	for i, v := range m.grid {
		if v > above {
			break
		}
		weights = append(weights, math.Exp(m.logPrior[i]+custody.logs[i]))
		most, sum = math.Max(most, weights[i]), sum+weights[i]
	}
	all := shares[everyDuty]
	if watched {
		all *= math.Exp(e.everyDuty(m.params))
	}
	logEvery := -math.Log(m.params.AggregatorShare())
	base := shares[silent] * sum * cells.none
	out := make([]float64, 2*rateSteps+1)
	for i, w := range weights {
		if w < negligible*most {
			continue
		}
		if m.grid[i] == 0 {
			base += (1 - shares[silent]) * w * cells.none
			continue
		}
		logV := math.Log(float64(m.grid[i]))
		base += all * w * cells.at(logV+logEvery, 0)
		for j := range out {
			out[j] += shares[byWindow] * w * cells.at(logV, j-rateSteps)
		}
	}
	for j := range out {
		out[j] += base
	}
	return smoothed(out)
}

// smoothed spreads the likelihood over the rates that nodes of one version have.
func smoothed(l []float64) []float64 {
	const reach = 3 * nodeRateSD / rateStep
	out := make([]float64, len(l))
	for i := range l {
		weight := 0.0
		for k := max(0, i-int(reach)); k <= min(len(l)-1, i+int(reach)); k++ {
			z := float64(k-i) * rateStep / nodeRateSD
			x := math.Exp(-z * z / 2)
			out[i] += x * l[k]
			weight += x
		}
		out[i] /= weight
	}
	return out
}

// estimate is the rate's factor and its relative standard deviation; 0 for too few
// nodes. Most versions are taken to be as their sources say, and the others to be off by
// any factor. centre is the logarithm of what is expected.
func (f *rateFit) estimate(centre float64) (factor, sd float64) {
	const (
		close, closeSD = 0.85, 0.04
		otherSD        = 0.5
		leastSD        = 0.005
	)
	if f.nodes < leastNodes {
		return 1, 0
	}
	most := math.Inf(-1)
	for _, l := range f.logs {
		most = math.Max(most, l)
	}
	sum, mean, square := 0.0, 0.0, 0.0
	for i, l := range f.logs {
		x := rateStep * float64(i-rateSteps)
		normal := func(sd float64) float64 { z := (x - centre) / sd; return math.Exp(-z*z/2) / sd }
		w := math.Exp(l-most) * (close*normal(closeSD) + (1-close)*normal(otherSD))
		sum, mean, square = sum+w, mean+w*x, square+w*x*x
	}
	mean /= sum
	return math.Exp(mean), math.Max(leastSD, math.Sqrt(math.Max(0, square/sum-mean*mean)))
}
