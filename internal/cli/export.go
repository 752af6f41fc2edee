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
			text(flagTo, "", "time after the last, in the same forms"),
			text(flagOut, "", "file to write; - is standard output (csv and ndjson)"),
			text(flagFormat, "", "parquet, csv or ndjson; the ending of --out when not given"),
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
	cfg.dataDir, cfg.out = in.cmd.String(flagDataDir), in.cmd.String(flagOut)
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

// export writes the rows and counts them.
func export(ctx context.Context, cfg exportConfig, stdout io.Writer) (int, error) {
	switch cfg.table {
	case dataset.Discovery:
		return exportRows[dataset.DiscoveryRow](ctx, cfg, stdout)
	case dataset.Metadata:
		return exportRows[dataset.MetadataRow](ctx, cfg, stdout)
	case dataset.ValidatorMetadata:
		return exportRows[dataset.ValidatorRow](ctx, cfg, stdout)
	case dataset.PeerEstimates:
		return exportRows[dataset.EstimateRow](ctx, cfg, stdout)
	}
	return exportRows[dataset.VisitRow](ctx, cfg, stdout)
}

// exportRows writes the rows of the range to standard output or to a file, which
// is there only when it is whole.
func exportRows[T dataset.Row](ctx context.Context, cfg exportConfig, stdout io.Writer) (int, error) {
	if cfg.out == "-" {
		return encodeRows(ctx, cfg, newTextEncoder[T](cfg.format, nopCloser{stdout}))
	}
	partial := cfg.out + ".partial"
	enc, err := createEncoder[T](cfg.format, partial)
	if err != nil {
		return 0, usagef("--%s: %w", flagOut, err)
	}
	rows, err := encodeRows(ctx, cfg, enc)
	if err == nil {
		err = os.Rename(partial, cfg.out)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("export to %s: %w", cfg.out, err), os.Remove(partial))
	}
	return rows, nil
}

// encoder takes the rows of an export in one format. Close ends the format and
// closes the file.
type encoder[T dataset.Row] interface {
	Write(T) error
	Close() error
}

func encodeRows[T dataset.Row](ctx context.Context, cfg exportConfig, enc encoder[T]) (rows int, err error) {
	err = dataset.Scan(ctx, cfg.dataDir, cfg.in, func(row T) error {
		rows++
		return enc.Write(row)
	})
	return rows, errors.Join(err, enc.Close())
}

func createEncoder[T dataset.Row](format, path string) (encoder[T], error) {
	if format == formatParquet {
		return dataset.CreateFile[T](path)
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return newTextEncoder[T](format, f), nil
}

func newTextEncoder[T dataset.Row](format string, w io.WriteCloser) encoder[T] {
	if format == formatCSV {
		return &csvEncoder[T]{csv: csv.NewWriter(w), file: w}
	}
	return ndjsonEncoder[T]{json.NewEncoder(w), w}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

type ndjsonEncoder[T dataset.Row] struct {
	enc  *json.Encoder
	file io.Closer
}

func (e ndjsonEncoder[T]) Write(row T) error { return e.enc.Encode(row) }
func (e ndjsonEncoder[T]) Close() error      { return e.file.Close() }

// csvEncoder writes the columns under their names; a null is an empty cell, a
// list or object its JSON.
type csvEncoder[T dataset.Row] struct {
	csv    *csv.Writer
	file   io.Closer
	headed bool
}

func (e *csvEncoder[T]) Write(row T) error {
	names, cells, err := columns(row)
	if err != nil {
		return err
	}
	if err := e.head(names); err != nil {
		return err
	}
	return e.csv.Write(cells)
}

func (e *csvEncoder[T]) head(names []string) error {
	if e.headed {
		return nil
	}
	e.headed = true
	return e.csv.Write(names)
}

// Close writes the header when there was no row.
func (e *csvEncoder[T]) Close() error {
	var zero T
	names, _, err := columns(zero)
	err = errors.Join(err, e.head(names))
	e.csv.Flush()
	return errors.Join(err, e.csv.Error(), e.file.Close())
}

// columns are a row's columns in order: its JSON object's members.
func columns(row any) (names, cells []string, err error) {
	data, err := json.Marshal(row)
	if err != nil {
		return nil, nil, err
	}
	err = eachMember(data, func(name string, value json.RawMessage) error {
		names = append(names, name)
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
	return names, cells, err
}
