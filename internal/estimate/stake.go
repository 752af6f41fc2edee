package estimate

import "math"

const (
	ethPerUnit = 32
	// freelyCompounding is up to how many validators a node is as likely as
	// shareCompounding to hold much more than 32 ETH in each. Above, ever less: else the
	// nodes together would hold a multiple of what is staked.
	freelyCompounding = 8
)

// stakeUnits are the stakes that the model distinguishes, in units of 32 ETH, and the place
// among them of each number of validators with each multiple.
type stakeUnits struct {
	multiples []float64 // 1, then stakes()
	grid      []int
	index     []int32 // by point of the validators' grid, then multiple
}

func newStakeUnits(validators []int) stakeUnits {
	u := stakeUnits{multiples: append([]float64{1}, stakes()...)}
	most := u.multiples[len(u.multiples)-1]
	u.grid = newGrid(int(float64(validators[len(validators)-1]) * most))
	n := len(u.multiples)
	u.index = make([]int32, len(validators)*n)
	for j, multiple := range u.multiples {
		next := 0
		for i, v := range validators {
			for next+1 < len(u.grid) && float64(u.grid[next+1]) <= float64(v)*multiple {
				next++
			}
			u.index[i*n+j] = int32(next)
		}
	}
	return u
}

// stake spreads the weights of validators over what each of them can hold, given the
// custody group count, which counts stake and not validators.
func (m *Model) stake(e *Evidence, w []float64, in *space) (s Stake) {
	const negligible = 1e-6
	u := m.units
	n := len(u.multiples)
	few, all := m.shareTable(e.custody.reading(e.kind), e.kind), m.shareTable(0, e.kind)
	spread := sized(&in.stakes, len(u.grid))
	clear(spread)
	total := 0.0
	for i, p := range w {
		if p < negligible {
			continue
		}
		total += p
		shares, mean := all, 0.0
		if i*n < len(few) {
			shares = few
		}
		at := u.index[i*n:][:n]
		for j, share := range shares[i*n:][:n] {
			spread[at[j]] += p * share
			mean += share * u.multiples[j]
		}
		s.Mean += p * mean * float64(m.grid[i])
	}
	median, low, high := quantiles(u.grid, spread, total)
	s.Median, s.Low, s.High = ethPerUnit*float64(median), ethPerUnit*low, ethPerUnit*high
	s.Mean *= ethPerUnit / total
	return s
}

// shares are how likely each number of validators holds each multiple of 32 ETH, given
// a reading of the custody group count: by point of the grid, then multiple. A reading
// is informative only for numbers below supernode, and only those are there.
func (u stakeUnits) shares(grid []int, reading int, c custodyShares) []float64 {
	if reading > 0 {
		grid = grid[:min(supernode, len(grid))] // the grid begins with every number
	}
	out := make([]float64, 0, len(grid)*len(u.multiples))
	for _, v := range grid {
		compounding := shareCompounding * math.Min(1, freelyCompounding/math.Max(1, float64(v)))
		sum := 0.0
		for j, multiple := range u.multiples {
			share := compounding / float64(len(u.multiples)-1)
			if j == 0 {
				share = 1 - compounding
			}
			if reading > 0 {
				share *= c.chance(reading, int(float64(v)*multiple)) + unlikely
			}
			out, sum = append(out, share), sum+share
		}
		for j := len(out) - len(u.multiples); j < len(out); j++ {
			out[j] /= sum
		}
	}
	return out
}
