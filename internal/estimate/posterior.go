package estimate

import (
	"iter"
	"math"
	"slices"
)

// Trust is how far the attestation subnets of a client version are trusted, most
// first. Calibrate finds it.
type Trust uint8

// Levels of trust.
const (
	// TrustAll uses everything.
	TrustAll Trust = iota
	// TrustWatched leaves out snapshots, which depend on how long a client stays on a
	// duty's subnet.
	TrustWatched
	// TrustWide treats the rate of subscriptions as known only to a factor of two.
	TrustWide
	// TrustCustody leaves out attestation subnets: custody groups and sync committees
	// remain.
	TrustCustody
)

// Estimate is the number of validators behind one node, and their stake.
type Estimate struct {
	Median    int
	Low, High float64 // the 90 % interval
	Mean      float64 // what totals sum
	Variance  float64
	// Shared is the standard deviation when all nodes of a version have the same error
	// (TrustWide), else 0: in a sum, standard deviations add up instead of variances.
	Shared float64
	// PValidator is the probability of at least one.
	PValidator float64
	Stake      Stake
	Flags      Flags
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
	w := m.posterior(e, s)
	out := Estimate{PValidator: 1 - w[0]}
	out.Median, out.Low, out.High = quantiles(m.grid, w, 1)
	square := 0.0
	for i, p := range w {
		v := float64(m.grid[i])
		out.Mean += p * v
		square += p * v * v
	}
	out.Variance = math.Max(0, square-out.Mean*out.Mean)
	if e.trust >= TrustWide {
		out.Shared = math.Sqrt(out.Variance)
	}
	out.Stake = m.stake(e, w, s)
	return out
}

// posterior are the weights of the grid's points; they sum to 1. A client that is not
// known is a mixture of those that it can be, weighted by their shares alone: what the
// windows derive from a log are different data, whose likelihoods cannot be compared. They are
// in s.
func (m *Model) posterior(e *Evidence, s *space) []float64 {
	e.sum()
	switch len(e.pools) {
	case 0:
		return m.posteriorOf(e, pools{}, s)
	case 1:
		return m.posteriorOf(e, e.pools[0], s)
	}
	total := sized(&s.mixture, len(m.grid))
	clear(total)
	for _, p := range e.pools {
		for i, w := range m.posteriorOf(e, p, s) {
			total[i] += p.share * w
		}
	}
	return total
}

// posteriorOf takes the client for the one with the pools' window, and what is uncertain
// of the aggregators' share over all that it can be.
func (m *Model) posteriorOf(e *Evidence, p pools, s *space) []float64 {
	w := sized(&s.weights, len(m.grid))
	copy(w, m.logPrior)
	m.addSync(w, e.sync)
	if r := e.custody.reading(e.kind); r > 0 {
		for i, l := range m.custodyTable(r, e.kind) {
			w[i] += l
		}
	}
	factors := m.factors(e.trust)
	if len(p.cells) == 0 {
		factors = factors[:1] // the share of what is not there
	}
	choice := e.fullByDuties() && e.fullness.mostlyFull()
	terms := make([]term, len(factors), len(factors)+1)
	highest, most := blockMaxima(w), math.Inf(-1)
	least := sized(&s.least, len(highest))
	for k, f := range factors {
		terms[k] = m.term(e, p, f)
		most = math.Max(most, terms[k].reach(w, highest, least))
	}
	if choice {
		terms = append(terms, term{logWeight: choiceWeight(factors)})
		most = math.Max(most, terms[len(factors)].reach(w, highest, least))
	}
	logs := sized(&s.logs, len(terms)*len(w))
	for k := range terms {
		terms[k].logs = logs[k*len(w):][:len(w)]
		most = math.Max(most, terms[k].fill(w, most))
	}
	normalise(w, terms, most)
	return w
}

// shareAllAttnets is the assumed share of nodes that keep all attestation subnets by choice
// and do not say so, of the clients whose duties can fill them all for epochs. Such a node
// shows every subnet, however many validators it has.
const shareAllAttnets = 0.01

// choiceWeight is the logarithm of that explanation's weight next to the factors'.
func choiceWeight(factors []factor) float64 {
	sum := 0.0
	for _, f := range factors {
		sum += math.Exp(f.logWeight)
	}
	return math.Log(sum * shareAllAttnets / (1 - shareAllAttnets))
}

// shareAllSyncnets is the assumed share of nodes that keep all four sync committee subnets
// by choice, without seats.
const shareAllSyncnets = 0.01

// addSync adds the logarithms of the likelihood of sync committee subnets. All four on in
// every period have two explanations, seats and choice.
func (m *Model) addSync(w []float64, c counts) {
	if c.off > 0 || c.on == 0 {
		m.syncTable().add(w, 0, c)
		return
	}
	on := float64(c.on)
	for i, l := range m.syncTable().on[:len(w)] {
		w[i] += math.Log(shareAllSyncnets + (1-shareAllSyncnets)*math.Exp(on*l))
	}
}

// space is the memory of one calculation, reused by the next one: allocating it would
// take a third of the time.
type space struct{ weights, mixture, least, logs, stakes []float64 }

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

// factor is a value that the rate of subscriptions can have, relative to what the
// parameters say, and the logarithm of its weight.
type factor struct{ value, logWeight float64 }

func (m *Model) factors(t Trust) []factor {
	var out []factor
	switch unc := m.params.PAggUncertainty; {
	case t >= TrustWide:
		for _, f := range []float64{0.5, math.Sqrt2 / 2, 1, math.Sqrt2, 2} {
			out = append(out, factor{f, 0})
		}
	case unc > 0:
		for _, z := range []float64{-1.5, -0.75, 0, 0.75, 1.5} {
			out = append(out, factor{math.Max(0.01, 1+z*unc), -z * z / 2})
		}
	default:
		out = append(out, factor{1, 0})
	}
	return out
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
	logWeight float64
	tables    []*table
	cells     []pool
	bounds    []float64 // by block: of the logarithms of the term and all else together
	logs      []float64 // those themselves, set in the blocks that may count
}

func (m *Model) term(e *Evidence, p pools, f factor) term {
	t := term{logWeight: f.logWeight, tables: make([]*table, len(p.cells)), cells: p.cells}
	spurious := m.spuriousOf(e.kind)
	for j, c := range p.cells {
		t.tables[j] = m.cellTable(tableKey{c.cell, spurious, f.value})
	}
	return t
}

func blockMaxima(logs []float64) []float64 {
	out := make([]float64, 0, len(logs)/block+1)
	for b := range slices.Chunk(logs, block) {
		out = append(out, slices.Max(b))
	}
	return out
}

// reach bounds the blocks, of which all else has the logarithms rest and the maxima
// highest. The greatest logarithm is not below what it gives. least is for its use.
func (t *term) reach(rest, highest, least []float64) float64 {
	t.bounds = slices.Clone(highest)
	for b := range least {
		least[b] = rest[b*block]
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
func (t *term) fill(rest []float64, most float64) float64 {
	for from, l := range t.blocks(t.logs, most) {
		for i := range l {
			l[i] = t.logWeight + rest[from+i]
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
func normalise(w []float64, terms []term, most float64) {
	clear(w)
	sum := 0.0
	for _, t := range terms {
		for from, l := range t.blocks(t.logs, most) {
			for i, x := range l {
				if x -= most; x > negligible {
					x = math.Exp(x)
					w[from+i] += x
					sum += x
				}
			}
		}
	}
	for i := range w {
		w[i] /= sum
	}
}
