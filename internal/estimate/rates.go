package estimate

import (
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	// rateStep and rateSteps are the grid of the logarithm of a rate: from -rateSteps to
	// rateSteps steps, a factor of 12 each way.
	rateStep   = 0.02
	rateSteps  = 125
	ratePoints = 2*rateSteps + 1
	// leastNodes is how many nodes a verdict on a rate takes, mostNodes how many a fit uses:
	// those that come first.
	leastNodes, mostNodes = 5, 1000
	// maxFits bounds the releases of a client that have a fit of their own, since peers choose
	// their versions. The others are taken for releases without calibrating nodes.
	maxFits = 64
	// few is the number of nodes of a release up to which one party may have most of them, and
	// many that from which on it has not. Of few nodes none has more than a bounded vote: a share
	// of liars may say anything.
	few, many = 5, 15
	liars     = 0.3
)

// spreads are by how much the rates of a release's nodes may differ from that of the release
// (standard deviations of the logarithm), and how likely each is before a crawl.
var spreads = [...]struct{ sd, prior float64 }{{0.03, 0.4}, {0.06, 0.35}, {0.12, 0.2}, {0.25, 0.04}, {0.5, 0.01}}

// heterogeneous is a spread from which on a release has nodes of more than one kind.
const heterogeneous = 0.2

// logLikelihood is by the logarithm of the rate.
type logLikelihood [ratePoints]float64

// rateFit sums the logarithms of the likelihood of a release's rate over its nodes, for each
// spread between them: as the nodes say, which compares the spreads, and with bounded votes.
type rateFit struct {
	nodes       int
	says, votes [len(spreads)]logLikelihood
}

// likelihood is that of the rate, with a spread.
func (f *rateFit) likelihood(spread int) logLikelihood {
	part := min(1, max(0, float64(f.nodes-few)/(many-few)))
	out := f.votes[spread]
	for i, x := range f.says[spread] {
		out[i] += part * (x - out[i])
	}
	return out
}

// calibrates reports whether a node's custody group count says about how many validators it
// has, and its cells enough to measure the rate at which it shows their duties.
func (m *Model) calibrates(e *Evidence, p pools) bool {
	const expected = 1 // cells
	reading := e.custody.reading(e.kind)
	return m.ratesFit() && reading > eth2.ValidatorCustodyRequirement && reading < supernode && m.expected(p, reading) >= expected
}

// ratesFit reports whether rates can be fitted in the network: in small ones, and where nearly
// everyone aggregates, the rate and the number of validators do not trade off in the same way.
func (m *Model) ratesFit() bool {
	return m.params.AggregatorShare() <= everyone && m.params.active() > fewValidators
}

// cellsOf are the cells of watches, or of snapshots; none for a client that is not known.
func (e *Evidence) cellsOf(snapshots bool) (p pools) {
	if e.sum(); len(e.pools) != 1 {
		return p
	}
	for _, c := range e.pools[0].cells {
		if c.snapshot == snapshots {
			p.cells = append(p.cells, c)
		}
	}
	return p
}

// add adds the likelihood of each rate for one node.
func (f *rateFit) add(likelihood []float64) {
	const (
		outliers = 0.05 // nodes with any rate, next to which the spreads are compared
		least    = 1e-300
	)
	f.nodes++
	sum := 0.0
	for _, l := range likelihood {
		sum += l
	}
	anyRate := outliers * sum / float64(len(likelihood))
	for k, s := range spreads {
		l := smoothed(likelihood, s.sd)
		most := math.Max(slices.Max(l), least)
		for i, x := range l {
			f.says[k][i] += math.Log(math.Max((1-outliers)*x+anyRate, least))
			f.votes[k][i] += math.Log((1-liars)*x/most + liars)
		}
	}
}

// curve is the likelihood of cells by the logarithm of the number of validators, next to
// its greatest; none is that of no duty at all.
type curve struct {
	likelihood []float64
	none       float64
}

const (
	curveFrom  = -3  // logarithm of the least number
	curveSteps = 600 // of rateStep, up to 8,000
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

// at is the likelihood of a number of validators.
func (c curve) at(logValidators float64) float64 {
	x := (logValidators - curveFrom) / rateStep
	i := int(x)
	if x < 0 || i+1 >= len(c.likelihood) {
		return 0
	}
	part := x - float64(i)
	return (1-part)*c.likelihood[i] + part*c.likelihood[i+1]
}

// addRates adds the weighted likelihood of a number of validators at each rate.
func (c curve) addRates(out []float64, logValidators, weight float64) {
	x := (logValidators-curveFrom)/rateStep - rateSteps
	first := int(math.Floor(x))
	part := x - math.Floor(x)
	for j := max(0, -first); j < min(len(out), len(c.likelihood)-1-first); j++ {
		out[j] += weight * ((1-part)*c.likelihood[first+j] + part*c.likelihood[first+j+1])
	}
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
	out := make([]float64, ratePoints)
	for i, w := range weights {
		if w < negligible*most {
			continue
		}
		if m.grid[i] == 0 {
			base += (1 - shares[silent]) * w * cells.none
			continue
		}
		logV := math.Log(float64(m.grid[i]))
		base += all * w * cells.at(logV+logEvery)
		cells.addRates(out, logV, shares[byWindow]*w)
	}
	for j := range out {
		out[j] += base
	}
	return out
}

// smoothed spreads the likelihood over the rates that nodes of one release have: three moving
// averages, together close to a normal distribution.
func smoothed(l []float64, sd float64) []float64 {
	// Each, over 2r+1 steps, has a variance of r(r+1)/3.
	steps := sd / rateStep
	r := (math.Sqrt(1+4*steps*steps) - 1) / 2
	return averaged(averaged(averaged(l, r), r), r)
}

// averaged is a moving average over a window that reaches r steps each way, the outermost
// two of them in part; at the ends, over what there is of it.
func averaged(l []float64, r float64) []float64 {
	whole := int(r)
	part := r - float64(whole)
	sums := make([]float64, len(l)+1)
	for i, x := range l {
		sums[i+1] = sums[i] + x
	}
	out := make([]float64, len(l))
	for i := range l {
		from, to := max(0, i-whole), min(len(l), i+whole+1)
		sum, weight := sums[to]-sums[from], float64(to-from)
		if i-whole-1 >= 0 {
			sum, weight = sum+part*l[i-whole-1], weight+part
		}
		if i+whole+1 < len(l) {
			sum, weight = sum+part*l[i+whole+1], weight+part
		}
		out[i] = math.Max(0, sum/weight)
	}
	return out
}
