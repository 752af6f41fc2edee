package estimate

import "math"

const ethPerUnit = 32

// stakeUnits are the stakes that the model distinguishes, in units of 32 ETH, and the place
// among them of each number of validators with each multiple.
type stakeUnits struct {
	multiples []float64 // 1, then stakes()
	prior     []float64 // how likely a node's validators hold each multiple
	mean      float64   // of the prior
	grid      []int
	index     []int32 // by point of the validators' grid, then multiple
}

func newStakeUnits(validators []int, b Balance) stakeUnits {
	if !b.Known() {
		return stakeUnits{}
	}
	u := stakeUnits{multiples: compounding()}
	u.prior = tilted(u.multiples, sharesOfMultiples(b), b.Mean/ethPerUnit)
	for j, share := range u.prior {
		u.mean += share * u.multiples[j]
	}
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

// compounding are the multiples of 32 ETH that a node's validators may hold each.
func compounding() []float64 { return append([]float64{1}, stakes()...) }

// sharesOfMultiples are how likely a node's validators hold each of the multiples, for its custody
// group count. Those assumed, unless the mean balance is so far above 32 ETH that more nodes must
// have compounding validators: then as many as have the excess if theirs hold 64 ETH on average, up
// to half of them, who then hold more.
func sharesOfMultiples(b Balance) []float64 {
	multiples := compounding()
	shares := make([]float64, len(multiples))
	shares[0] = 1 - shareCompounding
	for j := range shares[1:] {
		shares[1+j] = shareCompounding / float64(len(multiples)-1)
	}
	excess := b.Mean/ethPerUnit - 1
	if excess <= shareCompounding {
		return shares
	}
	some := min(excess, mostCompounding)
	held := tilted(multiples[1:], shares[1:], 1+excess/some)
	shares[0] = 1 - some
	for j, share := range held {
		shares[j+1] = some * share
	}
	return shares
}

// tilted are the shares whose mean multiple is the given one and that are closest to those assumed.
// A mean below the least multiple is taken for it.
func tilted(multiples, assumed []float64, mean float64) []float64 {
	shares := make([]float64, len(multiples))
	tilt := func(by float64) (got float64) {
		sum := 0.0
		for j, x := range multiples {
			shares[j] = assumed[j] * math.Exp(by*(x-multiples[0]))
			sum += shares[j]
		}
		for j := range shares {
			shares[j] /= sum
			got += shares[j] * multiples[j]
		}
		return got
	}
	low, high := -60.0, 1.0
	for range 60 {
		if mid := (low + high) / 2; tilt(mid) < mean {
			low = mid
		} else {
			high = mid
		}
	}
	tilt(low)
	return shares
}

// stake spreads the weights of validators over what each of them can hold, given the mean
// balance and the custody group count, which counts stake and not validators. Without a
// balance it is not known.
func (m *Model) stake(e *Evidence, w []float64, in *space) (s Stake) {
	const negligible = 1e-6
	u := m.units
	if len(u.multiples) == 0 {
		return s
	}
	s.Known = true
	perUnit := min(ethPerUnit, m.params.Balance.Mean)
	n := len(u.multiples)
	few, all := m.shareTable(e.custody.reading(e.kind), e.kind), m.shareTable(0, e.kind)
	spread := sized(&in.stakes, len(u.grid))
	clear(spread)
	total := 0.0
	for i, p := range w {
		if p < negligible { // but all of them together are some of the mean
			s.Mean += p * u.mean * float64(m.grid[i])
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
	s.Median, s.Low, s.High = perUnit*float64(median), perUnit*low, perUnit*high
	s.Mean *= perUnit
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
		sum := 0.0
		for j, multiple := range u.multiples {
			share := u.prior[j]
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
