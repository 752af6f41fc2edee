package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

// trackerCheck compares the tracker's database with the rows that it was made from.
type trackerCheck struct {
	dir   string
	state *tracker.State // nil when there is nothing to compare
}

// readTracker is called before the datasets are read: a consumer writes to them first.
// problem says why the database cannot be read.
func readTracker(ctx context.Context, dir string) (c trackerCheck, problem string) {
	state, err := tracker.Read(ctx, dir)
	switch {
	case errors.Is(err, tracker.ErrMissing):
	case err != nil:
		problem = err.Error()
	case state.Applied != nil:
		c = trackerCheck{dir, state}
	}
	return c, problem
}

// problem says what the tracker has and the rows have not, or the other way round; empty
// when they agree.
func (c trackerCheck) problem(ctx context.Context, h *dataset.Health) (string, error) {
	if c.state == nil {
		return "", nil
	}
	applied := *c.state.Applied
	if newest, ok, err := dataset.Newest(c.dir); err != nil {
		return "", err
	} else if !ok || applied > newest {
		return fmt.Sprintf("it has segment %d, which the datasets lack: restore their newest parts, or run 'valtrack rebuild'", applied), nil
	}
	rows := map[string]uint64{}
	for range 3 { // parts may be merged while they are read
		clear(rows)
		err := dataset.Handshakes(ctx, c.dir, applied, func(peer string, at int64) {
			// A peer that was forgotten and came back is counted from then on.
			if p := c.state.Peer(peer); p != nil && at >= p.FirstSeen {
				rows[peer]++
			}
		})
		if err == nil {
			return c.compare(rows, wholeTable(h)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

// compare is given the handshakes of each peer, and whether these are all there ever were.
func (c trackerCheck) compare(rows map[string]uint64, whole bool) string {
	var lacking, surplus int
	nodes, _ := c.state.Counted()
	for _, p := range nodes {
		switch n := rows[p.ID]; {
		case n > p.Observations:
			lacking++
		case n < p.Observations && whole:
			surplus++
		}
	}
	switch {
	case lacking > 0:
		return fmt.Sprintf("%d nodes have more handshakes in the datasets than in the tracker: run 'valtrack rebuild'", lacking)
	case surplus > 0:
		return fmt.Sprintf("%d nodes have handshakes in the tracker that the datasets lack", surplus)
	}
	return ""
}

// wholeTable reports whether metadata_events has every row that was ever committed.
func wholeTable(h *dataset.Health) bool {
	if slices.ContainsFunc(h.Sentries, func(s dataset.SentryHealth) bool { return s.Removed > 0 }) {
		return false
	}
	i := slices.IndexFunc(h.Tables, func(t dataset.TableHealth) bool { return t.Table == dataset.Metadata })
	t := h.Tables[i]
	return t.Purged == 0 && len(t.Unreadable)+len(t.SetAside)+len(t.Holes) == 0
}
