package estimate

import (
	"math"
	"slices"
	"testing"
)

// More nodes than assumed have compounding validators only where the mean balance says so.
func TestSharesOfMultiples(t *testing.T) {
	assumed := sharesOfMultiples(Balance{})
	for _, mean := range []float64{31.9, 32, 33, 36} {
		if got := sharesOfMultiples(Balance{Mean: mean}); !slices.Equal(got, assumed) {
			t.Errorf("%g ETH: %v, want those assumed, %v", mean, got, assumed)
		}
	}
	for mean, some := range map[float64]float64{37.6: 5.6 / 32, 43.4: 11.4 / 32, 48: 0.5, 53.6: 0.5, 200: 0.5} {
		got := sharesOfMultiples(Balance{Mean: mean})
		sum, of := 0.0, 0.0
		for j, share := range got {
			sum += share
			of += share * compounding()[j]
		}
		if math.Abs(sum-1) > 1e-9 || math.Abs(1-got[0]-some) > 1e-9 || math.Abs(of*ethPerUnit/mean-1) > 1e-6 {
			t.Errorf("%g ETH: shares %v sum to %g, a mean of %g ETH, %g of the nodes compound, want %g", mean, got, sum, of*ethPerUnit, 1-got[0], some)
		}
	}
}

// A custody group count is taken for as many validators as hold 32 ETH each where few compound, and
// for fewer where the mean balance is high.
func TestCustodyGoesByTheMeanBalance(t *testing.T) {
	mean := func(balance float64) float64 {
		p := mainnetParams()
		p.Balance.Mean = balance
		m := NewModel(p, DefaultPrior(), nil)
		sum, of := 0.0, 0.0
		for i, l := range m.custodyTable(60, "lighthouse").logs {
			p := math.Exp(l + m.logPrior[i])
			sum, of = sum+p, of+p*float64(m.grid[i])
		}
		return of / sum
	}
	if low, high := mean(33), mean(53.6); high >= low {
		t.Errorf("60 custody groups: %.1f validators where the mean balance is 33 ETH, %.1f where it is 53.6", low, high)
	}
}
