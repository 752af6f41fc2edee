package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteText writes the tests for people.
func (c Calibration) WriteText(w io.Writer) error {
	if c.At == 0 {
		_, err := fmt.Fprintln(w, "nothing learned yet")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "tested\t%s\n", clock(c.At))
	fmt.Fprintf(t, "M4 totals\t%s: %.2f times the active validators\n", c.Total, c.Multiplicity)
	fmt.Fprint(t, "\nCLIENT\tVERSION\tNODES\tM1 DISPERSION\tM2 WATCHES\tM2 SNAPSHOTS\tM3 LIFETIMES\tUSED\n")
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
	fmt.Fprint(t, "\nSPURIOUS SUBNETS\tPER OBSERVATION\n")
	for _, s := range c.Spurious {
		fmt.Fprintf(t, "%s\t%.4f\n", s.Client, s.PerObservation)
	}
	return t.Flush()
}
