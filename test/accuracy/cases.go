package main

import (
	"fmt"
	"math"
)

// crawlSize is how many nodes a crawl has, with the special ones.
const crawlSize = 1000

// scenarios are those of docs/methodology.md.
func scenarios() []scenario {
	list := []scenario{
		healthy("base", "a census of custody group counts, Pareto 1.2 above 127", nil),
		healthy("pareto", "55 % of the nodes have validators, Pareto 0.9 from 1 to 40,000", func(p *population) {
			p.validators = p.orNone(func() int { return p.pareto(0.9, 1, 40_000) })
		}),
		healthy("pareto-large", "above 127, Pareto 0.9 to 40,000", func(p *population) { p.validators = p.censusPareto(0.9, 40_000) }),
		healthy("solo", "55 % of the nodes have validators, one to eight", func(p *population) {
			p.validators = p.orNone(func() int { return p.logUniform(1, 8) })
		}),
		healthy("compounding", "in 45 % of the nodes with up to 127 validators each holds 48 to 2,048 ETH", func(p *population) { p.shares.compounding = 0.45 }),
		stale(),
		healthy("balances", "balances from 31 to 36 ETH", func(p *population) { p.stake = p.nearMinimum }),
		everyDuty("every-duty-known", "5 % of the nodes, of all clients, show every duty: 21 epochs", true, ordinary),
		everyDuty("every-duty-unknown", "5 % of the nodes, with unknown agents, show every duty: 21 epochs", false, ordinary),
		everyDuty("every-duty-known-3", "5 % of the nodes, of all clients, show every duty: 3 epochs", true, oneVisit),
		everyDuty("every-duty-unknown-3", "5 % of the nodes, with unknown agents, show every duty: 3 epochs", false, oneVisit),
		rates("rate-0.75", "Lighthouse and Prysm show 0.75 of their duties", 0.75, 0.75),
		rates("rate-1.35", "Lighthouse and Prysm show 1.35 times their duties", 1.35, 1.35),
		rates("rate-mixed", "Lighthouse shows 0.75, Prysm 1.35 times its duties", 0.75, 1.35),
		silent(), hidden(), movers(), flood("flood", "one Prysm node joins and leaves all the time; the others are watched", ordinary),
		flood("flood-snapshots", "one Prysm node joins and leaves all the time; of the others there is one snapshot", oneSnapshot),
		allSubnets(), distributed(4), distributed(7), fallback(), saturated(),
		robust("windows", "a tenth of the nodes subscribe as another client does", func(c *crawl, m *member) {
			if c.pop.rand.IntN(10) == 0 {
				agent := m.agent
				m.persona = c.pop.persona()
				m.agent = agent
			}
		}),
		robust("late", "40 % of the Teku nodes subscribe when the epoch begins, as Prysm does", func(c *crawl, m *member) {
			if m.lead == -1 && c.pop.rand.Float64() < 0.4 {
				m.lead = 0
			}
		}),
		robust("no-custody", "no node reports a custody group count", func(_ *crawl, m *member) { m.cgc = 0 }),
		robust("unknown-clients", "no agent is known", func(_ *crawl, m *member) { m.agent = "" }),
		wrongActive(),
	}
	for _, mean := range []float64{33, 37.6, 43.4, 53.6} {
		list = append(list, stake(mean))
	}
	return list
}

// healthy is a network whose nodes behave as assumed.
func healthy(name, about string, shape func(p *population)) scenario {
	return scenario{
		name, about,
		func(seed uint64) *crawl { return newCrawl(seed, shape).addOrdinary(crawlSize, ordinary).estimate() },
		func(r replications) []check {
			return append(r.total(0.03), r.halfWidth(0.10), r.coverage(), r.fewFlagged())
		},
	}
}

