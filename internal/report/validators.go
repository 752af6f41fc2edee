package report

import (
	"cmp"
	"slices"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/tracker"
)

// topNodes is how many of the largest nodes a summary lists.
const topNodes = 10

// Validators are the estimates of the whole network.
type Validators struct {
	tracker.Totals
	// Histogram counts nodes, and their validators, by the median.
	Histogram []Bucket `json:"histogram"`
	// Top are the nodes with the most validators, by the median, of those that count in full.
	Top []Validating `json:"top"`
	// LostDays counts days of a node's statistics that could not be decoded.
	LostDays    uint64      `json:"lost_days"`
	Uncertainty Uncertainty `json:"uncertainty"`
}

// Uncertainty is what makes the interval of the total wide, as shares of its variance.
type Uncertainty struct {
	// Nodes are the fewest that make up half of it, together Share; empty when there are
	// more than a few.
	Nodes []Uncertain `json:"nodes"`
	Share float64     `json:"share"`
	// Misfits is the share of client versions whose rate is known to a factor of two only,
	// Assumptions that of what is assumed about all nodes alike.
	Misfits     float64 `json:"misfits"`
	Assumptions float64 `json:"assumptions"`
	// Concentrated is the part of the interval that is what concentrated nodes claim. Above
	// a half nothing else is looked for.
	Concentrated float64 `json:"concentrated"`
}

// Uncertain is a node with a wide interval.
type Uncertain struct {
	Validating
	AllSubnets bool `json:"all_subnets"`
}

// uncertainNodes is how many nodes an Uncertainty names at most.
const uncertainNodes = 5

// newUncertainty splits the variance of the total of nodes, which count in full.
func newUncertainty(nodes []*tracker.Peer, t tracker.Totals) (u Uncertainty) {
	const middle90 = 1.645 // the total's interval has so many standard deviations on either side
	u.Nodes = []Uncertain{}
	if t.Concentrated > 0 {
		u.Concentrated = t.Claimed / (t.High - t.Low)
	}
	if u.Concentrated > 0.5 {
		return u
	}
	deviation := (t.High - t.Validators - (t.Claimed - t.Admitted)) / middle90
	whole := deviation * deviation
	if !(whole > 0) {
		return u
	}
	own, misfits := 0.0, 0.0
	for _, p := range nodes {
		own += p.Estimate.Variance
		misfits += p.Estimate.Shared
	}
	u.Misfits = misfits * misfits / whole
	u.Assumptions = max(0, 1-u.Misfits-own/whole)
	widest := slices.SortedFunc(slices.Values(nodes), func(a, b *tracker.Peer) int { return cmp.Compare(b.Estimate.Variance, a.Estimate.Variance) })
	sum := 0.0
	for i, p := range widest[:min(uncertainNodes, len(widest))] {
		if sum += p.Estimate.Variance / whole; sum >= 0.5 {
			u.Share = sum
			for _, p := range widest[:i+1] {
				u.Nodes = append(u.Nodes, Uncertain{Validating{p.ID, string(p.Client.Kind), estimated(p.Estimate.Estimate)}, p.Estimate.AllSubnets})
			}
			break
		}
	}
	return u
}

// Bucket is a range of validators, both ends included; High 0 is no upper end.
type Bucket struct {
	Low        int     `json:"low"`
	High       int     `json:"high"`
	Nodes      int     `json:"nodes"`
	Validators float64 `json:"validators"` // the sum of the medians, each times the node's weight
}

// Validating is one node's estimate, with the names of the API's node row.
type Validating struct {
	ID     string `json:"id"`
	Client string `json:"client"`
	Estimated
}

// Estimated are the columns of an estimate: validators is the median, low and high the
// ends of the 90 % interval. Stakes are in ETH.
type Estimated struct {
	Validators     int     `json:"validators"`
	ValidatorsLow  float64 `json:"validators_low"`
	ValidatorsHigh float64 `json:"validators_high"`
	ValidatorsMean float64 `json:"validators_mean"`
	PValidator     float64 `json:"p_validator"`
	StakeETH       float64 `json:"stake_eth"`
	StakeLow       float64 `json:"stake_low"`
	StakeHigh      float64 `json:"stake_high"`
}

func estimated(e estimate.Estimate) Estimated {
	return Estimated{e.Median, e.Low, e.High, e.Mean, e.PValidator, e.Stake.Median, e.Stake.Low, e.Stake.High}
}

// buckets are the empty buckets of a histogram.
func buckets() []Bucket {
	return []Bucket{
		{Low: 0, High: 0}, {Low: 1, High: 1}, {Low: 2, High: 8}, {Low: 9, High: 31}, {Low: 32, High: 127},
		{Low: 128, High: 399}, {Low: 400, High: 1199}, {Low: 1200, High: 3999}, {Low: 4000},
	}
}

// validators are the report's: those of now, or for a range in the past the totals of its
// last hour, of which no more is known. Nil without estimates.
func (r *Report) validators() *Validators {
	if r.totals == nil {
		return newValidators(r.state)
	}
	return &Validators{Totals: *r.totals, Histogram: []Bucket{}, Top: []Validating{}, Uncertainty: Uncertainty{Nodes: []Uncertain{}}}
}

// newValidators sums up the estimates; nil when there are none. state may be nil.
func newValidators(state *tracker.State) *Validators {
	if state == nil {
		return nil
	}
	nodes, _ := state.Counted()
	if len(nodes) == 0 {
		return nil
	}
	out := &Validators{Totals: state.Totals(), Histogram: Histogram(state), LostDays: state.LostDays()}
	var full []*tracker.Peer
	for k, p := range nodes {
		if state.Weights()[k] == 1 {
			full = append(full, p)
		}
	}
	out.Uncertainty = newUncertainty(full, out.Totals)
	slices.SortStableFunc(full, func(a, b *tracker.Peer) int {
		return cmp.Or(cmp.Compare(b.Estimate.Median, a.Estimate.Median), cmp.Compare(b.Estimate.Mean, a.Estimate.Mean))
	})
	for _, p := range full[:min(topNodes, len(full))] {
		out.Top = append(out.Top, Validating{p.ID, string(p.Client.Kind), estimated(p.Estimate.Estimate)})
	}
	return out
}
