package estimate

import (
	"math"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Shares of nodes whose custody group count is not what their validators' stake
// requires (fulu/validator.md, get_validators_custody_requirement). They are assumed:
// the census of June 2026 fixes only their sums. Calibrate shows how well they fit.
const (
	shareSupernode     = 0.08 // keeps all columns by choice
	shareSemiSupernode = 0.01 // keeps half of them
	shareStale         = 0.05 // had more stake once: most clients never lower the count
	shareUnderReport   = 0.03 // counts less than it has
	shareExternal      = 0.40 // has external validators, with a client that does not count them
	shareAbsent        = 0.40 // of those that count less: says 0
	shareCompounding   = 0.15 // its validators hold more than 32 ETH each
	mostCompounding    = 0.5  // the same where the mean balance says that more nodes must

	supernode     = eth2.NumberOfCustodyGroups
	semiSupernode = eth2.NumberOfCustodyGroups / 2
	// unlikely is the probability of a reading that the model does not explain.
	unlikely = 1e-5

	// smeared is the share of nodes whose stake is not just 32 ETH for each validator:
	// balances below that, or a little above. It is off by smearMean on average, with the
	// standard deviation smearSD, relative.
	smeared   = 0.4
	smearMean = 0.015
	smearSD   = 0.03
)

// stakes are the multiples of 32 ETH that compounding validators are assumed to hold,
// each as likely.
func stakes() []float64 { return []float64{1.5, 2, 3, 4, 6, 8, 16, 32, 64} }

// Custody is the custody group counts that a node has reported. The zero value has none.
type Custody struct {
	// Latest was reported at At, Unix milliseconds.
	Latest uint64
	At     int64
	// Max was reported at MaxAt: the largest of about the last day.
	Max   uint64
	MaxAt int64
	// Highest is the largest ever.
	Highest uint64
}

// Observe adds a reading from MetaData or a record. 0 is no evidence: the node is a light
// client or an old version. One that is older than the latest by up to a day counts for Max,
// so that readings can come in any order.
func (c *Custody) Observe(at int64, cgc uint64) {
	const day = 24 * 3600 * 1000
	if cgc == 0 || cgc > eth2.NumberOfCustodyGroups {
		return
	}
	c.Highest = max(c.Highest, cgc)
	if at < c.At {
		if c.At-at <= day && (cgc > c.Max || cgc == c.Max && at > c.MaxAt) {
			c.Max, c.MaxAt = cgc, at
		}
		return
	}
	c.Latest, c.At = cgc, at
	if cgc >= c.Max || at-c.MaxAt > day {
		c.Max, c.MaxAt = cgc, at
	}
}

// reading is the most informative count, 0 for none.
func (c Custody) reading(kind eth2.ClientKind) int {
	if row := rowOf(kind); row != nil && row.custodyDips {
		return int(c.Max)
	}
	return int(c.Latest)
}

// withoutHistory reports whether a node has never reported a count that needs validators.
func (c Custody) withoutHistory() bool { return c.Highest == eth2.CustodyRequirement }

// underReporting is the share of a client's nodes that report 4 with validators.
func underReporting(kind eth2.ClientKind) float64 {
	omitting := 0.0 // the chance that the client omits external validators
	if row := rowOf(kind); row == nil {
		for _, c := range clients {
			if c.omitsExternal {
				omitting += c.share
			}
		}
	} else if row.omitsExternal {
		omitting = 1
	}
	return omitting*shareExternal + (1-omitting)*shareUnderReport
}

// required is the custody group count that stake, in units of 32 ETH, requires.
func required(stake int) int {
	if stake <= 0 {
		return eth2.CustodyRequirement
	}
	return min(max(stake, eth2.ValidatorCustodyRequirement), eth2.NumberOfCustodyGroups)
}

// requiredChance is the probability that about so much stake, in units of 32 ETH, requires
// a count.
func requiredChance(count, stake int) float64 {
	exact := 0.0
	if required(stake) == count {
		exact = 1
	}
	if stake <= 0 || count < eth2.ValidatorCustodyRequirement {
		return exact
	}
	low, high := float64(count)-0.5, float64(count)+0.5
	if count == eth2.ValidatorCustodyRequirement {
		low = math.Inf(-1)
	}
	if count == eth2.NumberOfCustodyGroups {
		high = math.Inf(1)
	}
	mean, sd := (1+smearMean)*float64(stake), math.Max(0.5, smearSD*float64(stake))*math.Sqrt2
	below := func(x float64) float64 { return math.Erfc((mean-x)/sd) / 2 }
	return (1-smeared)*exact + smeared*(below(high)-below(low))
}

// custodyShares are those that depend on the client or on the network: of nodes that report 4
// with validators, and 8 without.
type custodyShares struct{ under, former float64 }

// assumedFormer is the latter before it is learned.
const assumedFormer = 0.008

// staleChance is the probability of a count that an earlier stake required, given that it is
// above what is required now.
func staleChance(count, required int) float64 {
	const more, all = 0.6, 0.4 // past requirements of up to 127, and of 128
	if count <= required || count <= eth2.ValidatorCustodyRequirement {
		return 0
	}
	harmonic := func(from int) (sum float64) {
		for c := from; c < supernode; c++ {
			sum += 1 / float64(c)
		}
		return sum
	}
	const first = eth2.ValidatorCustodyRequirement + 1
	scale := more / harmonic(first)
	above := all + scale*harmonic(max(required+1, first))
	if count == supernode {
		return all / above
	}
	return scale / float64(count) / above
}

// chance is the probability of a reading from a node with a stake, in units of 32 ETH.
func (c custodyShares) chance(reading, stake int) float64 {
	const ordinary = 1 - shareSupernode - shareSemiSupernode
	p := 0.0
	if reading == supernode {
		p += shareSupernode
	}
	if reading == max(semiSupernode, required(stake)) {
		p += shareSemiSupernode
	}
	if reading == eth2.CustodyRequirement {
		p += ordinary * (c.under - shareUnderReport*shareAbsent)
	}
	stale := shareStale
	if required(stake) == supernode { // it cannot have had more
		stale = 0
	}
	p += ordinary * stale * staleChance(reading, required(stake))
	if stake == 0 && reading == eth2.ValidatorCustodyRequirement {
		p += c.former
	}
	return p + ordinary*(1-stale-c.under)*requiredChance(reading, stake)
}

// custodyTable has, for each number of validators, the logarithm of a reading's
// probability, and the part of the probability that is no explanation (unlikely).
type custodyTable struct{ logs, unexplained []float64 }

func newCustodyTable(grid []int, reading int, c custodyShares, multiples []float64) *custodyTable {
	t := &custodyTable{make([]float64, len(grid)), make([]float64, len(grid))}
	// Above this many validators the count is that of all with less stake, too.
	const most = 2 * supernode
	byStake := make([]float64, most+1)
	for stake := range byStake {
		byStake[stake] = c.chance(reading, stake)
	}
	stakes := compounding()
	for i, v := range grid {
		p := 0.0
		for j, share := range multiples {
			p += share * byStake[min(int(float64(v)*stakes[j]), most)]
		}
		t.logs[i], t.unexplained[i] = math.Log(p+unlikely), unlikely/(p+unlikely)
	}
	return t
}
