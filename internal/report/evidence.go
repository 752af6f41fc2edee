package report

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/chainbound/valtrack/internal/dataset"
)

// Evidence is every row about one node, in the order in which they were stored, and
// what is estimated from them. Lists are never nil.
type Evidence struct {
	Node        *Node                  `json:"node"`
	Tracked     *Tracked               `json:"tracked"` // null when it is not tracked
	Discoveries []dataset.DiscoveryRow `json:"discoveries"`
	Handshakes  []dataset.ValidatorRow `json:"handshakes"`
	Visits      []dataset.VisitRow     `json:"visits"`
}

// Evidence reads the rows about a node of this report.
func (r *Report) Evidence(ctx context.Context, dataDir string, n *Node) (Evidence, error) {
	e := Evidence{Node: n, Discoveries: []dataset.DiscoveryRow{}, Handshakes: []dataset.ValidatorRow{}, Visits: []dataset.VisitRow{}}
	var all dataset.Range
	var err error
	if e.Tracked, err = r.tracked(n.ID); err != nil {
		return e, err
	}
	err = dataset.Scan(ctx, dataDir, all, func(row dataset.DiscoveryRow) error {
		if row.ID == n.ID {
			e.Discoveries = append(e.Discoveries, row)
		}
		return nil
	})
	if err != nil {
		return e, err
	}
	err = dataset.Scan(ctx, dataDir, all, func(row dataset.ValidatorRow) error {
		if row.ID == n.ID {
			e.Handshakes = append(e.Handshakes, row)
		}
		return nil
	})
	if err != nil {
		return e, err
	}
	err = dataset.Scan(ctx, dataDir, all, func(row dataset.VisitRow) error {
		if row.ID == n.ID {
			e.Visits = append(e.Visits, row)
		}
		return nil
	})
	return e, err
}

// WriteText writes the evidence for a person: what is known, then one line a
// handshake and one a visit.
func (e Evidence) WriteText(w io.Writer) error {
	if err := WriteNodes(w, []*Node{e.Node}); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if e.Tracked != nil {
		e.Tracked.writeText(t)
	}
	fmt.Fprint(t, "\nHANDSHAKE\tEPOCH\tSEQ\tLONG-LIVED\tSHORT-LIVED\tAGENT\n")
	for _, h := range e.Handshakes {
		short := "no hello"
		if h.ShortLivedSubnets != nil {
			short = numbers(h.ShortLivedSubnets)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\n", clock(h.Timestamp), h.Epoch, h.SeqNumber, numbers(h.LongLivedSubnets), short, printable(h.ClientVersion))
	}
	fmt.Fprint(t, "\nVISIT\tDIRECTION\tTRANSPORT\tOUTCOME\tERROR\n")
	for _, v := range e.Visits {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", clock(v.Started), v.Direction, orEmpty(v.Transport), v.Outcome, printable(orEmpty(v.Error)))
	}
	return t.Flush()
}

func numbers(list []int32) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Trim(fmt.Sprint(list), "[]")
}
