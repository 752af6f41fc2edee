package estimate

import "math"

const (
	ethPerUnit = 32
	// freelyCompounding is up to how many validators a node is as likely as
	// shareCompounding to hold much more than 32 ETH in each. Above, ever less: else the
	// nodes together would hold a multiple of what is staked.
	freelyCompounding = 8
)

// stakeUnits are the stakes that are told apart, in units of 32 ETH, and where among
// them each number of validators comes to lie with each multiple.
type stakeUnits struct {
	multiples []float64 // 1, then stakes()
	grid      []int
	index     [][]int32 // by multiple, then point of the validators' grid
}

func newStakeUnits(validators []int) stakeUnits {
	u := stakeUnits{multiples: append([]float64{1}, stakes()...)}
	most := u.multiples[len(u.multiples)-1]
	u.grid = newGrid(int(float64(validators[len(validators)-1]) * most))
	for _, multiple := range u.multiples {
		at, next := make([]int32, len(validators)), 0
		for i, v := range validators {
			for next+1 < len(u.grid) && float64(u.grid[next+1]) <= float64(v)*multiple {
				next++
			}
			at[i] = int32(next)
		}
		u.index = append(u.index, at)
	}
	return u
}

// stake spreads the weights of validators over what each of them can hold, given the
// custody group count, which counts stake and not validators.
func (m *Model) stake(e *Evidence, w []float64) (s Stake) {
	const negligible = 1e-6
	u := m.units
	reading, under := e.custody.reading(e.kind), underReporting(e.kind)
	spread := make([]float64, len(u.grid))
	total, shares := 0.0, make([]float64, len(u.multiples))
	for i, p := range w {
		if p < negligible {
			continue
		}
		total += p
		sum := u.shares(shares, m.grid[i], reading, under)
		for j, share := range shares {
			p := p * share / sum
			spread[u.index[j][i]] += p
			s.Mean += p * float64(m.grid[i]) * u.multiples[j]
		}
	}
	median, low, high := quantiles(u.grid, spread, total)
	s.Median, s.Low, s.High = ethPerUnit*float64(median), ethPerUnit*low, ethPerUnit*high
	s.Mean *= ethPerUnit / total
	return s
}

// shares sets how likely v validators hold each multiple of 32 ETH, and gives the sum.
func (u stakeUnits) shares(shares []float64, v, reading int, under float64) (sum float64) {
	compounding := shareCompounding * math.Min(1, freelyCompounding/math.Max(1, float64(v)))
	for j, multiple := range u.multiples {
		shares[j] = compounding / float64(len(u.multiples)-1)
		if j == 0 {
			shares[j] = 1 - compounding
		}
		if reading > 0 && v < supernode {
			shares[j] *= custodyChance(reading, required(int(float64(v)*multiple)), under) + unlikely
		}
		sum += shares[j]
	}
	return sum
}
