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

	supernode     = eth2.NumberOfCustodyGroups
	semiSupernode = eth2.NumberOfCustodyGroups / 2
	// unlikely is the probability of a reading that the model does not explain.
	unlikely = 1e-6
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

// custodyChance is the probability of a reading from a node whose stake requires a count.
func custodyChance(reading, required int, under float64) float64 {
	const ordinary = 1 - shareSupernode - shareSemiSupernode
	p := 0.0
	if reading == supernode {
		p += shareSupernode
	}
	if reading == max(semiSupernode, required) {
		p += shareSemiSupernode
	}
	if from := max(required, eth2.ValidatorCustodyRequirement); reading >= from {
		p += ordinary * shareStale / float64(eth2.NumberOfCustodyGroups+1-from)
	}
	if reading == eth2.CustodyRequirement {
		p += ordinary * (under - shareUnderReport*shareAbsent)
	}
	if reading == required {
		p += ordinary * (1 - shareStale - under)
	}
	return p
}

// logCustody is the logarithm of a reading's probability for each number of validators.
func logCustody(grid []int, reading int, under float64) []float64 {
	out := make([]float64, len(grid))
	multiples := stakes()
	for i, v := range grid {
		p := (1 - shareCompounding) * custodyChance(reading, required(v), under)
		for _, s := range multiples {
			p += shareCompounding / float64(len(multiples)) * custodyChance(reading, required(int(float64(v)*s)), under)
		}
		out[i] = math.Log(p + unlikely)
	}
	return out
}
