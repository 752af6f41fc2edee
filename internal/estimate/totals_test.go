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

// What nodes have in common does not average out: within a client it adds up, between clients
// it is independent, and the prior moves what is not known of every node.
func TestSharedErrors(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	node := Estimate{Mean: 100, Variance: 400, PValidator: 1, Shared: 5}
	groups := make([]Sum, 4)
	for i := range groups {
		for range 100 {
			groups[i].Add(node, 1)
		}
	}
	all, each := m.Totals(groups)
	if e := each[0].Errors; math.Abs(e.Clients-500*500) > 1e-6 || e.Nodes != 100*(400-5*5) {
		t.Errorf("a client: %+v", e)
	}
	if e := all.Errors; math.Abs(e.Clients-4*500*500) > 1e-3 || e.Prior <= systematic*systematic*40_000*40_000 {
		t.Errorf("all: %+v", e)
	}
	if half := middle90 * math.Sqrt(all.Errors.Sum()); math.Abs(all.High-all.Validators-half) > 1e-6 {
		t.Errorf("%.0f to %.0f is not what the errors say", all.Validators, all.High)
	}
	unknown := node
	unknown.Variance *= 10_000
	var sum Sum
	for range 100 {
		sum.Add(unknown, 1)
	}
	if got := totalOfSum(m, sum); got.Errors.Prior < 4*each[0].Errors.Prior {
		t.Errorf("nodes of which little is known depend on the prior: %+v", got.Errors)
	}
}

// The sum of attachments is judged from both sides, by the measured multiplicity where there is
// one; and what no node accounts for is said.
func TestTotalAgainstTheNetwork(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	total := func(mean float64) Total {
		var s Sum
		s.Add(Estimate{Mean: mean, Low: 0.9 * mean, PValidator: 1}, 1)
		return totalOfSum(m, s)
	}
	four := Multiplicity{Mean: 2, Low: 1.9, High: 2.1, Measured: 0.9}
	for _, c := range []struct {
		attachments  float64
		multiplicity Multiplicity
		want         Verdict
		unaccounted  float64 // -1: not known
	}{
		{1000, Multiplicity{}, TooLow, -1},
		{800_000, Multiplicity{}, Passed, -1},
		{1_500_000, Multiplicity{}, Failed, -1},
		{1_500_000, four, Passed, 1 - 750_000./950_000},
		{2_400_000, four, Failed, 0},
		{1_200_000, Multiplicity{Mean: 1, Low: 1, High: 1.01, Measured: 0.9}, Failed, 0},
		// Of a tenth nobody can tell how many validators no node accounts for.
		{1_200_000, Multiplicity{Mean: 1, Low: 1, High: 1.01, Measured: 0.1}, Passed, -1},
	} {
		got := total(c.attachments).With(c.multiplicity)
		if got.Verdict != c.want {
			t.Errorf("%.0f attachments, %+v: %v, want %v", c.attachments, c.multiplicity, got.Verdict, c.want)
		}
		u := got.Unaccounted
		if u.Known != (c.unaccounted >= 0) || u.Known && math.Abs(u.Mean-c.unaccounted) > 1e-6 || u.Known && !(u.Low <= u.Mean && u.Mean <= u.High) {
			t.Errorf("%.0f attachments, %+v: unaccounted %+v, want %.3f", c.attachments, c.multiplicity, u, c.unaccounted)
		}
		if least := max(0, 1-got.High/950_000); !u.Known && math.Abs(u.Low-least) > 1e-9 {
			t.Errorf("%.0f attachments: unaccounted %+v, at least %.3f", c.attachments, u, least)
		}
	}
	if got := totalOfSum(m, Sum{}).With(four); got.Verdict != TooFew {
		t.Errorf("no nodes: %v", got.Verdict)
	}
}

// What was not measured is not taken for what was: it widens the number of different validators.
func TestUnmeasuredAttachments(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	width := 0.0
	for _, measured := range []float64{1, 0.9, 0.7, 0.5} {
		var s Sum
		s.Add(Estimate{Mean: 1_000_000, Low: 990_000, PValidator: 1}, 1)
		k := Multiplicity{Mean: 2, Low: 1.9, High: 2.1, Measured: measured}
		total := totalOfSum(m, s).With(k)
		u := total.Unaccounted
		// All that was not measured on one node each, or on three.
		most := 1 - (measured*500_000+(1-measured)*1_000_000)/950_000
		least := 1 - (measured*500_000+(1-measured)*1_000_000/3)/950_000
		if !u.Known || u.Low > max(0, most) || u.High < least || !(u.High-u.Low > width) {
			t.Errorf("%.1f measured: %+v, and it may be %.3f to %.3f", measured, u, most, least)
		}
		width = u.High - u.Low
	}
}
