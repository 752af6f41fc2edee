package main

import (
	"math"
	"math/rand/v2"
)

// population is where nodes are drawn from. Its shares are assumptions, which every
// seed varies by up to half.
type population struct {
	rand     *rand.Rand
	network  network
	personas []persona
	shares   custodyShares
}

// custodyShares are of nodes whose custody group count is not what they need.
type custodyShares struct {
	supernode, semi, stale, under, nimbusExternal, compounding float64
}

func newPopulation(seed uint64, net network) *population {
	r := rand.New(rand.NewPCG(seed, 0x5eed))
	vary := func(x float64) float64 { return x * (0.5 + r.Float64()) }
	p := &population{rand: r, network: net, personas: personas()}
	for i := range p.personas {
		p.personas[i].weight = vary(p.personas[i].weight)
	}
	p.shares = custodyShares{vary(0.08), vary(0.01), vary(0.05), vary(0.03), vary(0.40), vary(0.15)}
	return p
}

// persona draws a client.
func (p *population) persona() persona {
	total := 0.0
	for _, c := range p.personas {
		total += c.weight
	}
	at := p.rand.Float64() * total
	for _, c := range p.personas {
		if at -= c.weight; at < 0 {
			return c
		}
	}
	return p.personas[0]
}

// mostValidators is the largest node that is drawn.
const mostValidators = 25_000

// validators draws a node's number, near the census: 45 % have none, 23 % up to 8,
// 13 % up to 127, the rest more, log-uniform in each.
func (p *population) validators() int {
	logUniform := func(low, high float64) int {
		return int(math.Floor(low * math.Exp(p.rand.Float64()*math.Log((high+1)/low))))
	}
	switch u := p.rand.Float64(); {
	case u < 0.45:
		return 0
	case u < 0.68:
		return logUniform(1, 8)
	case u < 0.81:
		return logUniform(9, 127)
	}
	return logUniform(128, mostValidators)
}

// custody draws a node's custody group count (fulu/validator.md,
// get_validators_custody_requirement, and what clients make of it).
func (p *population) custody(n *node) uint64 {
	r, s := p.rand, p.shares
	if n.agent == "nimbus" && n.validators > 0 && r.Float64() < s.nimbusExternal {
		return 4
	}
	required := 4
	if n.validators > 0 {
		stake := n.validators
		if r.Float64() < s.compounding {
			stake = int(float64(stake) * []float64{1.5, 2, 3, 4, 6, 8, 16, 32, 64}[r.IntN(9)])
		}
		required = min(max(stake, 8), 128)
	}
	switch u := r.Float64(); {
	case u < s.supernode:
		return 128
	case u < s.supernode+s.semi:
		return uint64(max(64, required))
	case u < s.supernode+s.semi+s.stale:
		low := max(required, 8)
		return uint64(low + r.IntN(129-low))
	case u < s.supernode+s.semi+s.stale+s.under:
		return []uint64{4, 4, 4, 0, 0}[r.IntN(5)]
	}
	return uint64(required)
}
