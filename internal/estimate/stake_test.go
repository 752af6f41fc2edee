package estimate

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Networks whose validators hold 33 to 53.6 ETH on average, as some operators compound: the
// total is within 5 %, and its interval holds.
func TestStakeOfEachBalance(t *testing.T) {
	const replications, nodes = 20, 1000
	for _, mean := range []float64{32, 33, 37.6, 43.4, 53.6} {
		held, ratio := 0, 0.0
		for rep := range uint64(replications) {
			r := rand.New(rand.NewPCG(rep, 3))
			var validators, multiples [nodes]float64
			held32, all := 0.0, 0.0
			for i := range nodes {
				validators[i] = math.Ceil(math.Min(5000, math.Exp(r.NormFloat64()*1.5+3)))
				if r.IntN(4) == 0 {
					multiples[i] = stakes()[r.IntN(len(stakes()))] - 1
				}
				all += validators[i]
				held32 += validators[i] * multiples[i]
			}
			truth := 0.0
			var sum Sum
			for i, v := range validators {
				truth += v * (ethPerUnit + multiples[i]*(mean-ethPerUnit)*all/held32)
				sd := math.Sqrt(v * 3)
				sum.Add(Estimate{Mean: v + sd*r.NormFloat64(), Variance: sd * sd, Low: max(0, v-2*sd), PValidator: 1}, 1)
			}
			p := withBalance(mainnetParams(), 0)
			p.Balance.Mean = mean * (1 + p.Balance.Error*r.NormFloat64())
			got := totalOfSum(NewModel(p, DefaultPrior(), nil), sum)
			ratio += got.StakeETH / truth / replications
			if got.StakeLow <= truth && truth <= got.StakeHigh {
				held++
			}
		}
		if math.Abs(ratio-1) > 0.05 || held < 17 {
			t.Errorf("%.1f ETH: stake over truth %.3f, the interval holds %d of %d", mean, ratio, held, replications)
		}
	}
}

// The stake of a node is that of its validators times the mean balance where nothing else is
// known, and what its custody group count says where that is exact.
func TestStakeOfANode(t *testing.T) {
	for _, mean := range []float64{31.5, 32, 33, 43.4, 53.6, 300} {
		m := NewModel(withBalance(mainnetParams(), mean), DefaultPrior(), nil)
		e := m.Estimate(NewEvidence(lighthouse, Custody{}))
		if !e.Stake.Known || math.Abs(e.Stake.Mean/(mean*e.Mean)-1) > 0.01 {
			t.Errorf("%.1f ETH: %.0f ETH for %.0f validators", mean, e.Stake.Mean, e.Mean)
		}
		if mean > 31.9 && mean < 60 {
			var c Custody
			c.Observe(0, 50)
			if e := m.Estimate(NewEvidence(lighthouse, c)); e.Stake.Median != 50*ethPerUnit {
				t.Errorf("%.1f ETH, custody of 50: %+v", mean, e.Stake)
			}
		}
	}
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	if e := m.Estimate(NewEvidence(lighthouse, Custody{})); e.Stake != (Stake{}) {
		t.Errorf("without a balance: %+v", e.Stake)
	}
	var sum Sum
	sum.Add(Estimate{Mean: 100, PValidator: 1}, 1)
	if got := totalOfSum(m, sum); got.StakeKnown || got.StakeETH != 0 || got.StakeHigh != 0 {
		t.Errorf("without a balance: %+v", got)
	}
}
