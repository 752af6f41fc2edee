package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/chainbound/valtrack/internal/estimate"
)

// maxVersions bounds the versions that a client's line names.
const maxVersions = 4

// WriteText writes the summary for people.
func (s Summary) WriteText(w io.Writer) error {
	if s.Rows == (Counts{}) {
		_, err := fmt.Fprintln(w, "no data yet")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "network\t%s\n", strings.Join(s.Networks, ", "))
	fmt.Fprintf(t, "seen\t%s to %s\n", clock(s.FirstSeen), clock(s.LastSeen))
	fmt.Fprintf(t, "nodes\t%d discovered, %d visited, %d handshaked\n", s.Discovered, s.Visited, s.Handshaked)
	fmt.Fprintf(t, "rows\t%d discoveries, %d handshakes, %d visits\n", s.Rows.Discoveries, s.Rows.Handshakes, s.Rows.Visits)
	if s.Validators != nil {
		s.Validators.writeText(t)
	}

	fmt.Fprint(t, "\nCLIENT\tNODES\tSHARE\tVERSIONS\n")
	for _, c := range s.Clients {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", c.Client, c.Nodes, share(c.Nodes, s.Handshaked), versions(c))
	}
	fmt.Fprint(t, "\nSHORT-LIVED SUBNETS\tNODES\tSHARE\n")
	writeNumbers(t, s.ShortLivedSubnets, s.NoHello, "no hello", s.Handshaked)
	fmt.Fprint(t, "\nCUSTODY GROUPS\tNODES\tSHARE\n")
	writeNumbers(t, s.CustodyGroupCounts, s.NoCGC, "not reported", s.Handshaked)
	fmt.Fprint(t, "\nOUTCOME\tVISITS\tSHARE\tNODES\n")
	for _, o := range s.Outcomes {
		fmt.Fprintf(t, "%s\t%d\t%s\t%d\n", o.Outcome, o.Visits, share(o.Visits, s.Rows.Visits), o.Nodes)
	}
	return t.Flush()
}

func writeNumbers(w io.Writer, counts []NumberCount, missing int, why string, total int) {
	for _, c := range counts {
		fmt.Fprintf(w, "%d\t%d\t%s\n", c.Number, c.Nodes, share(c.Nodes, total))
	}
	if missing > 0 {
		fmt.Fprintf(w, "%s\t%d\t%s\n", why, missing, share(missing, total))
	}
}

func versions(c ClientCount) string {
	var words []string
	for i, v := range c.Versions {
		if i == maxVersions {
			words = append(words, fmt.Sprintf("%d more", len(c.Versions)-i))
			break
		}
		name := printable(v.Version)
		if name == "" {
			name = "unknown"
		}
		words = append(words, fmt.Sprintf("%s (%d)", name, v.Nodes))
	}
	return strings.Join(words, ", ")
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
		fmt.Fprintf(t, "inbound only\t%d of the nodes, by peer id: without an address, one node with two ids cannot be recognised\n", v.InboundOnly)
	}
	if v.DuplicateIDs > 0 {
		fmt.Fprintf(t, "not counted\t%d earlier peer ids of the same addresses\n", v.DuplicateIDs)
	}
	if v.LostDays > 0 {
		fmt.Fprintf(t, "lost\t%d days of statistics that could not be decoded: 'valtrack rebuild' recomputes them\n", v.LostDays)
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
