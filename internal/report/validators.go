package report

import (
	"cmp"
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/tracker"
)

// topNodes is how many of the largest nodes a summary lists.
const topNodes = 10

// Validators are the estimates of the whole network.
type Validators struct {
	tracker.Totals
	// PerActive is Ratio by a name of its own: its old one, multiplicity, is also that of how many
	// nodes run a validator.
	PerActive float64 `json:"attachments_per_active"`
	// Histogram counts nodes, and their validators, by the median.
	Histogram []Bucket `json:"histogram"`
	// Top are the nodes with the most validators, by the median, of those that count in full.
	Top []Validating `json:"top"`
	// LostDays counts days of a node's statistics that could not be decoded.
	LostDays uint64 `json:"lost_days"`
	// Removed counts nodes of a past hour's totals whose rows were removed since.
	Removed     int         `json:"removed_nodes"`
	Uncertainty Uncertainty `json:"uncertainty"`
}

// Uncertainty is what makes the interval of the total wide, as shares of its variance.
type Uncertainty struct {
	// Nodes are those that contribute most to it, at most a few, together Share.
	Nodes []Uncertain `json:"nodes"`
	Share float64     `json:"share"`
	// Misfits is the share of the rates of client versions, Assumptions that of what is assumed
	// about all nodes alike.
	Misfits     float64 `json:"misfits"`
	Assumptions float64 `json:"assumptions"`
	// Concentrated is the part of the interval that is what concentrated nodes claim. Above
	// a half nothing else is looked for.
	Concentrated float64 `json:"concentrated"`
}

// Uncertain is a node with a wide interval.
type Uncertain struct {
	Validating
	AllSubnets bool    `json:"all_subnets"`
	Share      float64 `json:"share"` // of the total's variance
}

// uncertainNodes is how many nodes an Uncertainty names at most, leastShare the part of the
// variance that each of them has at least.
const uncertainNodes, leastShare = 5, 0.05

// newUncertainty splits the variance of the total of nodes, which count in full.
func newUncertainty(nodes []*tracker.Peer, t tracker.Totals) (u Uncertainty) {
	u.Nodes = []Uncertain{}
	if t.Concentrated > 0 {
		u.Concentrated = t.Claimed / (t.High - t.Low)
	}
	u.Misfits, u.Assumptions = t.Errors.Clients, t.Errors.Prior+t.Errors.ActiveValidators
	own := 0.0
	for _, p := range nodes {
		own += p.Estimate.Variance
	}
	if u.Concentrated > 0.5 || !(own > 0) {
		return u
	}
	widest := slices.SortedFunc(slices.Values(nodes), func(a, b *tracker.Peer) int { return cmp.Compare(b.Estimate.Variance, a.Estimate.Variance) })
	for _, p := range widest[:min(uncertainNodes, len(widest))] {
		share := t.Errors.Nodes * p.Estimate.Variance / own
		if share < leastShare {
			break
		}
		u.Share += share
		u.Nodes = append(u.Nodes, Uncertain{Validating{p.ID, string(p.Client.Kind), trusted(p.Estimate)}, p.Estimate.AllSubnets, share})
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
	// The stake is null where the mean balance of the network's validators is not known.
	StakeETH  *float64 `json:"stake_eth"`
	StakeLow  *float64 `json:"stake_low"`
	StakeHigh *float64 `json:"stake_high"`
	// Since is when the day began since which it has had this number, Unix milliseconds; null where no change
	// shows in the days that the estimate uses, and in estimates of the past.
	Since *int64 `json:"since"`
	// Trust says how far the rate of duties of the client version is known, Flags what makes the
	// estimate doubtful; null in rows of earlier versions.
	Trust *string  `json:"trust"`
	Flags []string `json:"flags"`
	// SD and Shared are those of dataset.NodeRow; Shared is nil in rows of earlier versions.
	SD     float64  `json:"-"`
	Shared *float64 `json:"-"`
}

func estimated(e estimate.Estimate) Estimated {
	out := Estimated{Validators: e.Median, ValidatorsLow: e.Low, ValidatorsHigh: e.High, ValidatorsMean: e.Mean, PValidator: e.PValidator, Flags: e.Flags.Names(),
		SD: math.Sqrt(e.Variance), Shared: &e.Shared}
	if s := e.Stake; s.Known {
		out.StakeETH, out.StakeLow, out.StakeHigh = &s.Median, &s.Low, &s.High
	}
	return out
}

// trusted is an estimate of the tracker.
func trusted(e *tracker.Estimate) Estimated {
	out := estimated(e.Estimate)
	out.Trust, out.Since = new(e.Trust.String()), known(e.Since)
	return out
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
	return &Validators{Totals: *r.totals, PerActive: r.totals.Ratio, Removed: r.removed, Histogram: []Bucket{}, Top: []Validating{}, Uncertainty: Uncertainty{Nodes: []Uncertain{}}}
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
	totals := state.Totals()
	out := &Validators{Totals: totals, PerActive: totals.Ratio, Histogram: Histogram(state), LostDays: state.LostDays()}
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
		out.Top = append(out.Top, Validating{p.ID, string(p.Client.Kind), trusted(p.Estimate)})
	}
	return out
}
