package estimate

import "math"

// Trust is how far the attestation subnets of a client version are believed, most
// first. Calibrate finds it.
type Trust uint8

// Levels of trust.
const (
	// TrustAll uses everything.
	TrustAll Trust = iota
	// TrustWatched leaves out single looks, which depend on how long a client stays on a
	// duty's subnet.
	TrustWatched
	// TrustWide takes the rate of subscriptions as known to a factor of two only.
	TrustWide
	// TrustCustody leaves out attestation subnets: custody groups and sync committees
	// remain.
	TrustCustody
)

// Estimate is the number of validators behind one node, and their stake.
type Estimate struct {
	Median    int
	Low, High float64 // the 90 % interval
	Mean      float64 // what totals sum
	Variance  float64
	// Shared is the standard deviation where all nodes of a version are off alike
	// (TrustWide), else 0: in a sum it adds up as it is.
	Shared float64
	// PValidator is the probability of at least one.
	PValidator float64
	Stake      Stake
}

// Stake is what the validators hold, in ETH.
type Stake struct {
	Median, Low, High, Mean float64
}

// Estimate gives the posterior of a peer's evidence.
func (m *Model) Estimate(e *Evidence) Estimate {
	w := m.posterior(e)
	out := Estimate{PValidator: 1 - w[0]}
	out.Median, out.Low, out.High = quantiles(m.grid, w, 1)
	square := 0.0
	for i, p := range w {
		v := float64(m.grid[i])
		out.Mean += p * v
		square += p * v * v
	}
	out.Variance = math.Max(0, square-out.Mean*out.Mean)
	if e.trust >= TrustWide {
		out.Shared = math.Sqrt(out.Variance)
	}
	out.Stake = m.stake(e, w)
	return out
}

// posterior are the weights of the grid's points; they sum to 1. A client that is not
// known is the mixture of those that it can be, by their shares alone: what the
// windows make of a log are different data, whose likelihoods do not compare.
func (m *Model) posterior(e *Evidence) []float64 {
	e.sum()
	switch len(e.pools) {
	case 0:
		return m.posteriorOf(e, pools{})
	case 1:
		return m.posteriorOf(e, e.pools[0])
	}
	total := make([]float64, len(m.grid))
	for _, p := range e.pools {
		for i, w := range m.posteriorOf(e, p) {
			total[i] += p.window.share * w
		}
	}
	return total
}

// posteriorOf takes the client for the one with the pools' window.
func (m *Model) posteriorOf(e *Evidence, p pools) []float64 {
	w := m.attestation(e, p)
	m.syncTable().add(w, e.sync)
	if r := e.custody.reading(e.kind); r > 0 {
		for i, l := range m.custodyTable(r, e.kind) {
			w[i] += l
		}
	}
	normalise(w)
	return w
}

// attestation is prior and likelihood of the attestation subnets, with what is
// uncertain of the aggregators' share taken over all that it can be.
func (m *Model) attestation(e *Evidence, p pools) []float64 {
	factors := m.factors(e.trust)
	logw := m.terms(e, p, factors[0])
	if len(p.cells) == 0 || len(factors) == 1 {
		return logw
	}
	for _, f := range factors[1:] {
		for i, l := range m.terms(e, p, f) {
			logw[i] = logAdd(logw[i], l)
		}
	}
	return logw
}

// factor is a value that the rate of subscriptions can have, relative to what the
// parameters say, and the logarithm of its weight.
type factor struct{ value, logWeight float64 }

func (m *Model) factors(t Trust) []factor {
	var out []factor
	switch unc := m.params.PAggUncertainty; {
	case t >= TrustWide:
		for _, f := range []float64{0.5, math.Sqrt2 / 2, 1, math.Sqrt2, 2} {
			out = append(out, factor{f, 0})
		}
	case unc > 0:
		for _, z := range []float64{-1.5, -0.75, 0, 0.75, 1.5} {
			out = append(out, factor{math.Max(0.01, 1+z*unc), -z * z / 2})
		}
	default:
		out = append(out, factor{1, 0})
	}
	return out
}

func (m *Model) terms(e *Evidence, p pools, f factor) []float64 {
	logw := make([]float64, len(m.grid))
	for i, l := range m.logPrior {
		logw[i] = l + f.logWeight
	}
	spurious := m.spuriousOf(e.kind)
	for _, c := range p.cells {
		m.cellTable(tableKey{c.cell, spurious, f.value}).add(logw, c.counts)
	}
	return logw
}

// normalise turns logarithms into weights that sum to 1.
func normalise(logw []float64) {
	most := math.Inf(-1)
	for _, l := range logw {
		most = math.Max(most, l)
	}
	sum := 0.0
	for i, l := range logw {
		const negligible = -60
		if l -= most; l > negligible {
			logw[i] = math.Exp(l)
			sum += logw[i]
		} else {
			logw[i] = 0
		}
	}
	for i := range logw {
		logw[i] /= sum
	}
}

func logAdd(a, b float64) float64 {
	if b > a {
		a, b = b, a
	}
	if math.IsInf(a, -1) {
		return a // the prior leaves it out
	}
	return a + math.Log1p(math.Exp(b-a))
}
