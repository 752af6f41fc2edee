package report

import (
	"context"
	"errors"
	"strings"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Evidence is every row about one node, in the order in which they were stored, and the
// explanation of its estimate. Lists are never nil.
type Evidence struct {
	// Why says in a sentence what is known of its validators, and from what.
	Why string `json:"why"`
	// Note says why the node is not counted, and since when it does not answer; empty when it
	// is counted and was met by the last visit.
	Note        string                 `json:"note,omitempty"`
	Node        *Node                  `json:"node"`
	Tracked     *Tracked               `json:"tracked"` // null when it is not tracked
	Discoveries []dataset.DiscoveryRow `json:"discoveries"`
	Handshakes  []dataset.ValidatorRow `json:"handshakes"`
	Visits      []dataset.VisitRow     `json:"visits"`
}

// Evidence reads the rows about a node of this report.
func (r *Report) Evidence(ctx context.Context, dataDir string, n *Node) (e Evidence, err error) {
	e.Node = n
	var p *tracker.Peer
	if r.state != nil {
		if p = r.state.Peer(n.ID); p != nil {
			e.Tracked = newTracked(r.state, p)
		}
	}
	e.Note = noteOf(n)
	if fork := forkNote(n, r.nodes); fork != "" {
		e.Note = strings.Replace(e.Note, unvisited, fork, 1)
	}
	if e.Tracked != nil {
		newest := int64(0)
		for _, o := range r.nodes {
			newest = max(newest, o.met)
		}
		e.Note = strings.TrimSpace(e.Note + " " + uncountedText(n, e.Tracked, newest))
	}
	e.Why = whyNode(n, r.state, p, e.Tracked)
	if e.Discoveries, err = rowsOf(ctx, dataDir, func(row dataset.DiscoveryRow) bool { return row.ID == n.ID }); err != nil {
		return e, err
	}
	if e.Handshakes, err = rowsOf(ctx, dataDir, func(row dataset.ValidatorRow) bool { return row.ID == n.ID }); err != nil {
		return e, err
	}
	e.Visits, err = rowsOf(ctx, dataDir, func(row dataset.VisitRow) bool { return row.ID == n.ID })
	e.Note = strings.TrimSpace(e.Note + " " + goodbyeNote(n, e.Visits))
	return e, err
}

// rowsOf reads the rows of a table that match; never nil.
func rowsOf[R dataset.Row](ctx context.Context, dataDir string, matches func(R) bool) ([]R, error) {
	rows := []R{}
	err := dataset.Scan(ctx, dataDir, dataset.Range{}, func(row R) error {
		if matches(row) {
			rows = append(rows, row)
		}
		return nil
	})
	if errors.Is(err, dataset.ErrDamaged) {
		err = nil // Report.Damaged names them
	}
	return rows, err
}
