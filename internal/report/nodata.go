package report

import (
	"context"
	"errors"
	"fmt"

	"github.com/chainbound/valtrack/internal/dataset"
)

// NoData says that no row is stored in a data directory yet, and what to do; empty when
// there is one, also in a part that is damaged.
func NoData(ctx context.Context, dataDir string) (string, error) {
	if !dataset.Exists(dataDir) {
		return fmt.Sprintf("%s has no datasets: 'valtrack run' or a consumer makes them there; --data-dir names another directory", dataDir), nil
	}
	found := errors.New("found")
	for _, table := range dataset.Tables() {
		err := dataset.ScanTable(ctx, dataDir, table, dataset.Range{}, func(dataset.Row) error { return found })
		switch {
		case errors.Is(err, found), errors.Is(err, dataset.ErrDamaged):
			return "", nil
		case err != nil:
			return "", err
		}
	}
	return fmt.Sprintf("nothing is stored in %s yet: while 'valtrack run' or a consumer runs, events become readable with the next commit, at most a minute after the first event", dataDir), nil
}

// noNodes says why a list of the nodes that completed a handshake is empty.
func (r *Report) noNodes() string {
	var found, visited int
	for _, n := range r.nodes {
		if n.discovered {
			found++
		}
		if n.visited {
			visited++
		}
	}
	in := ""
	if r.window() != nil {
		in = " in this window"
	}
	return fmt.Sprintf("no node completed a handshake%s: the records of %d were found, and visits to %d ended; 'valtrack report' shows the outcomes, 'valtrack export nodes' lists these nodes", in, found, visited)
}
