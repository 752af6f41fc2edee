package report

import (
	"cmp"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/tracker"
)

// topNodes is how many of the largest nodes a summary lists.
const topNodes = 10

// Validators are the estimates of the whole network.
type Validators struct {
	tracker.Totals
	// Histogram counts nodes by the median of their validators.
	Histogram []Bucket `json:"histogram"`
	// Top are the nodes with the most validators, by the median.
	Top []Validating `json:"top"`
}

// Bucket is a range of validators, both ends in it; High 0 is no end.
type Bucket struct {
	Low        int     `json:"low"`
	High       int     `json:"high"`
	Nodes      int     `json:"nodes"`
	Validators float64 `json:"validators"` // the sum of the means
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

// buckets are those of a histogram, empty.
func buckets() []Bucket {
	return []Bucket{
		{Low: 0, High: 0}, {Low: 1, High: 1}, {Low: 2, High: 8}, {Low: 9, High: 31}, {Low: 32, High: 127},
		{Low: 128, High: 399}, {Low: 400, High: 1199}, {Low: 1200, High: 3999}, {Low: 4000},
	}
}

// validators sums a tracker up; nil for one without estimates.
func validators(v *tracker.State) *Validators {
	nodes, _ := v.Counted()
	if len(nodes) == 0 {
		return nil
	}
	out := &Validators{Totals: v.Totals(), Histogram: buckets()}
	for _, p := range nodes {
		for i := len(out.Histogram) - 1; i >= 0; i-- {
			if b := &out.Histogram[i]; p.Estimate.Median >= b.Low {
				b.Nodes++
				b.Validators += p.Estimate.Mean
				break
			}
		}
	}
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b *tracker.Peer) int {
		return cmp.Or(cmp.Compare(b.Estimate.Median, a.Estimate.Median), cmp.Compare(b.Estimate.Mean, a.Estimate.Mean))
	})
	for _, p := range nodes[:min(topNodes, len(nodes))] {
		out.Top = append(out.Top, Validating{p.ID, string(p.Client.Kind), estimated(p.Estimate.Estimate)})
	}
	return out
}

func (v *Validators) writeText(t *tabwriter.Writer) {
	fmt.Fprintf(t, "validators\t%.0f [%.0f to %.0f] on %d nodes, %.0f of them with any\n", v.Validators, v.Low, v.High, v.Nodes, v.WithValidators)
	fmt.Fprintf(t, "stake\t%.0f ETH [%.0f to %.0f]\n", v.StakeETH, v.StakeLow, v.StakeHigh)
	note := ""
	if v.Verdict == estimate.Failed.String() {
		note = ": more than fallback nodes and distributed validators explain, see --calibration"
	}
	fmt.Fprintf(t, "multiplicity\t%.2f times the %d active validators%s\n", v.Multiplicity, v.ActiveValidators, note)
	if v.InboundOnly > 0 {
		fmt.Fprintf(t, "inbound only\t%d of the nodes, by peer id: no address tells which are the same\n", v.InboundOnly)
	}
	if v.DuplicateIDs > 0 {
		fmt.Fprintf(t, "left out\t%d earlier peer ids of the same addresses\n", v.DuplicateIDs)
	}
	fmt.Fprint(t, "\nCLIENT\tNODES\tWITH VALIDATORS\tVALIDATORS\t90 %\n")
	for _, c := range v.Clients {
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.0f\t%.0f to %.0f\n", c.Client, c.Nodes, c.WithValidators, c.Validators, c.Low, c.High)
	}
	fmt.Fprint(t, "\nVALIDATORS OF A NODE\tNODES\tSHARE\tVALIDATORS\n")
	for _, b := range v.Histogram {
		fmt.Fprintf(t, "%s\t%d\t%s\t%.0f\n", b.name(), b.Nodes, share(b.Nodes, v.Nodes), b.Validators)
	}
	fmt.Fprint(t, "\nLARGEST NODES\tCLIENT\tVALIDATORS\t90 %\tSTAKE\n")
	for _, n := range v.Top {
		fmt.Fprintf(t, "%s\t%s\t%d\t%.0f to %.0f\t%.0f ETH\n", n.ID, n.Client, n.Validators, n.ValidatorsLow, n.ValidatorsHigh, n.StakeETH)
	}
}

func (b Bucket) name() string {
	switch {
	case b.Low == b.High:
		return fmt.Sprint(b.Low)
	case b.High == 0:
		return fmt.Sprintf("%d and more", b.Low)
	}
	return fmt.Sprintf("%d to %d", b.Low, b.High)
}
