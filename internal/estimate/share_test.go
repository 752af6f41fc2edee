package estimate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The interval of a share holds it nine times in ten, whatever the shape of what is known
// of the nodes.
func TestShareOfSkewedNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 5))
	times := func(n int, p posterior) []posterior { return slices.Repeat([]posterior{p}, n) }
	unknown := posterior{[]float64{0, 182, 10150, 40000}, []float64{0.3, 0.62, 0.05, 0.03}}
	known := posterior{[]float64{485, 500, 560, 700}, []float64{0.1, 0.4, 0.4, 0.1}}
	small := posterior{[]float64{0, 1, 3, 8}, []float64{0.6, 0.2, 0.15, 0.05}}
	rare := posterior{[]float64{0, 1000}, []float64{0.96, 0.04}}
	for name, c := range map[string]struct{ group, rest []posterior }{
		"well known ones":                     {times(30, known), times(20, known)},
		"a few of many":                       {times(6, known), times(400, known)},
		"small nodes and large ones":          {times(300, small), times(30, known)},
		"many that hardly ever have any":      {times(200, rare), times(600, rare)},
		"one that may have very many":         {append(times(40, small), unknown), times(200, known)},
		"many others that may have very many": {times(100, known), times(30, unknown)},
		"nearly all":                          {times(400, known), times(3, small)},
	} {
		group, rest := ClientSums{}, ClientSums{}
		for _, p := range c.group {
			group.Add("prysm", p.estimate(), 1)
		}
		for _, p := range c.rest {
			rest.Add("teku", p.estimate(), 1)
		}
		share, other := ShareOf(group, rest), ShareOf(rest, group)
		if math.Abs(share.Share+other.Share-1) > 1e-9 || math.Abs(share.Low+other.High-1) > 1e-9 {
			t.Errorf("%s: %+v and the rest %+v", name, share, other)
		}
		const trials = 4000
		held := 0
		for range trials {
			sum := func(nodes []posterior) (sum float64) {
				factor := 1 + systematic*r.NormFloat64() // the prior, of nodes of one kind
				for _, p := range nodes {
					sum += factor * p.draw(r)
				}
				return sum
			}
			g, o := sum(c.group), sum(c.rest)
			if truth := g / (g + o); share.Low <= truth && truth <= share.High {
				held++
			}
		}
		if part := float64(held) / trials; part < 0.88 {
			t.Errorf("%s: %.3f [%.3f to %.3f] holds %.3f of the truths", name, share.Share, share.Low, share.High, part)
		}
	}
}

// Whether what limited nodes claim is real is not known: the interval has both.
func TestShareOfLimitedNodes(t *testing.T) {
	node := Estimate{Low: 90, Mean: 100, Variance: 25}
	sum := func(full, limited int) ClientSums {
		s := ClientSums{}
		for range full {
			s.Add("prysm", node, 1)
		}
		for range limited {
			s.Add("prysm", node, 0.1)
		}
		return s
	}
	for _, c := range []struct {
		group, rest       ClientSums
		least, most, near float64
	}{
		{sum(10, 100), sum(90, 0), 0.1, 110.0 / 200, 20.0 / 110},
		{sum(10, 0), sum(90, 100), 10.0 / 200, 0.1, 10.0 / 110},
		{sum(0, 10), sum(0, 0), 1, 1, 1},
	} {
		if s := ShareOf(c.group, c.rest); s.Low > c.least+1e-9 || s.High < c.most-1e-9 || math.Abs(s.Share-c.near) > 1e-9 {
			t.Errorf("%+v, want about %.3f, and %.3f to %.3f in the interval", s, c.near, c.least, c.most)
		}
	}
}

func TestShareOfNothing(t *testing.T) {
	some := ClientSums{}
	some.Add("prysm", Estimate{Mean: 10, Variance: 4}, 1)
	if s := ShareOf(nil, ClientSums{}); !math.IsNaN(s.Share) || !math.IsNaN(s.Low) || !math.IsNaN(s.High) {
		t.Errorf("%+v of nothing, want NaN", s)
	}
	if s := ShareOf(some, nil); s != (Share{1, 1, 1}) {
		t.Errorf("%+v of all", s)
	}
	if s := ShareOf(nil, some); s != (Share{0, 0, 0}) {
		t.Errorf("%+v of none", s)
	}
}

// The sums of two halves are those of the whole.
func TestMergedClientSums(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	whole, first, second := ClientSums{}, ClientSums{}, ClientSums{}
	for i := range 40 {
		client, half := []string{"prysm", "teku", "nimbus"}[i%3], first
		if i%2 == 0 {
			half = second
		}
		e := Estimate{Low: float64(i), Mean: float64(2 * i), Variance: float64(i), Shared: float64(i) / 10}
		whole.Add(client, e, []float64{1, 0.5}[i%5%2])
		half.Add(client, e, []float64{1, 0.5}[i%5%2])
	}
	first.Merge(second)
	got, want := m.TotalOf(first), m.TotalOf(whole)
	if first.Nodes() != 40 || math.Abs(got.Validators-want.Validators) > 1e-9 || math.Abs(got.Low-want.Low) > 1e-9 || math.Abs(got.High-want.High) > 1e-9 || got.Limited != want.Limited {
		t.Errorf("%+v, want %+v", got, want)
	}
}