// stale has nodes that report other counts than they need. Those that had validators once, and
// still say so, have a demand of their own.
func stale() scenario {
	s := healthy("stale", "20 % report the count of an earlier stake, 8 % less than they have", func(p *population) {
		p.shares.stale, p.shares.under = 0.20, 0.08
	})
	ordinary := s.checks
	s.checks = func(r replications) []check {
		list := r.members(func(m *member) bool { return m.validators == 0 && m.cgc == 8 })
		return append(ordinary(r), atLeast("coverage of nodes without validators that say 8", share(list, (*member).holds), 0.85, len(list)))
	}
	return s
}

// everyDuty has nodes that show the duties of all validators, not only the aggregators'.
func everyDuty(name, about string, known bool, s schedule) scenario {
	const special = "every duty"
	inCustody := func(m *member) bool { return m.group == special && m.cgc >= 9 && m.cgc <= 127 }
	small := func(m *member) bool { return m.group == special && m.validators <= 200 }
	return scenario{
		name, about,
		func(seed uint64) *crawl {
			c := newCrawl(seed, nil)
			for range crawlSize / 20 {
				v := 0
				for v < 5 || v > 3000 {
					v = c.pop.validators()
				}
				m := c.with(special, v)
				if m.allDuties = true; !known {
					m.agent = "distributed"
				}
				c.add(m, s)
			}
			return c.addOrdinary(crawlSize*19/20, s).estimate()
		},
		func(r replications) []check {
			list := r.members(inCustody)
			checks := []check{
				r.medianError("cgc 9 to 127", inCustody),
				atLeast("their coverage", share(list, (*member).holds), 0.85, len(list)),
				r.others(),
			}
			if s != ordinary {
				return checks
			}
			list = r.members(small)
			isFlagged := func(m *member) bool { return m.flagged }
			return append(append(checks, r.total(0.15)...),
				atLeast("flagged of V = 5 to 200", share(list, isFlagged), 0.9, len(list)), r.fewFlagged())
		},
	}
}

// fewFlagged demands that at most one in 20 of the nodes with which nothing is wrong is
// flagged. Those without validators that keep all columns are not among them: nothing tells
// them from nodes whose duties do not show.
func (r replications) fewFlagged() check {
	list := r.members(func(m *member) bool {
		return m.group == "" && m.validators >= 5 && m.validators <= 200 && m.cgc == uint64(required(m.stake))
	})
	return atMost("flagged of ordinary nodes", share(list, func(m *member) bool { return m.flagged }), 0.05, len(list))
}

// rates has clients that show more or fewer duties than they should.
func rates(name, about string, lighthouse, prysm float64) scenario {
	return scenario{
		name, about,
		func(seed uint64) *crawl {
			return newCrawl(seed, func(p *population) {
				p.personas[0].rate, p.personas[1].rate = lighthouse, prysm
			}).addOrdinary(crawlSize, ordinary).estimate()
		},
		func(r replications) []check {
			rate := func(i int) float64 {
				return r.mean(func(c *crawl) float64 {
					if f, ok := c.rates[(&node{persona: personas()[i]}).client().Kind]; ok {
						return f
					}
					return math.NaN()
				})
			}
			return append([]check{near("Lighthouse", rate(0), lighthouse, 0.05), near("Prysm", rate(1), prysm, 0.05)}, r.total(0.15)...)
		},
	}
}

// silent has nodes with validators whose duties never show.
func silent() scenario {
	return scenario{
		"silent", "10 nodes with 20 validators and 10 with 300 show none of their duties: 147 epochs",
		func(seed uint64) *crawl {
			c := newCrawl(seed, nil)
			for i := range 20 {
				m := c.with([]string{"V = 20", "V = 300"}[i%2], []int{20, 300}[i%2])
				m.silent, m.stake = true, m.validators*ethPerUnit
				c.add(m.exact(), often)
			}
			return c.addOrdinary(crawlSize-20, ordinary).estimate()
		},
		func(r replications) []check {
			return []check{r.visiblyUnsure("V = 20"), r.visiblyUnsure("V = 300"), r.fewFlagged(), r.others()}
		},
	}
}

