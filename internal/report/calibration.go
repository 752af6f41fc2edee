package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/chainbound/valtrack/internal/estimate"
)

// Calibration is how the client versions fared against the model's assumptions.
type Calibration struct {
	At       int64             `json:"at"` // Unix milliseconds; 0 for never
	Versions []VersionVerdicts `json:"versions"`
	// Total is M4: the sum of all nodes against the active validators.
	Total        string  `json:"total"`
	Multiplicity float64 `json:"multiplicity"`
	// Prior is the share of nodes in each band of validators, Spurious how many
	// short-lived subnets an observation shows that no duty explains, by client: as fitted
	// to the nodes of the last day.
	Prior    []PriorBand    `json:"prior"`
	Spurious []SpuriousRate `json:"spurious"`
}

// PriorBand is a range of validators, both ends in it.
type PriorBand struct {
	Low   int     `json:"low"`
	High  int     `json:"high"`
	Share float64 `json:"share"`
}

// SpuriousRate is one client's. Clients that are not listed have the default.
type SpuriousRate struct {
	Client         string  `json:"client"`
	PerObservation float64 `json:"per_observation"`
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
	// Flagged versions are not used in full: Used says what is. Unproven ones had too few
	// nodes for any test, and are used as assumed.
	Flagged  bool   `json:"flagged"`
	Unproven bool   `json:"unproven"`
	Used     string `json:"used"`
}

// Calibration gives the tests of the client versions, as they were made last.
func (r *Report) Calibration() Calibration {
	out := Calibration{Versions: []VersionVerdicts{}, Total: estimate.TooFew.String(), Prior: []PriorBand{}, Spurious: []SpuriousRate{}}
	if r.view == nil {
		return out
	}
	total := r.view.Totals()
	out.At, out.Total, out.Multiplicity = r.view.Learned.At, total.Verdict, total.Multiplicity
	for _, v := range r.view.Learned.Versions {
		out.Versions = append(out.Versions, VersionVerdicts{
			Client: string(v.Kind), Version: v.Release, Nodes: v.Nodes,
			Dispersion: v.Dispersion.String(), Dispersed: v.Dispersed, AllDuties: v.AllDuties,
			Watched: v.Watched.String(), WatchedRatio: v.WatchedRatio, Looked: v.Snapshots.String(), LookedRatio: v.SnapshotRatio,
			Large: v.Large, Contradicted: v.Contradicted, Lifetimes: v.Lifetimes.String(), LifetimeCounts: v.Habits.Lifetimes,
			Flagged: v.Trust != estimate.TrustAll, Unproven: v.Unproven(), Used: used(v.Trust),
		})
	}
	learned := r.view.Learned
	for _, b := range learned.Prior.Bands {
		out.Prior = append(out.Prior, PriorBand{b.Low, b.High, b.Share})
	}
	for _, kind := range slices.Sorted(maps.Keys(learned.Spurious)) {
		out.Spurious = append(out.Spurious, SpuriousRate{string(kind), learned.Spurious[kind]})
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
		switch {
		case v.Flagged:
			flag = "  !"
		case v.Unproven:
			flag = ", unproven"
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
	fmt.Fprint(t, "\nPRIOR: VALIDATORS OF A NODE\tSHARE OF NODES\n")
	for _, b := range c.Prior {
		fmt.Fprintf(t, "%s\t%.1f %%\n", Bucket{Low: b.Low, High: b.High}.name(), 100*b.Share)
	}
	fmt.Fprint(t, "\nSPURIOUS SUBNETS\tAN OBSERVATION\n")
	for _, s := range c.Spurious {
		fmt.Fprintf(t, "%s\t%.4f\n", s.Client, s.PerObservation)
	}
	return t.Flush()
}
