package estimate

import (
	"math"

	"github.com/chainbound/valtrack/internal/eth2"
)

// FitSpurious learns, by client, how many short-lived subnets an observation shows
// that no duty explains: from the nodes whose custody group count says that they never
// had a validator, weighted by the model's probability of that. The probability depends on
// the rate, so it iterates until the rates converge. With few nodes the result is close to
// the model's own rates.
func FitSpurious(m *Model, nodes []*Evidence) Spurious {
	const rounds, converged = 30, 0.01
	m = m.central()
	var none []*Evidence
	for _, n := range nodes {
		if n.withoutValidators() {
			none = append(none, n)
		}
	}
	out := Spurious{}
	for range rounds {
		current := m.withSpurious(out)
		next, moved := m.spuriousRates(current, none), 0.0
		for kind, rate := range next {
			moved = max(moved, math.Abs(rate/current.spuriousOf(kind)-1))
		}
		if out = next; moved < converged {
			break
		}
	}
	return out
}

// withSpurious is the model with other rates, where there are any.
func (m *Model) withSpurious(s Spurious) *Model {
	if len(s) == 0 {
		return m
	}
	return m.with(m.params, s)
}

// central is the model without what is uncertain of the aggregators' share and of rates. To a fit it
// makes next to no difference: with a tenth uncertain a quarter of a percent of 3000
// nodes go from one band to the next, and the spurious rate is the same.
func (m *Model) central() *Model {
	p := m.params
	p.PAggUncertainty = 0
	out := m.with(p, m.spurious)
	out.certain = true
	return out
}

// with is a model with the same validators and prior.
func (m *Model) with(p Params, s Spurious) *Model {
	return &Model{params: p, spurious: s, versions: m.versions, clients: m.clients, assumed: m.assumed, former: m.former, certain: m.certain, grid: m.grid, logPrior: m.logPrior, units: m.units, multiples: m.multiples, spaces: m.spaces}
}

// spuriousRates is one round: the rates of nodes as far as current takes them for nodes
// without validators, with m's own rates as so many observations more.
func (m *Model) spuriousRates(current *Model, nodes []*Evidence) Spurious {
	const (
		strength    = 200
		least, most = 0.0002, 0.3
	)
	filled, observed := map[eth2.ClientKind]float64{}, map[eth2.ClientKind]float64{}
	s := m.borrow()
	defer m.spaces.Put(s)
	for _, n := range nodes {
		w, _ := current.posterior(n, s)
		without := w[0]
		for _, c := range n.pools[0].cells {
			filled[n.kind] += without * float64(c.on)
			observed[n.kind] += without * float64(c.on+c.off) / m.params.perObservation(c.cell)
		}
	}
	out := Spurious{}
	for kind, n := range observed {
		rate := (filled[kind] + strength*m.spuriousOf(kind)) / (n + strength)
		out[kind] = min(max(rate, least), most)
	}
	return out
}

// withoutValidators reports whether a node of a known client says by its custody
// groups that it has none. For a client that omits external validators it proves nothing.
func (e *Evidence) withoutValidators() bool {
	e.sum()
	return len(e.pools) == 1 && !OmitsExternalValidators(e.kind) && e.custody.withoutHistory() && e.sync.on == 0
}
