package estimate

import (
	"iter"
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Trust says whether a client version shows duties as the model assumes. The values are
// stored.
type Trust uint8

const (
	// TrustAll is that of one which does, as far as is known.
	TrustAll Trust = 0
	// TrustWide is that of one which does not, or is not known to within a tenth: the estimates
	// are made with what was fitted.
	TrustWide Trust = 2
)

// Estimate is the number of validators behind one node, and their stake.
type Estimate struct {
	Median    int
	Low, High float64 // the 90 % interval
	Mean      float64 // what totals sum
	Variance  float64
	// Shared is the part of the standard deviation that all nodes of a client version have
	// in common: in a sum over them it adds up, instead of the variance.
	Shared float64
	// Hidden is how many validators more than Mean a node with FlagSilent has on average if it
	// has those that its custody group count requires, and shows none of their duties.
	Hidden float64
	// PValidator is the probability of at least one.
	PValidator float64
	Flags      Flags
	Stake      Stake
}

// Stake is what the validators hold, in ETH. The zero value is not known.
type Stake struct {
	Known                   bool
	Median, Low, High, Mean float64
}

// Estimate summarises the posterior of a peer's evidence.
func (m *Model) Estimate(e *Evidence) Estimate {
	s := m.borrow()
	defer m.spaces.Put(s)
	w, h := m.posterior(e, s)
	out := Estimate{Flags: m.flags(e, w, h)}
	conflict := m.custodyConflict(e, w)
	if conflict {
		w = m.eachSignal(e, slices.Clone(w), s)
	}
	if e.contradicts {
		out.Flags |= FlagConflict
	}
	out.PValidator = 1 - w[0]
	out.Mean = m.mean(w)
	out.Variance = m.varianceAround(out.Mean, w)
	if !conflict {
		out.Variance = h.shown(out.Mean, out.Variance)
	}
	out.Shared = math.Min(h.shared(out.Mean), math.Sqrt(out.Variance))
	out.Stake = m.stake(e, w, s)
	out.Median, out.Low, out.High = quantiles(m.grid, w, 1)
	if out.Flags&(FlagSilent|FlagEveryDuty|FlagConflict) != 0 {
		m.leaveOpen(&out, e, slices.Clone(w), s)
	}
	return out
}

// mean is that of the weights, which sum to 1.
func (m *Model) mean(w []float64) (mean float64) {
	for i, p := range w {
		mean += p * float64(m.grid[i])
	}
	return mean
}

// varianceAround is the mean squared distance from a number.
func (m *Model) varianceAround(number float64, w []float64) (sum float64) {
	for i, p := range w {
		off := float64(m.grid[i]) - number
		sum += p * off * off
	}
	return sum
}

// unexplained is the probability from which on a signal that nothing explains is a conflict.
const unexplained = 0.2

// custodyConflict reports whether most likely nothing explains the custody group count.
func (m *Model) custodyConflict(e *Evidence, w []float64) bool {
	reading, sum := e.custody.reading(e.kind), 0.0
	if reading == 0 {
		return false
	}
	for i, u := range m.custodyTable(reading, e.kind).unexplained {
		sum += w[i] * u
	}
	return sum >= unexplained
}

// flags says what is doubtful of a posterior.
func (m *Model) flags(e *Evidence, w []float64, h hypotheses) (f Flags) {
	const (
		possible = 0.05 // probability from which an explanation counts
		expected = 3    // cells that should have been filled
	)
	if h.probability[everyDuty] >= possible {
		f |= FlagEveryDuty
	}
	reading := e.custody.reading(e.kind)
	if m.custodyConflict(e, w) || m.oddSync(e, w) >= unexplained {
		f |= FlagConflict
	}
	if h.probability[silent] >= unexplained {
		f |= FlagSilent
	}
	if reading > eth2.ValidatorCustodyRequirement && len(e.pools) > 0 && w[0]+h.probability[silent] >= 1./2 && m.expected(e.pools[0], reading) >= expected {
		f |= FlagSilent
	}
	if e.saturated() {
		f |= FlagSaturated
	}
	return f
}

// hypotheses are what a posterior says of the explanations of a node's cells.
type hypotheses struct {
	total       [habits]float64 // probability of each
	probability [habits]float64 // of each, with validators
	mean        [habits]float64 // sums of validators times probability
	// silentSquare is the sum of squared validators times probability, of nodes that show none.
	silentSquare float64
	// Sums over the terms of the window of probability and validators, times the deviation of
	// the rate, and the part of that deviation which is the client version's.
	probabilityZ, meanZ, ownRate float64
	// little is the standard deviation of a rate that is too small for terms of its own.
	little float64
}

func (h *hypotheses) add(o hypotheses, share float64) {
	for i := range h.probability {
		h.total[i] += share * o.total[i]
		h.probability[i] += share * o.probability[i]
		h.mean[i] += share * o.mean[i]
	}
	h.silentSquare += share * o.silentSquare
	h.probabilityZ += share * o.probabilityZ
	h.meanZ += share * o.meanZ
	h.ownRate = max(h.ownRate, o.ownRate)
	h.little = max(h.little, o.little)
}

// shown is the variance around the mean without the possibility that the node shows none of its
// duties, given the variance with it. A few nodes in 10,000 that may hide thousands would be most
// of a total's variance, and no normal error: what silent nodes may hide is said beside the total.
func (h *hypotheses) shown(mean, variance float64) float64 {
	const least = 0.05
	p := h.total[silent]
	if p > 1-least {
		return variance
	}
	hidden := h.silentSquare - 2*mean*h.mean[silent] + mean*mean*p
	return max(0, variance-hidden) / (1 - p)
}

// shared is the standard deviation of the mean from what all nodes of a version have in
// common: the error of the rate, and those of the shares of nodes that show every duty, and none.
func (h *hypotheses) shared(mean float64) (sd float64) {
	const (
		logOddsSD    = 0.7 // of each of those shares
		deviationsSD = 0.9 // of Model.deviations
	)
	sd = math.Abs(h.meanZ-mean*h.probabilityZ)/deviationsSD*h.ownRate + h.little*h.mean[byWindow]
	if a, b := h.probability[byWindow], h.probability[everyDuty]; a > 0 && b > 0 {
		sd = math.Hypot(sd, logOddsSD*a*b*(h.mean[byWindow]/a-h.mean[everyDuty]/b)/(a+b))
	}
	if a, b := h.total[byWindow], h.total[silent]; a > 0 && b > 0 {
		sd = math.Hypot(sd, logOddsSD*a*b*(h.mean[byWindow]/a-h.mean[silent]/b)/(a+b))
	}
	return sd
}

// posterior are the weights of the grid's points; they sum to 1. A client that is not
// known is a mixture of those that it can be, weighted by their shares alone: what the
// windows derive from a log are different data, whose likelihoods cannot be compared. They are
// in s.
func (m *Model) posterior(e *Evidence, s *space) ([]float64, hypotheses) {
	e.sum()
	switch len(e.pools) {
	case 0:
		return m.posteriorOf(e, pools{}, s)
	case 1:
		return m.posteriorOf(e, e.pools[0], s)
	}
	total := sized(&s.mixture, len(m.grid))
	clear(total)
	var all hypotheses
	for _, p := range e.pools {
		weights, h := m.posteriorOf(e, p, s)
		for i, w := range weights {
			total[i] += p.share * w
		}
		all.add(h, p.share)
	}
	return total, all
}

// posteriorOf takes the client for the one with the pools' window.
func (m *Model) posteriorOf(e *Evidence, p pools, s *space) ([]float64, hypotheses) {
	w, terms, most := m.weigh(e, p, s)
	h := m.normalise(w, terms, most)
	h.ownRate = m.ownRate(e, p)
	h.little = m.littleRate(e, p)
	return w, h
}

// weigh computes the logarithms of the terms, as far as they may count next to the
// greatest of them, most.
func (m *Model) weigh(e *Evidence, p pools, s *space) (w []float64, terms []term, most float64) {
	w = sized(&s.weights, len(m.grid))
	copy(w, m.logPrior)
	if r := e.custody.reading(e.kind); r > 0 {
		for i, l := range m.custodyTable(r, e.kind).logs {
			w[i] += l
		}
	}
	// A node that shows no duty joins no sync committee subnet for one either.
	unseen := w
	if e.sync.on+e.sync.off > 0 {
		s.unseen = append(s.unseen[:0], w...)
		unseen = s.unseen
		if share, other := syncAlternative(e.sync); share > 0 {
			for i := range unseen {
				unseen[i] += math.Log(share) + other
			}
		}
	}
	m.addSync(w, e.sync)
	terms = []term{{}} // without cells there is nothing to explain
	if len(p.cells) > 0 {
		terms = m.terms(e, p)
	}
	highest := blockMaxima(w)
	most = math.Inf(-1)
	least := sized(&s.least, len(highest))
	for k := range terms {
		t, maxima := &terms[k], highest
		if t.rest = w; t.habit == silent {
			t.rest, maxima = unseen, blockMaxima(unseen)
		}
		most = math.Max(most, t.reach(maxima, least))
	}
	logs := sized(&s.logs, len(terms)*len(w))
	for k := range terms {
		terms[k].logs = logs[k*len(w):][:len(w)]
		most = math.Max(most, terms[k].fill(most))
	}
	return w, terms, most
}

// shareAllAttnets is the assumed share of nodes that keep all attestation subnets by choice
// and do not say so, of the clients whose duties can fill them all for epochs. Such a node
// shows every subnet, however many validators it has.
const shareAllAttnets = 0.01

// space is the memory of one calculation, reused by the next one: allocating it would
// take a third of the time.
type space struct{ weights, unseen, mixture, least, logs, stakes []float64 }

func (m *Model) borrow() *space {
	if s, ok := m.spaces.Get().(*space); ok {
		return s
	}
	return &space{}
}

// sized resizes a slice; its contents are undefined.
func sized(s *[]float64, n int) []float64 {
	*s = slices.Grow((*s)[:0], n)[:n]
	return *s
}

// block is how many points of the grid are left out together, negligible below which
// logarithm, next to the greatest: all that is left out is some 1e-12 of the sum.
const (
	block      = 16
	negligible = -36
)

// term is the likelihood of a pool's cells at one value of the rate of subscriptions:
// the sum over tables of on and off times their logarithms. on grows with the number of
// validators and off falls, which bounds the term in a block by the block's ends.
type term struct {
	habit     habit
	z         float64 // deviation of the rate
	logWeight float64
	tables    []*table
	cells     []pool
	rest      []float64 // the logarithms of all else
	bounds    []float64 // by block: of the logarithms of the term and all else together
	logs      []float64 // those themselves, set in the blocks that may count
}

func blockMaxima(logs []float64) []float64 {
	out := make([]float64, 0, len(logs)/block+1)
	for b := range slices.Chunk(logs, block) {
		out = append(out, slices.Max(b))
	}
	return out
}

// reach bounds the blocks, of which rest has the maxima highest. The greatest logarithm is not
// below what it gives. least is for its use.
func (t *term) reach(highest, least []float64) float64 {
	t.bounds = slices.Clone(highest)
	for b := range least {
		least[b] = t.rest[b*block]
	}
	for j, c := range t.cells {
		on, off := float64(c.on), float64(c.off)
		for b, ends := range t.tables[j].ends {
			least[b] += on*ends.firstOn + off*ends.firstOff
			t.bounds[b] += on*ends.lastOn + off*ends.firstOff
		}
	}
	for b := range t.bounds {
		t.bounds[b] += t.logWeight
	}
	return slices.Max(least) + t.logWeight
}

// fill makes the logarithms that may count next to most, and gives the greatest.
func (t *term) fill(most float64) float64 {
	for from, l := range t.blocks(t.logs, most) {
		for i := range l {
			l[i] = t.logWeight + t.rest[from+i]
		}
		for j, c := range t.cells {
			t.tables[j].add(l, from, c.counts)
		}
		most = math.Max(most, slices.Max(l))
	}
	return most
}

// blocks are the parts of list, and where they begin, that may count next to most.
func (t *term) blocks(list []float64, most float64) iter.Seq2[int, []float64] {
	return func(yield func(int, []float64) bool) {
		for b, bound := range t.bounds {
			from := b * block
			if bound-most > negligible && !yield(from, list[from:min(from+block, len(list))]) {
				return
			}
		}
	}
}

// normalise sets the weights that the terms' logarithms make together, whose sum is 1.
func (m *Model) normalise(w []float64, terms []term, most float64) (h hypotheses) {
	clear(w)
	sum := 0.0
	for _, t := range terms {
		probability, mean, square, none := 0.0, 0.0, 0.0, 0.0
		for from, l := range t.blocks(t.logs, most) {
			for i, x := range l {
				if x -= most; x > negligible {
					x = math.Exp(x)
					w[from+i] += x
					probability += x
					v := float64(m.grid[from+i])
					mean += x * v
					square += x * v * v
				}
			}
			if from == 0 && l[0]-most > negligible {
				none = math.Exp(l[0] - most)
			}
		}
		sum += probability
		if t.habit == byWindow {
			h.probabilityZ += t.z * probability
			h.meanZ += t.z * mean
		}
		if t.habit < habits {
			h.total[t.habit] += probability
			h.probability[t.habit] += probability - none
			h.mean[t.habit] += mean
		}
		if t.habit == silent {
			h.silentSquare += square
		}
	}
	for i := range w {
		w[i] /= sum
	}
	h.scale(1 / sum)
	return h
}

func (h *hypotheses) scale(by float64) {
	for i := range h.probability {
		h.total[i] *= by
		h.probability[i] *= by
		h.mean[i] *= by
	}
	h.silentSquare *= by
	h.probabilityZ *= by
	h.meanZ *= by
}
