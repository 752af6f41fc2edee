package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

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
	_, nodes, err := cfg.nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := each(n.Row()); err != nil {
			return err
		}
	}
	return nil
}

// nodes are those to export, and the report that they are of.
func (cfg exportConfig) nodes(ctx context.Context) (*report.Report, []*report.Node, error) {
	r, err := report.Read(ctx, cfg.dataDir, cfg.in)
	if err == nil {
		err = r.Damaged()
	}
	if err != nil {
		return nil, nil, err
	}
	if n := r.Removed(); n > 0 {
		nodes := "1 node that has"
		if n > 1 {
			nodes = fmt.Sprintf("%d nodes that have", n)
		}
		fmt.Fprintf(cfg.notes, "the totals of this time include %s no row here: removed since then by 'valtrack purge' or --%s\n", nodes, flagRetention)
	}
	nodes := r.AllNodes()
	if !slices.ContainsFunc(nodes, func(n *report.Node) bool { return n.Estimated != nil }) {
		fmt.Fprintf(cfg.notes, "the columns of the estimates are null: %v\n", report.ErrNoEstimates)
	}
	if cfg.public {
		report.HideFromPublic(nodes)
	}
	return r, nodes, nil
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
	r, nodes, err := cfg.nodes(ctx)
	if err != nil {
		return 0, errors.Join(err, out.Close())
	}
	out.About = r.About()
	for _, n := range nodes {
		if err := out.Write(n.Row()); err != nil {
			return rows, errors.Join(err, out.Close())
		}
		rows++
	}
	return rows, out.Close()
}
