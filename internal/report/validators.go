package report

import (
	"cmp"
	"fmt"
	"io"
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
	// Top are the nodes with the most validators.
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
func validators(v *tracker.View) *Validators {
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
	slices.SortStableFunc(nodes, func(a, b *tracker.Peer) int { return cmp.Compare(b.Estimate.Mean, a.Estimate.Mean) })
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
	if v.CountedTwice > 0 {
		fmt.Fprintf(t, "left out\t%d earlier peer ids of the same addresses\n", v.CountedTwice)
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

// Calibration is how the client versions fared against the model's assumptions.
type Calibration struct {
	At       int64             `json:"at"` // Unix milliseconds; 0 for never
	Versions []VersionVerdicts `json:"versions"`
	// Total is M4: the sum of all nodes against the active validators.
	Total        string  `json:"total"`
	Multiplicity float64 `json:"multiplicity"`
}

// VersionVerdicts are one client version's: each is passed, failed or too few.
type VersionVerdicts struct {
	Client  string `json:"client"`
	Version string `json:"version"` // empty where the agent does not tell
	Nodes   int    `json:"nodes"`
	// Dispersion is M1; AllDuties of Dispersed nodes subscribe for every duty.
	Dispersion string `json:"dispersion"`
	Dispersed  int    `json:"dispersed"`
	AllDuties  int    `json:"all_duties"`
	// Watched and Looked are M2: the subnets of watches and of single looks over custody
	// groups, medians.
	Watched      string  `json:"watched"`
	WatchedRatio float64 `json:"watched_ratio"`
	Looked       string  `json:"looked"`
	LookedRatio  float64 `json:"looked_ratio"`
	Large        int     `json:"large"`
	Contradicted int     `json:"contradicted"`
	// Lifetimes is M3; LifetimeCounts are subscriptions by their slots: 0, 1, 2, 3, 4,
	// 5-8, 9-16, 17-32, 33-64, more.
	Lifetimes      string                        `json:"lifetimes"`
	LifetimeCounts [estimate.LifetimeBins]uint32 `json:"lifetime_counts"`
	// Flagged versions are not used in full: Used says what is.
	Flagged bool   `json:"flagged"`
	Used    string `json:"used"`
}

// Calibration gives the tests of the client versions, as they were made last.
func (r *Report) Calibration() Calibration {
	out := Calibration{Versions: []VersionVerdicts{}, Total: estimate.TooFew.String()}
	if r.view == nil {
		return out
	}
	total := r.view.Totals()
	out.At, out.Total, out.Multiplicity = r.view.Learned.At, total.Verdict, total.Multiplicity
	for _, v := range r.view.Learned.Versions {
		out.Versions = append(out.Versions, VersionVerdicts{
			Client: string(v.Kind), Version: v.Release, Nodes: v.Nodes,
			Dispersion: v.Dispersion.String(), Dispersed: v.Dispersed, AllDuties: v.AllDuties,
			Watched: v.Watched.String(), WatchedRatio: v.WatchedRatio, Looked: v.Looked.String(), LookedRatio: v.LookedRatio,
			Large: v.Large, Contradicted: v.Contradicted, Lifetimes: v.Lifetimes.String(), LifetimeCounts: v.Habits.Lifetimes,
			Flagged: v.Trust != estimate.TrustAll, Used: used(v.Trust),
		})
	}
	return out
}

func used(t estimate.Trust) string {
	switch t {
	case estimate.TrustAll:
		return "everything"
	case estimate.TrustWatched:
		return "watches and custody"
	case estimate.TrustWide:
		return "watches with a wide interval, and custody"
	default:
		return "custody only"
	}
}

// WriteText writes the tests for a person.
func (c Calibration) WriteText(w io.Writer) error {
	if c.At == 0 {
		_, err := fmt.Fprintln(w, "nothing learned yet")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "tested\t%s\n", clock(c.At))
	fmt.Fprintf(t, "M4 totals\t%s: %.2f times the active validators\n", c.Total, c.Multiplicity)
	fmt.Fprint(t, "\nCLIENT\tVERSION\tNODES\tM1 DISPERSION\tM2 WATCHES\tM2 LOOKS\tM3 LIFETIMES\tUSED\n")
	for _, v := range c.Versions {
		flag := ""
		if v.Flagged {
			flag = "  !"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s (%d of %d all duties)\t%s (%.2f)\t%s (%.2f)\t%s\t%s%s\n", v.Client, printable(v.Version), v.Nodes,
			v.Dispersion, v.AllDuties, v.Dispersed, v.Watched, v.WatchedRatio, v.Looked, v.LookedRatio, v.Lifetimes, v.Used, flag)
	}
	fmt.Fprint(t, "\nLIFETIMES IN SLOTS\tVERSION\t0\t1\t2\t3\t4\t5-8\t9-16\t17-32\t33-64\tMORE\n")
	for _, v := range c.Versions {
		fmt.Fprintf(t, "%s\t%s", v.Client, printable(v.Version))
		for _, n := range v.LifetimeCounts {
			fmt.Fprintf(t, "\t%d", n)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}
