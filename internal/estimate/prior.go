package estimate

import (
	"math"

	"github.com/chainbound/valtrack/internal/eth2"
)

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
	p, _ := fitPrior(m, nodes)
	return p
}

// fitPrior fits the prior, and with it the share of nodes without validators that say 8, as
// nodes with one to eight do.
func fitPrior(m *Model, nodes []*Evidence) (p Prior, former float64) {
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
	fit := priorFit{start: start, likely: make([][]float64, 0, len(nodes)), former: m.former}
	for _, n := range nodes {
		l := m.bandLikelihood(bandOf, start, n)
		if l == nil {
			continue
		}
		i := len(fit.likely)
		fit.likely = append(fit.likely, l)
		switch n.custody.reading(n.kind) {
		case 0:
		case eth2.ValidatorCustodyRequirement:
			fit.says8 = append(fit.says8, i)
		default:
			fit.others = append(fit.others, i)
		}
	}
	share, former := fit.mean()
	for b := range bands {
		bands[b].Share = share[b]
	}
	return Prior{bands}, former
}

// formers are what share of the nodes without validators may say 8, and how likely each is before
// a crawl: 5 % have a count of earlier, and 8 is the most frequent one.
var formers = [...]struct{ share, prior float64 }{{0.004, 0.55}, {0.008, 0.92}, {0.016, 0.96}, {0.032, 0.62}, {0.064, 0.25}, {0.128, 0.06}}

// priorFit is what a prior is fitted to.
type priorFit struct {
	start         []float64   // shares of the bands
	likely        [][]float64 // by node and band
	former        float64     // that likely is under
	says8, others []int       // the nodes that say 8, and those that say another count
}

// mean returns the shares of the bands, and of the nodes without validators that say 8: the
// mean over all that the latter may be. A crawl hardly tells them from nodes with one validator
// that showed nothing yet, and what is likeliest alone would exclude one of them.
func (f *priorFit) mean() (share []float64, former float64) {
	const rounds = fitRounds / 4 // from the fit of the one before
	fits, logs := make([][]float64, len(formers)), make([]float64, len(formers))
	current := f.start
	for range fitRounds {
		current = refit(current, f.start, f.likely)
	}
	for k, x := range formers {
		f.assume(x.share)
		for range rounds {
			current = refit(current, f.start, f.likely)
		}
		fits[k], logs[k] = current, f.logLikelihood(current)+math.Log(x.prior)
	}
	share = make([]float64, len(f.start))
	for k, w := range normalised(logs) {
		former += w * formers[k].share
		for b, x := range fits[k] {
			share[b] += w * x
		}
	}
	return share, former
}

// assume changes the share of the nodes without validators that say 8. Nothing else explains an 8
// without validators.
func (f *priorFit) assume(former float64) {
	for _, i := range f.says8 {
		f.likely[i][0] *= former / f.former
	}
	for _, i := range f.others {
		f.likely[i][0] *= (1 - former) / (1 - f.former)
	}
	f.former = former
}

func (f *priorFit) logLikelihood(share []float64) (sum float64) {
	for b, s := range f.start {
		if s > 0 {
			sum += priorStrength * s * math.Log(share[b])
		}
	}
	for _, l := range f.likely {
		p := 0.0
		for b := range share {
			p += share[b] * l[b]
		}
		sum += math.Log(math.Max(p, 1e-300))
	}
	return sum
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
// is the same for all. It is nil for a node that shows every duty, or joins and leaves as it likes,
// by how little its counts vary: its number is in doubt. By the prior alone that may seem so of any
// large node, from which the prior is still to learn how many there are.
func (m *Model) bandLikelihood(bandOf []int, start []float64, n *Evidence) []float64 {
	const likely, surely = 0.5, 5 // probability, and logarithm of the odds
	s := m.borrow()
	defer m.spaces.Put(s)
	w, h := m.posterior(n, s)
	if h.total[everyDuty] > likely && n.everyDuty(m.params) > surely {
		return nil
	}
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
