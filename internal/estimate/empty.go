package estimate

import "math"

// fewValidators is the number below which a network is so small that a node's validators and their
// duties have to be drawn without replacement; above, they can be drawn independently.
const fewValidators = 1 << 18

// logEmpty is the logarithm of the chance that none of v validators has an
// aggregator's duty in a cell, with pAgg times factor as the chance of being one.
func (p Params) logEmpty(c cell, v int, factor float64) float64 {
	pAgg := min(1, p.AggregatorShare()*factor)
	share := p.share(c)
	if p.active() > fewValidators {
		return float64(v) * math.Log1p(-min(0.999999, p.AggregatorShare()*factor*(share[0]+share[1])))
	}
	logq := 0.0
	for _, f := range share {
		if f > 0 {
			logq += p.logNone(v, f, pAgg)
		}
	}
	return logq
}

// logNone is the logarithm of E[(1-pAgg)^j], where j of the validators that have
// duty in a cell are among the v: hypergeometric, as each has one duty an epoch.
func (p Params) logNone(v int, share, pAgg float64) float64 {
	active := float64(p.active())
	mine := min(float64(v), active)
	members := min(active, max(1, math.Round(share*active)))
	j := max(0, members-(active-mine))
	logTerm := logChoose(mine, j) + logChoose(active-mine, members-j) - logChoose(active, members)
	if pAgg >= 1 {
		if j > 0 {
			return math.Inf(-1)
		}
		return logTerm
	}
	// Terms relative to the first; each from the one before.
	logTerm += j * math.Log1p(-pAgg)
	sum, term, scale := 1.0, 1.0, 0.0
	for ; j < min(mine, members); j++ {
		ratio := (mine - j) * (members - j) / (j + 1) / (active - mine - members + j + 1) * (1 - pAgg)
		term *= ratio
		sum += term
		if ratio < 1 && term < 1e-15*sum {
			break
		}
		if sum > 1e200 {
			term, sum, scale = term/sum, 1, scale+math.Log(sum)
		}
	}
	return logTerm + scale + math.Log(sum)
}

func logChoose(n, k float64) float64 {
	lgamma := func(x float64) float64 { y, _ := math.Lgamma(x); return y }
	return lgamma(n+1) - lgamma(k+1) - lgamma(n-k+1)
}
