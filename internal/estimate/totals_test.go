package estimate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// totalOf is the total of one group of nodes.
func totalOf(m *Model, nodes []Estimate) Total {
	var s Sum
	for _, e := range nodes {
		s.Add(e, 1)
	}
	return totalOfSum(m, s)
}

func totalOfSum(m *Model, s Sum) Total {
	all, _ := m.Totals([]Sum{s})
	return all
}

// posterior is a node's for the tests: values with their probabilities, ascending.
type posterior struct{ values, shares []float64 }

func (p posterior) estimate() (e Estimate) {
	sum, square, below := 0.0, 0.0, 0.0
	e.Low, e.High = math.NaN(), math.NaN()
	for i, v := range p.values {
		sum, square = sum+p.shares[i]*v, square+p.shares[i]*v*v
		if below += p.shares[i]; math.IsNaN(e.Low) && below > 0.05 {
			e.Low = v
		}
		if math.IsNaN(e.High) && below >= 0.95-1e-9 {
			e.High = v
		}
	}
	e.Mean, e.Variance = sum, square-sum*sum
	return e
}

func (p posterior) draw(r *rand.Rand) float64 {
	u := r.Float64()
	for i, share := range p.shares {
		if u -= share; u < 0 {
			return p.values[i]
		}
	}
	return p.values[len(p.values)-1]
}

// The intervals of a total and of its groups hold what the nodes have, nine times in ten,
// whatever the shape of what is known of them; and no lower end is below what a part has at
// least.
func TestTotalsOfSkewedNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	times := func(n int, p posterior) []posterior { return slices.Repeat([]posterior{p}, n) }
	unknown := posterior{[]float64{0, 182, 10150, 40000}, []float64{0.3, 0.62, 0.05, 0.03}}
	known := posterior{[]float64{485, 500, 560, 700}, []float64{0.1, 0.4, 0.4, 0.1}}
	small := posterior{[]float64{0, 1, 3, 8}, []float64{0.6, 0.2, 0.15, 0.05}}
	rare := posterior{[]float64{0, 1000}, []float64{0.96, 0.04}}
	mostly := posterior{[]float64{0, 100}, []float64{0.04, 0.96}}
	for name, groups := range map[string][][]posterior{
		"one that may have very many":       {append(times(40, small), unknown), times(14, known)},
		"only that one":                     {{unknown}},
		"one whose mean is below its range": {{mostly}, times(3, small)},
		"many that hardly ever have any":    {times(800, rare)},
		"well known ones":                   {times(30, known), times(20, known)},
		"none with validators":              {times(10, posterior{[]float64{0}, []float64{1}})},
	} {
		m := NewModel(mainnetParams(), DefaultPrior(), nil)
		sums, largest, ends := make([]Sum, len(groups)), 0.0, make([]float64, len(groups))
		for g, nodes := range groups {
			for _, p := range nodes {
				e := p.estimate()
				sums[g].Add(e, 1)
				largest, ends[g] = max(largest, e.Low), max(ends[g], e.Low)
			}
		}
		all, each := m.Totals(sums)
		if all.Low < min(largest, all.Validators) || all.Low > all.Validators || all.High < all.Validators {
			t.Errorf("%s: %.0f [%.0f to %.0f], and a node has %.0f at least", name, all.Validators, all.Low, all.High, largest)
		}
		least := 0.0
		for g, c := range each {
			if least += c.Low; c.Low < min(ends[g], c.Validators) {
				t.Errorf("%s: group %d has %.0f [%.0f to %.0f], and a node of it has %.0f at least", name, g, c.Validators, c.Low, c.High, ends[g])
			}
		}
		if all.Low < least-1e-6 {
			t.Errorf("%s: at least %.0f, and the groups %.0f", name, all.Low, least)
		}
		const trials = 4000
		held := 0
		for range trials {
			truth := 0.0
			for _, nodes := range groups {
				for _, p := range nodes {
					truth += p.draw(r)
				}
			}
			if all.Low <= truth && truth <= all.High {
				held++
			}
		}
		if share := float64(held) / trials; share < 0.9 {
			t.Errorf("%s: [%.0f to %.0f] holds %.3f of the truths", name, all.Low, all.High, share)
		}
	}
}
