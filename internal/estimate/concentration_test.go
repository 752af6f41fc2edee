package estimate

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Whatever prefixes claim: a weight is a share, no prefix with many nodes counts for more
// than its allowance, and what it claims changes the weight of no other.
func TestWeightsAreBounded(t *testing.T) {
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var prefixes []Prefix
		others := Prefix{Nodes: r.IntN(2000), Validators: 1000 * r.ExpFloat64()}
		few := others
		for range 1 + r.IntN(30) {
			p := Prefix{Nodes: 1 + int(4*r.ExpFloat64()), Validators: math.Pow(10, 7*r.Float64()) * float64(r.IntN(2)), Private: r.IntN(4) == 0}
			prefixes = append(prefixes, p)
			if p.Nodes <= 3 {
				few.Nodes += p.Nodes
				few.Validators += p.Validators
			}
		}
		weights := m.Weights(prefixes, others)
		for i, p := range prefixes {
			w := weights[i]
			if !(w >= 0 && w <= 1) || w == 0 && p.Validators == 0 {
				t.Fatalf("%+v has the weight %v", p, w)
			}
			if p.Nodes == 1 && w < 1 || p.Nodes > 1 && p.Nodes <= 3 && !p.Private && w*p.Validators > 0.05*float64(m.params.active())*1.001 {
				t.Fatalf("%+v counts for %.0f", p, w*p.Validators)
			}
			if p.Nodes <= 3 || few.Nodes < 3 {
				continue
			}
			n := float64(max(3, few.Nodes/100))
			if w*float64(p.Nodes) > n*1.001 || w*p.Validators > n*few.Validators/float64(few.Nodes)*1.001 {
				t.Fatalf("of %d others with %.0f validators %+v counts for %.1f nodes with %.0f", few.Nodes, few.Validators, p, w*float64(p.Nodes), w*p.Validators)
			}
			more := append([]Prefix(nil), prefixes...)
			more[i].Nodes, more[i].Validators = 100*p.Nodes, 100*p.Validators
			for k, w := range m.Weights(more, others) {
				if k != i && w != weights[k] {
					t.Fatalf("%+v has the weight %v, and %v when another claims more", prefixes[k], weights[k], w)
				}
			}
		}
	}
}

// A sum of sums is the sum of its nodes, and the interval has the total without and with
// what is limited.
func TestLimitedTotal(t *testing.T) {
	m := NewModel(withBalance(mainnetParams(), 32), DefaultPrior(), nil)
	var full, with, a, b, both Sum
	node := Estimate{Mean: 100, Variance: 400, PValidator: 1, Stake: Stake{Known: true, Mean: 3200}}
	for i := range 100 {
		full.Add(node, 1)
		with.Add(node, 1)
		into := []*Sum{&a, &b}[i%2]
		into.Add(node, 1)
		into.Add(node, 0.1)
	}
	both.merge(a)
	both.merge(b)
	for range 100 {
		with.Add(node, 1)
	}
	got, least, most := totalOfSum(m, both), totalOfSum(m, full), totalOfSum(m, with)
	if got.Limited != 100 || math.Abs(got.Claimed-10_000) > 1e-6 || math.Abs(got.Admitted-1000) > 1e-6 || math.Abs(got.Validators-11_000) > 1e-6 {
		t.Errorf("%+v", got)
	}
	if got.Low != least.Low || math.Abs(got.High-most.High) > 1e-6 || got.StakeLow != least.StakeLow || math.Abs(got.StakeHigh-most.StakeHigh) > 1e-6 {
		t.Errorf("%+v, without the limited %+v, with all of them %+v", got, least, most)
	}
	for _, c := range []struct {
		mean, limited float64
		want          Verdict
	}{{900_000, 0, Passed}, {900_000, 40_000, Passed}, {900_000, 60_000, Unsure}, {2_000_000, 60_000, Failed}, {100, 0, TooLow}, {100, 60_000, Unsure}} {
		var s Sum
		s.Add(Estimate{Mean: c.mean}, 1)
		s.Add(Estimate{Mean: c.limited}, 0)
		if got := totalOfSum(m, s); got.Verdict != c.want {
			t.Errorf("%v validators, %v limited: %v", c.mean, c.limited, got.Verdict)
		}
	}
	var none Sum
	none.Add(Estimate{Mean: math.NaN()}, 0.5)
	if got := totalOfSum(m, none); got.Verdict != TooFew || got.Validators != 0 {
		t.Errorf("without numbers: %+v", got)
	}
}

// One node that subscribes all the time does not decide for the others of its version (M3).
func TestOneNodeDoesNotDecideLifetimes(t *testing.T) {
	var l lifetimes
	ordinary, flapping := Behaviour{Subscribed: 30, Slots: 60}, Behaviour{Subscribed: 40_000, Slots: 400_000, AtEpochStart: 40_000}
	ordinary.Lifetimes[2], flapping.Lifetimes[7] = 30, 40_000
	for range 5 {
		l.add(ordinary)
	}
	l.add(flapping)
	w := window{policy: slotsAhead, lead: 1, slots: 2}
	if got := l.fits(w, mainnetParams()); got != Passed {
		t.Errorf("five nodes as assumed and one that flaps: %v", got)
	}
	for range 5 {
		l.add(flapping)
	}
	if got := l.fits(w, mainnetParams()); got != Failed {
		t.Errorf("five nodes as assumed and six that flap: %v", got)
	}
}
