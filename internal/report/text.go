package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// maxVersions bounds the versions that a client's line names.
const maxVersions = 4

// WriteText writes the summary for a person.
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
	writeNumbers(t, s.CustodyGroupCounts, s.NoCGC, "not told", s.Handshaked)
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

// WriteNodes writes one line a node.
func WriteNodes(w io.Writer, nodes []*Node) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tCLIENT\tVERSION\tVALIDATORS\tCGC\tLONG-LIVED\tSHORT-LIVED\tOBSERVATIONS\tLAST SEEN\tTRANSPORT")
	for _, n := range nodes {
		cgc, short, estimate := "-", "-", "-"
		if n.Estimated != nil {
			estimate = fmt.Sprintf("%d [%.0f to %.0f]", n.Validators, n.ValidatorsLow, n.ValidatorsHigh)
		}
		if n.CustodyGroupCount != nil {
			cgc = fmt.Sprint(*n.CustodyGroupCount)
		}
		if n.ShortLivedSubnets != nil {
			short = fmt.Sprint(len(n.ShortLivedSubnets))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\n", n.ID, n.Client, printable(orEmpty(n.ClientVersion)), estimate, cgc,
			len(n.LongLivedSubnets), short, n.Observations, clock(n.LastSeen), n.Transport)
	}
	return t.Flush()
}

// printable drops what would steer a terminal: agents, versions and errors are
// whatever a peer chose.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

func share(n, total int) string {
	if total == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(total))
}
