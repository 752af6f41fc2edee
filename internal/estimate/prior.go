package estimate

import "math"

// Prior is the distribution of validators per node: bands in ascending order without
// gaps from 0 on, log-uniform inside. What lies above a network's active validators
// is left out.
type Prior struct {
	Bands []Band
}

// Band is a range of validators, both ends inclusive, and the share of nodes in it.
type Band struct {
	Low, High int
	Share     float64
}

// DefaultPrior is from the census of custody group counts of June 2026: 31.7 % say 4,
// 6.1 % 0, 22.6 % 8, 14.8 % another number, 24.8 % 128, of which a quarter are taken
// for nodes that keep all columns by choice. It does not distinguish what is above 128:
// there, shares fall so that the mean, some 107, times some 8,500 reachable nodes is
// about mainnet's validators, with hardly any node above the largest one known, of
// 19,263 (Heimbach et al. 2024).
func DefaultPrior() Prior {
	return Prior{[]Band{
		{0, 0, 0.45}, {1, 8, 0.23}, {9, 127, 0.13}, {128, 399, 0.15}, {400, 1199, 0.03},
		{1200, 3999, 0.008}, {4000, 19_999, 0.0019}, {20_000, maxValidators, 0.0001},
	}}
}

// fittedBands are those that FitPrior gives shares to.
func fittedBands() []Band {
	return []Band{
		{0, 0, 0}, {1, 1, 0}, {2, 8, 0}, {9, 31, 0}, {32, 127, 0}, {128, 399, 0},
		{400, 1199, 0}, {1200, 3999, 0}, {4000, 9999, 0}, {10_000, 19_999, 0}, {20_000, 39_999, 0},
		{40_000, maxValidators, 0},
	}
}

// weights of the grid's points; they sum to 1.
func (p Prior) weights(grid []int) []float64 {
	w := make([]float64, len(grid))
	total := 0.0
	for _, b := range p.Bands {
		sum := 0.0
		for i, v := range grid {
			if v >= b.Low && v <= b.High {
				w[i] = width(grid, i) / math.Max(1, float64(v))
				sum += w[i]
			}
		}
		if sum == 0 {
			continue
		}
		total += b.Share
		for i, v := range grid {
			if v >= b.Low && v <= b.High {
				w[i] *= b.Share / sum
			}
		}
	}
	for i := range w {
		w[i] /= total
	}
	return w
}

func width(grid []int, i int) float64 {
	low, high := cellOf(grid, i)
	return math.Max(1, high-low)
}

const (
	// priorStrength is how many nodes the prior that a fit starts from counts for.
	priorStrength = 20
	// fitRounds is far past where the shares of a crawl have converged.
	fitRounds = 200
)

// FitPrior returns the prior under which the nodes' evidence is most likely, by
// expectation maximisation over the shares of the bands: empirical Bayes, with the
// model's own prior as so many nodes more. With few nodes the result is close to m's own prior.
func FitPrior(m *Model, nodes []*Evidence) Prior {
	m = m.central()
	bands := fittedBands()
	start := make([]float64, len(bands))
	bandOf := make([]int, len(m.grid)) // by point
	for i, b := 0, 0; i < len(m.grid); i++ {
		for b < len(bands)-1 && m.grid[i] > bands[b].High {
			b++
		}
		bandOf[i] = b
		start[b] += math.Exp(m.logPrior[i])
	}
	likely := make([][]float64, 0, len(nodes))
	for _, n := range nodes {
		likely = append(likely, m.bandLikelihood(bandOf, start, n))
	}
	share := append([]float64(nil), start...)
	for range fitRounds {
		share = refit(share, start, likely)
	}
	for b := range bands {
		bands[b].Share = share[b]
	}
	return Prior{bands}
}

// refit is one round: the bands' shares are the mean of the nodes' posteriors.
func refit(share, start []float64, likely [][]float64) []float64 {
	next := make([]float64, len(share))
	for b := range share {
		next[b] = priorStrength * start[b]
	}
	for _, l := range likely {
		sum := 0.0
		for b := range share {
			sum += share[b] * l[b]
		}
		for b := range share {
			next[b] += share[b] * l[b] / sum
		}
	}
	for b := range next {
		next[b] /= priorStrength + float64(len(likely))
	}
	return next
}

// bandLikelihood is how likely a node's evidence is in each band, up to a factor that
// is the same for all.
func (m *Model) bandLikelihood(bandOf []int, start []float64, n *Evidence) []float64 {
	s := m.borrow()
	defer m.spaces.Put(s)
	w, _ := m.posterior(n, s)
	out := make([]float64, len(start))
	for i, b := range bandOf {
		out[b] += w[i]
	}
	for b := range out {
		if start[b] > 0 {
			out[b] /= start[b]
		}
	}
	return out
}