// hidden has so many nodes whose duties never show that the total is too low by their validators,
// which nothing tells from nodes that keep columns by choice: it says how many may be hidden.
func hidden() scenario {
	return scenario{
		"hidden", "50 nodes with 300 validators show none of their duties: 21 epochs",
		func(seed uint64) *crawl {
			c := newCrawl(seed, nil)
			for range crawlSize / 20 {
				m := c.with("V = 300", 300)
				m.silent, m.stake = true, m.validators*ethPerUnit
				c.add(m.exact(), ordinary)
			}
			return c.addOrdinary(crawlSize*19/20, ordinary).estimate()
		},
		func(r replications) []check {
			return []check{r.holdsWithHidden(), r.halfWidth(0.10), r.visiblyUnsure("V = 300"), r.fewFlagged(), r.others()}
		},
	}
}

// movers have nodes whose validators come or go within the days that count.
func movers() scenario {
	const more, moreOften, gone = "100 to 500, 3 epochs a day", "100 to 500, 21 epochs a day", "1000 to 0"
	return scenario{
		"movers", "nodes whose number changes on day 5, as of day 7",
		func(seed uint64) *crawl {
			c := newCrawl(seed, nil)
			for i := range 30 {
				m := c.with([]string{more, moreOften, gone}[i%3], []int{100, 100, 1000}[i%3])
				m.stake, m.moveTo = m.validators*ethPerUnit, []int{500, 500, 0}[i%3]
				c.add(m.exact(), []schedule{ordinary, often, often}[i%3])
			}
			return c.addOrdinary(crawlSize-30, ordinary).estimate()
		},
		func(r replications) []check {
			return []check{
				r.visiblyUnsure(more), r.visiblyUnsure(moreOften), r.visiblyUnsure(gone),
				r.fewFlagged(), r.others(),
			}
		},
	}
}

// flood has one node that makes as many subscriptions as all others together.
func flood(name, about string, s schedule) scenario {
	return scenario{
		name, about,
		func(seed uint64) *crawl {
			c := newCrawl(seed, nil).addOrdinary(crawlSize, s).estimate()
			var before []result
			for _, m := range c.members {
				before = append(before, m.result)
			}
			m := c.with("flood", 0)
			m.persona, m.floods = personas()[1], true
			c.add(m, often)
			c.estimate()
			for i, b := range before {
				c.members[i].moved = farFrom(c.members[i].estimate.Low, b.estimate.Low) || farFrom(c.members[i].estimate.High, b.estimate.High)
			}
			return c
		},
		func(r replications) []check {
			list := r.members(group(""))
			return []check{atMost("others whose interval moves", share(list, func(m *member) bool { return m.moved }), 0.001, len(list))}
		},
	}
}

// farFrom leaves out what one more node changes in what is learned from all.
func farFrom(a, b float64) bool { return math.Abs(a-b) > max(1, 0.03*b) }

// allSubnets has one snapshot of every node, and nodes that keep all subnets.
func allSubnets() scenario {
	const nodes = 4000
	return scenario{
		"all-subnets", "4,000 nodes, one snapshot each; 3 % keep all subnets, and Lodestar's do not say so",
		func(seed uint64) *crawl {
			c := newCrawl(seed, nil)
			for range nodes {
				m := c.draw()
				if c.pop.rand.Float64() < 0.03 {
					m.keepsAll, m.declares = true, m.agent != personas()[4].agent
				}
				c.add(m, oneSnapshot)
			}
			return c.estimate()
		},
		func(r replications) []check {
			none := r.members(func(m *member) bool { return m.validators == 0 })
			keep := r.members(func(m *member) bool { return m.validators == 0 && m.keepsAll })
			above := func(m *member) bool { return m.estimate.Low > 100 }
			// One that says 128 and was seen once can be an ordinary node with 128 to 399.
			largest := 0
			for _, m := range none {
				largest = max(largest, m.estimate.Median)
			}
			return append(r.total(0.15),
				atMost("of all-subnets nodes without validators, intervals above 100", share(keep, above), 0, len(keep)),
				atMost("of all without", share(none, above), 0.0005, len(none)),
				check{fmt.Sprintf("largest estimate %d (399)", largest), largest <= 399})
		},
	}
}

