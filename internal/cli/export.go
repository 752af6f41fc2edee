package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/dataset"
)

// Flags of export.
const (
	flagFrom   = "from"
	flagTo     = "to"
	flagOut    = "out"
	flagFormat = "format"
)

// Formats of export.
const (
	formatParquet = "parquet"
	formatCSV     = "csv"
	formatNDJSON  = "ndjson"
)

func exportFormats() []string { return []string{formatParquet, formatCSV, formatNDJSON} }

func (p *program) exportCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "export", Usage: "write a dataset to one file", ArgsUsage: "TABLE",
		Description: "TABLE is one of " + strings.Join(dataset.Tables(), ", ") + ".",
		Flags: []cli.Flag{
			jsonFlag(),
			text(flagFrom, "", "first time, as 2026-11-22, 2026-11-22T10:00:00Z or Unix milliseconds"),
			text(flagTo, "", "end of the time range, exclusive, in the same formats"),
			text(flagOut, "", "file to write; - is standard output (csv and ndjson)"),
			text(flagFormat, "", "parquet, csv or ndjson; by default from the extension of --out"),
		},
	}, runExport)
}

// exportView is what export prints: nothing when the rows go to standard output.
type exportView struct {
	Table string `json:"table"`
	Rows  int    `json:"rows"`
	Out   string `json:"out"`
}

// exportConfig is what to export and where to.
type exportConfig struct {
	dataDir, table string
	in             dataset.Range
	out, format    string
}

func runExport(ctx context.Context, in invocation) error {
	cfg, err := in.exportConfig()
	if err != nil {
		return err
	}
	rows, err := export(ctx, cfg, in.stdout)
	if err != nil || cfg.out == "-" {
		return err
	}
	return in.print(exportView{Table: cfg.table, Rows: rows, Out: cfg.out})
}

func (in invocation) exportConfig() (cfg exportConfig, err error) {
	if cfg.table, err = in.oneArgument("table"); err != nil {
		return cfg, err
	}
	if !slices.Contains(dataset.Tables(), cfg.table) {
		return cfg, usagef("unknown table %q; the tables are %s", cfg.table, strings.Join(dataset.Tables(), ", "))
	}
	if cfg.dataDir, err = in.dataDirectory(); err != nil {
		return cfg, err
	}
	cfg.out = in.cmd.String(flagOut)
	if dir := dataset.Containing(cfg.out); dir != "" {
		return cfg, usagef("--%s %q: %s is a dataset, whose readers would count the rows twice; choose another place", flagOut, cfg.out, dir)
	}
	if _, err := os.Stat(dataset.Dir(cfg.dataDir, cfg.table)); err != nil {
		return cfg, usagef("--%s %q holds no dataset: %w", flagDataDir, cfg.dataDir, err)
	}
	if cfg.in.From, err = parseTime(flagFrom, in.cmd.String(flagFrom)); err != nil {
		return cfg, err
	}
	if cfg.in.To, err = parseTime(flagTo, in.cmd.String(flagTo)); err != nil {
		return cfg, err
	}
	cfg.format = in.cmd.String(flagFormat)
	if cfg.format == "" {
		cfg.format = strings.TrimPrefix(filepath.Ext(cfg.out), ".")
	}
	switch {
	case cfg.out == "":
		return cfg, usagef("--%s FILE is missing, as in --%s %s.parquet", flagOut, flagOut, cfg.table)
	case cfg.out == "-" && cfg.format == formatParquet:
		return cfg, usagef("--%s -: parquet cannot be written to standard output, give a file", flagOut)
	case !slices.Contains(exportFormats(), cfg.format):
		return cfg, usagef("--%s %q: want one of %s", flagFormat, cfg.format, strings.Join(exportFormats(), ", "))
	}
	return cfg, nil
}

// parseTime reads a day, a time or Unix milliseconds as Unix milliseconds; empty
// is 0.
func parseTime(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	var ms int64
	if _, err := fmt.Sscanf(text, "%d", &ms); err == nil && fmt.Sprint(ms) == text {
		return ms, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, usagef("--%s %q: want 2026-11-22, 2026-11-22T10:00:00Z or Unix milliseconds", flag, text)
}

// export writes the rows of the range to standard output or to a file, which exists
// only when it is complete, and counts them.
func export(ctx context.Context, cfg exportConfig, stdout io.Writer) (int, error) {
	if cfg.out == "-" {
		return exportText(ctx, cfg, stdout)
	}
	partial := cfg.out + ".partial"
	f, err := os.Create(partial)
	if err != nil {
		return 0, usagef("--%s: %w", flagOut, err)
	}
	rows, err := exportFile(ctx, cfg, f)
	if err == nil {
		err = os.Rename(partial, cfg.out)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("export to %s: %w", cfg.out, err), os.Remove(partial))
	}
	return rows, nil
}

// exportFile closes the file.
func exportFile(ctx context.Context, cfg exportConfig, f *os.File) (int, error) {
	if cfg.format == formatParquet {
		return dataset.ExportParquet(ctx, cfg.dataDir, cfg.table, cfg.in, f)
	}
	rows, err := exportText(ctx, cfg, f)
	return rows, errors.Join(err, f.Close())
}

func exportText(ctx context.Context, cfg exportConfig, w io.Writer) (int, error) {
	if cfg.format == formatNDJSON {
		return exportNDJSON(ctx, cfg, w)
	}
	return exportCSV(ctx, cfg, w)
}

func exportNDJSON(ctx context.Context, cfg exportConfig, w io.Writer) (rows int, err error) {
	enc := json.NewEncoder(w)
	err = dataset.ScanTable(ctx, cfg.dataDir, cfg.table, cfg.in, func(row dataset.Row) error {
		rows++
		return enc.Encode(row)
	})
	return rows, err
}

// exportCSV writes the columns under their names; a null is an empty cell, a list or
// object its JSON.
func exportCSV(ctx context.Context, cfg exportConfig, w io.Writer) (rows int, err error) {
	names, err := dataset.Columns(cfg.table)
	if err != nil {
		return 0, err
	}
	out := csv.NewWriter(w)
	if err := out.Write(names); err != nil {
		return 0, err
	}
	err = dataset.ScanTable(ctx, cfg.dataDir, cfg.table, cfg.in, func(row dataset.Row) error {
		rows++
		cells, err := csvCells(row)
		if err != nil {
			return err
		}
		return out.Write(cells)
	})
	out.Flush()
	return rows, errors.Join(err, out.Error())
}

// csvCells are a row's cells in the order of its columns.
func csvCells(row dataset.Row) (cells []string, err error) {
	data, err := json.Marshal(row)
	if err != nil {
		return nil, err
	}
	err = eachMember(data, func(_ string, value json.RawMessage) error {
		cell := string(value)
		switch {
		case bytes.Equal(value, []byte("null")):
			cell = ""
		case value[0] == '"':
			if err := json.Unmarshal(value, &cell); err != nil {
				return err
			}
		}
		cells = append(cells, cell)
		return nil
	})
	return cells, err
}
