package main

import (
	"cmp"
	"math"
	"math/rand/v2"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	epochsPerDay = 225
	// window is how many days of observations an estimate uses.
	window = 7
	// epochsPerPeriod is EPOCHS_PER_SYNC_COMMITTEE_PERIOD, syncSeats SYNC_COMMITTEE_SIZE.
	epochsPerPeriod, syncSeats = 256, 512
)

// crawl is a sample of a network's nodes, what was observed of them, and what the estimator
// makes of that.
type crawl struct {
	pop     *population
	params  estimate.Params
	members []*member
	// meanBalance is the network's, in ETH.
	meanBalance float64
	balances    []uint64 // a sample of the network's; nil where nobody asked
	learned
}

// member is a node of a crawl.
type member struct {
	*node
	id      uint64
	group   string // what is special about the node; empty for most
	stake   int    // ETH
	cgc     uint64
	custody estimate.Custody
	days    []*estimate.Statistics
	// calibrates are those since the number of validators last changed.
	calibrates []*estimate.Statistics
	duties     estimate.Duties
	// moveTo is the number of validators from the fifth day on; -1 for the same.
	moveTo int
	moved  bool // the interval, by something that the node does not do
	result
}

// schedule is when a node is observed. Without visits it is one snapshot.
type schedule struct{ days, visits int } // visits of watchEpochs a day

var (
	oneSnapshot = schedule{1, 0}
	oneVisit    = schedule{1, 1}      // 3 epochs
	ordinary    = schedule{window, 1} // 21 epochs
	often       = schedule{window, 7} // 147 epochs
)

// newCrawl has no members yet. shape changes what they are drawn from.
func newCrawl(seed uint64, shape func(p *population)) *crawl {
	return newCrawlOf(mainnet(), seed, shape)
}

func newCrawlOf(net network, seed uint64, shape func(p *population)) *crawl {
	c := &crawl{pop: newPopulation(seed, net), params: paramsOf(net)}
	c.pop.validators = c.pop.censusPareto(1.2, 20_000)
	c.pop.stake = c.pop.smallCompound
	if shape != nil {
		shape(c.pop)
	}
	c.meanBalance = c.pop.meanBalance(seed)
	return c
}

// addOrdinary adds nodes from the population.
func (c *crawl) addOrdinary(nodes int, s schedule) *crawl {
	for range nodes {
		c.add(c.draw(), s)
	}
	return c
}

// draw draws a node from the population.
func (c *crawl) draw() *member { return c.with("", c.pop.validators()) }

// with draws a node with a number of validators.
func (c *crawl) with(group string, validators int) *member {
	m := &member{node: drawNode(c.pop.rand, c.pop.network, c.pop.persona(), validators), group: group, moveTo: -1}
	c.hold(m, validators)
	return m
}

// exact gives a node the custody group count that its stake requires.
func (m *member) exact() *member {
	m.cgc = uint64(required(m.stake))
	return m
}

// hold gives a node its validators, their stake, and the count that it reports.
func (c *crawl) hold(m *member, validators int) {
	m.validators, m.stake = validators, c.pop.stake(validators)
	if m.cgc = 4; !c.pop.omits(m.node) {
		m.cgc = c.pop.reported(m.stake, c.pop.stalePast)
	}
}

// move changes a node's validators; clients never lower the count.
func (m *member) move() {
	m.validators, m.stake = m.moveTo, m.moveTo*ethPerUnit
	m.cgc = max(m.cgc, uint64(required(m.stake)))
}

// add observes a node, and adds it.
func (c *crawl) add(m *member, s schedule) {
	m.id = uint64(len(c.members))
	c.members = append(c.members, m)
	for day := range s.days {
		if m.moveTo >= 0 && day == 4 {
			m.move()
		}
		stats := estimate.NewStatistics(m.client())
		begin := firstEpoch + day*epochsPerDay
		if s.visits == 0 {
			m.snapshotIn(c.params, stats, begin+m.rand.IntN(epochsPerDay))
		}
		for v := range s.visits {
			share := epochsPerDay / s.visits
			w := m.visitLog(begin+v*share+m.rand.IntN(share-watchEpochs-1), watchEpochs)
			stats.AddWatch(c.params, w)
			m.duties = m.duties.AddWatch(c.params, m.client(), w)
		}
		c.addDay(m, stats, begin)
	}
	m.seal()
}

// seal reduces the days that are over, as a tracker does.
func (m *member) seal() {
	after := eth2.Slot(0)
	for _, s := range m.days[:len(m.days)-1] {
		_, last, ok := s.Span()
		s.Seal(after)
		if ok {
			after = last + 1
		}
	}
}

// addDay adds a day's statistics to a node, with what MetaData said on that day.
func (c *crawl) addDay(m *member, s *estimate.Statistics, epoch int) {
	at := m.clock.EpochStart(eth2.Epoch(epoch)).UnixMilli()
	s.AddSyncnets(c.params, at, m.syncnets(epoch/epochsPerPeriod, c.meanBalance))
	m.custody.Observe(at, m.cgc)
	m.days = append(m.days, s)
}

// snapshotIn takes a snapshot at some time in an epoch.
func (n *node) snapshotIn(p estimate.Params, s *estimate.Statistics, epoch int) {
	h := n.live(epoch-2, epoch+2)
	length := n.clock.EpochDuration().Milliseconds()
	at := n.clock.EpochStart(eth2.Epoch(epoch)).UnixMilli() + 800 + n.rand.Int64N(length-800)
	s.AddSnapshot(p, estimate.Snapshot{At: at, Subscribed: h.at(at), LongLived: n.attnets()})
}

// syncnets are the sync committee subnets of a period: seats go by effective balance
// (altair/beacon-chain.md, get_next_sync_committee_indices).
func (m *member) syncnets(period int, meanBalance float64) (s eth2.Syncnets) {
	if m.keepsAll {
		return 1<<eth2.SyncCommitteeSubnetCount - 1
	}
	if m.silent {
		return 0
	}
	r := rand.New(rand.NewPCG(cmp.Or(m.cluster, m.id), uint64(period)))
	share := min(1, float64(m.stake)/meanBalance/float64(m.network.validators))
	for seat := skip(r, share); seat < syncSeats; seat += 1 + skip(r, share) {
		s |= 1 << (seat * eth2.SyncCommitteeSubnetCount / syncSeats)
	}
	return s
}

// truth are the validators of all members, each counted for every node that has it.
func (c *crawl) truth() (sum float64) {
	for _, m := range c.members {
		sum += float64(m.validators)
	}
	return sum
}

// trueStake is in ETH.
func (c *crawl) trueStake() (sum float64) {
	for _, m := range c.members {
		sum += float64(m.stake)
	}
	return sum
}

// trueMultiplicity is on how many nodes a validator is, on average.
func (c *crawl) trueMultiplicity() float64 {
	distinct, seen := 0.0, map[uint64]bool{}
	for _, m := range c.members {
		if m.cluster == 0 || !seen[m.cluster] {
			distinct += float64(m.validators)
			seen[m.cluster] = true
		}
	}
	return c.truth() / math.Max(1, distinct)
}
