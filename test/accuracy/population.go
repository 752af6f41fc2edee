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
	// validators draws a node's number, and stake what that many hold, in ETH.
	validators func() int
	stake      func(validators int) int
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
	p.validators, p.stake = p.census, p.compound
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

// census draws a node's number of validators: 45 % have none, 23 % up to 8, 13 % up to 127,
// the rest more, log-uniform in each.
func (p *population) census() int {
	return p.censusWith(func() int { return p.logUniform(128, mostValidators) })
}

// censusPareto is census with numbers above 127 that have a Pareto distribution up to most.
func (p *population) censusPareto(shape, most float64) func() int {
	return func() int { return p.censusWith(func() int { return p.pareto(shape, 128, most) }) }
}

func (p *population) censusWith(large func() int) int {
	switch u := p.rand.Float64(); {
	case u < 0.45:
		return 0
	case u < 0.68:
		return p.logUniform(1, 8)
	case u < 0.81:
		return p.logUniform(9, 127)
	}
	return large()
}

// orNone draws 0 for 45 % of the nodes.
func (p *population) orNone(draw func() int) func() int {
	return func() int {
		if p.rand.Float64() < 0.45 {
			return 0
		}
		return draw()
	}
}

func (p *population) logUniform(low, high float64) int {
	return int(math.Floor(low * math.Exp(p.rand.Float64()*math.Log((high+1)/low))))
}

func (p *population) pareto(shape, low, high float64) int {
	beyond := 1 - math.Pow(low/(high+1), shape)
	return int(low / math.Pow(1-p.rand.Float64()*beyond, 1/shape))
}

// ethPerUnit is the stake that one custody group beyond the first eight stands for.
const ethPerUnit = 32

// compound draws what a node's validators hold, in ETH: the same in each.
func (p *population) compound(validators int) int {
	if validators > 0 && p.rand.Float64() < p.shares.compounding {
		multiple := []float64{1.5, 2, 3, 4, 6, 8, 16, 32, 64}[p.rand.IntN(9)]
		return int(float64(validators)*multiple) * ethPerUnit
	}
	return validators * ethPerUnit
}

// smallCompound is compound for nodes whose custody group count depends on it; larger ones
// have 32 ETH in each, so that the network's mean balance is about mainnet's.
func (p *population) smallCompound(validators int) int {
	if validators > 127 {
		return validators * ethPerUnit
	}
	return p.compound(validators)
}

// nearMinimum draws balances from 31 to 36 ETH: a few that have lost some, and in a third of
// the nodes compounding ones that have grown from rewards, by 1.1 ETH on average.
func (p *population) nearMinimum(validators int) (eth int) {
	grows := p.rand.IntN(3) == 0
	for range validators {
		switch {
		case p.rand.Float64() < 0.004:
			eth += 31
		case grows:
			eth += []int{32, 32, 32, 32, 32, 32, 32, 32, 33, 33, 33, 33, 33, 33, 34, 34, 34, 35, 35, 36}[p.rand.IntN(20)]
		default:
			eth += 32
		}
	}
	return eth
}

// consolidated is a network with a mean balance above 32 ETH: half of the operators have
// made some of their validators compounding ones, each up to 2,048 ETH.
func (p *population) consolidated(mean float64) func(validators int) int {
	return func(validators int) int {
		eth := validators * ethPerUnit
		for range p.binomial(validators, p.consolidatedShare(mean)) {
			eth += p.compounding() - ethPerUnit
		}
		return eth
	}
}

// consolidatedShare draws which share of an operator's validators compound.
func (p *population) consolidatedShare(mean float64) float64 {
	const meanExcess = (2049-33)/4.1286 - 0.5 - ethPerUnit // of compounding; 4.1286 is ln(2049/33)
	if p.rand.IntN(2) == 0 {
		return 0
	}
	return 4 * p.rand.Float64() * (mean - ethPerUnit) / meanExcess
}

// compounding draws one compounding validator's effective balance.
func (p *population) compounding() int { return p.logUniform(33, 2048) }

// balances draws effective balances of the whole network's validators, as a Beacon API gives
// them.
func (p *population) balances(mean float64, n int) (list []uint64) {
	for range n {
		eth := ethPerUnit
		if p.rand.Float64() < p.consolidatedShare(mean) {
			eth = p.compounding()
		}
		list = append(list, uint64(eth))
	}
	return list
}

// binomial draws how many of n have a property of chance p.
func (p *population) binomial(n int, chance float64) (k int) {
	if chance <= 0 {
		return 0
	}
	for i := skip(p.rand, chance); i < n; i += 1 + skip(p.rand, chance) {
		k++
	}
	return k
}

// meanBalance is the network's, in ETH, from a sample of its own.
func (p *population) meanBalance(seed uint64) float64 {
	crawl := p.rand
	p.rand = rand.New(rand.NewPCG(seed, 0xba1a))
	defer func() { p.rand = crawl }()
	eth, validators := 0.0, 1.0
	for range 20_000 {
		v := p.validators()
		eth, validators = eth+float64(p.stake(v)), validators+float64(v)
	}
	return max(ethPerUnit, eth/validators)
}

// custody draws a node's custody group count, and first its stake.
func (p *population) custody(n *node) uint64 {
	if p.omits(n) {
		return 4
	}
	return p.reported(p.stake(n.validators), p.staleEvenly)
}

// omits draws whether a node's client does not know its validators.
func (p *population) omits(n *node) bool {
	return n.agent == "nimbus" && n.validators > 0 && p.rand.Float64() < p.shares.nimbusExternal
}

// required is get_validators_custody_requirement (fulu/validator.md); without validators
// it is CUSTODY_REQUIREMENT.
func required(eth int) int {
	if eth == 0 {
		return 4
	}
	return min(max(eth/ethPerUnit, 8), 128)
}

// reported draws what a node with a stake in ETH says, and what clients make of it.
func (p *population) reported(eth int, stale func(required int) int) uint64 {
	r, s := p.rand, p.shares
	need := required(eth)
	switch u := r.Float64(); {
	case u < s.supernode:
		return 128
	case u < s.supernode+s.semi:
		return uint64(max(64, need))
	case u < s.supernode+s.semi+s.stale:
		return uint64(stale(need))
	case u < s.supernode+s.semi+s.stale+s.under:
		return []uint64{4, 4, 4, 0, 0}[r.IntN(5)]
	}
	return uint64(need)
}

// staleEvenly draws a count from an earlier stake, any as likely.
func (p *population) staleEvenly(need int) int {
	low := max(need, 8)
	return low + p.rand.IntN(129-low)
}

// stalePast draws a count from an earlier stake: that of another node of the population
// that requires more.
func (p *population) stalePast(need int) int {
	for range 1000 {
		if need == 128 {
			break
		}
		if past := required(p.stake(p.validators())); past > need {
			return past
		}
	}
	return need
}