// distributed has clusters of nodes with the same validators.
func distributed(nodes int) scenario {
	return scenario{
		fmt.Sprintf("distributed-%d", nodes),
		fmt.Sprintf("a tenth of the nodes are in clusters of %d with the same 80 to 500 validators: 147 epochs", nodes),
		func(seed uint64) *crawl {
			c := newCrawl(seed, nil)
			for i := range uint64(crawlSize / 10 / nodes) {
				v := c.pop.logUniform(80, 500)
				for range nodes {
					m := c.with("distributed", v)
					m.cluster, m.stake = seed<<16|i+1, v*ethPerUnit
					c.add(m.exact(), often)
				}
			}
			return c.addOrdinary(crawlSize-len(c.members), often).estimate()
		},
		func(r replications) []check { return append(r.multiplicities(), r.total(0.03)...) },
	}
}

// fallback has operators that run all their validators on two nodes.
func fallback() scenario {
	return scenario{
		"fallback", "half of the nodes are pairs with the same validators: 21 epochs",
		func(seed uint64) *crawl {
			c := newCrawl(seed, nil)
			for i := range uint64(crawlSize / 4) {
				v := c.pop.validators()
				eth := c.pop.stake(v)
				for range 2 {
					m := c.with("pair", v)
					m.cluster, m.stake = seed<<16|i+1, eth
					c.add(m.exact(), ordinary)
				}
			}
			return c.addOrdinary(crawlSize-len(c.members), ordinary).estimate()
		},
		func(r replications) []check { return append(r.multiplicities(), r.total(0.03)...) },
	}
}

// stake has a network with a mean effective balance.
func stake(mean float64) scenario {
	return scenario{
		fmt.Sprintf("stake-%g", mean), fmt.Sprintf("a mean effective balance of %g ETH: half of the operators have compounding validators", mean),
		func(seed uint64) *crawl {
			c := newCrawl(seed, func(p *population) { p.stake = p.consolidated(mean) })
			c.meanBalance, c.balances = mean, c.pop.balances(mean, 2000)
			return c.addOrdinary(crawlSize, ordinary).estimate()
		},
		func(r replications) []check { return r.stakes() },
	}
}

// saturated has nodes with so many validators that hardly a cell stays empty.
func saturated() scenario {
	const prysm, teku = "Prysm, 50,000", "Teku, 20,000 to 50,000"
	return scenario{
		"saturated", "three Prysm nodes with 50,000 validators, three Teku nodes with 20,000 to 50,000",
		func(seed uint64) *crawl {
			c := newCrawl(seed, nil)
			for i := range 6 {
				v := []int{50_000, 50_000, 50_000, 20_000, 35_000, 50_000}[i]
				m := c.with([]string{prysm, teku}[i/3], v)
				m.persona, m.stake = personas()[[]int{1, 3}[i/3]], v*ethPerUnit
				c.add(m.exact(), ordinary)
			}
			return c.addOrdinary(crawlSize-6, ordinary).estimate()
		},
		func(r replications) []check {
			return []check{r.visiblyUnsure(prysm), r.visiblyUnsure(teku), r.fewFlagged(), r.others()}
		},
	}
}

// robust is a network in which what change does to the nodes must not spoil the total.
func robust(name, about string, change func(c *crawl, m *member)) scenario {
	return scenario{
		name, about,
		func(seed uint64) *crawl {
			c := newCrawl(seed, nil)
			for range crawlSize {
				m := c.draw()
				change(c, m)
				c.add(m, ordinary)
			}
			return c.estimate()
		},
		func(r replications) []check { return r.total(0.15) },
	}
}

// wrongActive is a network with fewer validators than is configured.
func wrongActive() scenario {
	return scenario{
		"active", "the network has 905,000 validators, 950,000 are configured",
		func(seed uint64) *crawl {
			c := newCrawlOf(sized(905_000), seed, nil)
			c.params = paramsOf(mainnet())
			c.params.PAggUncertainty = 0.05
			return c.addOrdinary(crawlSize, ordinary).estimate()
		},
		func(r replications) []check { return r.total(0.15) },
	}
}
