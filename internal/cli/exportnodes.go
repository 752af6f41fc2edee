package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/report"
)

// exportTables are what export takes: the datasets, and the nodes.
func exportTables() []string { return append(dataset.Tables(), dataset.Nodes) }

// scan calls each with the rows to export.
func (cfg exportConfig) scan(ctx context.Context, each func(dataset.Row) error) error {
	if cfg.table != dataset.Nodes {
		return dataset.ScanTable(ctx, cfg.dataDir, cfg.table, cfg.in, each)
	}
	r, err := report.Read(ctx, cfg.dataDir, cfg.in)
	if err == nil {
		err = r.Damaged()
	}
	if err != nil {
		return err
	}
	if n := r.Removed(); n > 0 {
		nodes := "1 node that has"
		if n > 1 {
			nodes = fmt.Sprintf("%d nodes that have", n)
		}
		fmt.Fprintf(cfg.notes, "the totals of this time include %s no row here: removed since then by 'valtrack purge' or --%s\n", nodes, flagRetention)
	}
	nodes := r.AllNodes()
	if cfg.public {
		report.HideFromPublic(nodes)
	}
	for _, n := range nodes {
		if err := each(n.Row()); err != nil {
			return err
		}
	}
	return nil
}

// columns are the names of the columns to export.
func (cfg exportConfig) columns() ([]string, error) {
	if cfg.table == dataset.Nodes {
		return dataset.ColumnsOf(dataset.NodeRow{}), nil
	}
	return dataset.Columns(cfg.table)
}

// parquet writes the rows to f, counts them, and closes f, also after an error.
func (cfg exportConfig) parquet(ctx context.Context, f *os.File) (rows int, err error) {
	if cfg.table != dataset.Nodes {
		return dataset.ExportParquet(ctx, cfg.dataDir, cfg.table, cfg.in, f)
	}
	out := dataset.NewFile[dataset.NodeRow](f)
	err = cfg.scan(ctx, func(row dataset.Row) error {
		rows++
		return out.Write(row.(dataset.NodeRow))
	})
	return rows, errors.Join(err, out.Close())
}
