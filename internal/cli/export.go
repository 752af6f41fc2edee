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
	"github.com/chainbound/valtrack/internal/printable"
	"github.com/chainbound/valtrack/internal/report"
)

// Flags of export.
const (
	flagFrom   = "from"
	flagTo     = "to"
	flagOut    = "out"
	flagFormat = "format"
	flagRaw    = "raw"
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
		Description: "TABLE is one of " + strings.Join(dataset.Tables(), ", ") + ",\n" +
			"or " + dataset.Nodes + ": one row per node, with its estimate, derived from all of them.",
		Flags: []cli.Flag{
			jsonFlag(),
			text(flagFrom, "", "start of the time range, as 2026-11-22, 2026-11-22T10:00:00Z or Unix milliseconds; without a zone, UTC"),
			text(flagTo, "", "end of the time range, exclusive, in the same formats"),
			text(flagSince, "", "only the last so much time, as 24h or 7d"),
			text(flagOut, "", "file to write; - is standard output (csv and ndjson)"),
			text(flagFormat, "", "parquet, csv or ndjson (default: by the extension of --out; csv for -)"),
			toggle(flagPublic, "to publish the file: leave out of "+dataset.Nodes+" addresses, records, and places with few nodes; the other tables cannot be published"),
			toggle(flagRaw, "write CSV cells unchanged, even those that a spreadsheet would take for a formula; otherwise these get a leading apostrophe"),
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
	raw            bool // CSV cells as they are
	public         bool // nodes without their addresses
	notes          io.Writer
}

func runExport(ctx context.Context, in invocation) error {
	cfg, err := in.exportConfig()
	if err != nil {
		return err
	}
	rows, err := export(ctx, cfg, in.stdout)
	if err == nil && rows == 0 {
		err = in.noteNoRows(ctx, cfg)
	}
	if err != nil || cfg.out == "-" {
		return err
	}
	return in.print(exportView{Table: cfg.table, Rows: rows, Out: cfg.out})
}

// noteNoRows says why an export has no rows.
func (in invocation) noteNoRows(ctx context.Context, cfg exportConfig) error {
	empty, err := report.NoData(ctx, cfg.dataDir)
	switch {
	case err != nil:
		return err
	case empty != "":
		empty = "no data yet: " + empty
	case cfg.in != (dataset.Range{}):
		empty = "no row of " + cfg.table + " falls in this time range: 'valtrack check data' shows the range of the data"
	default:
		empty = cfg.table + " has no rows yet"
	}
	_, err = fmt.Fprintf(in.stderr, "the export is empty: %s\n", empty)
	return err
}

func (in invocation) exportConfig() (cfg exportConfig, err error) {
	if cfg.table, err = in.oneArgument("table"); err != nil {
		return cfg, err
	}
	if !slices.Contains(exportTables(), cfg.table) {
		return cfg, usagef("unknown table %q; the tables are %s", cfg.table, strings.Join(exportTables(), ", "))
	}
	if cfg.public = in.cmd.Bool(flagPublic); cfg.public && cfg.table != dataset.Nodes {
		return cfg, usagef("--%s: %s has addresses in each row; only %s and the reports can be published", flagPublic, cfg.table, dataset.Nodes)
	}
	cfg.notes = in.stderr
	if cfg.dataDir, err = in.dataDirectory(); err != nil {
		return cfg, err
	}
	cfg.out = in.cmd.String(flagOut)
	if dir := dataset.Containing(cfg.out); dir != "" {
		return cfg, usagef("--%s %q: %s is inside a dataset, whose readers would count the rows twice; choose another place", flagOut, cfg.out, dir)
	}
	stored := cfg.table
	if stored == dataset.Nodes {
		stored = dataset.Metadata
	}
	if !dataset.Exists(cfg.dataDir) {
		return cfg, usagef("--%s %q holds no datasets: 'valtrack run' or a consumer makes them there; give the directory that it writes to", flagDataDir, cfg.dataDir)
	}
	if _, err := os.Stat(dataset.Dir(cfg.dataDir, stored)); err != nil {
		return cfg, usagef("--%s %q holds no dataset: %w", flagDataDir, cfg.dataDir, err)
	}
	if cfg.in.From, err = parseTime(flagFrom, in.cmd.String(flagFrom)); err != nil {
		return cfg, err
	}
	if cfg.in.To, err = parseTime(flagTo, in.cmd.String(flagTo)); err != nil {
		return cfg, err
	}
	if err := inOrder(cfg.in); err != nil {
		return cfg, err
	}
	if since := in.cmd.String(flagSince); since != "" {
		if cfg.in != (dataset.Range{}) {
			return cfg, usagef("--%s cannot be combined with --%s or --%s", flagSince, flagFrom, flagTo)
		}
		if cfg.in, err = sinceRange(flagSince, since, time.Now()); err != nil {
			return cfg, err
		}
	}
	cfg.format, cfg.raw = in.cmd.String(flagFormat), in.cmd.Bool(flagRaw)
	if cfg.format == "" && cfg.out == "-" {
		cfg.format = formatCSV
	}
	if cfg.format == "" {
		cfg.format = strings.TrimPrefix(filepath.Ext(cfg.out), ".")
	}
	switch {
	case cfg.out == "":
		return cfg, usagef("--%s FILE is missing, as in --%s %s.parquet", flagOut, flagOut, cfg.table)
	case cfg.out == "-" && cfg.format == formatParquet:
		return cfg, usagef("--%s -: parquet cannot be written to standard output, give a file", flagOut)
	case !slices.Contains(exportFormats(), cfg.format) && in.cmd.String(flagFormat) == "":
		return cfg, usagef("--%s %q: its extension means --%s %q: want one of %s; use one of these extensions, or give --%s", flagOut, cfg.out, flagFormat, cfg.format, strings.Join(exportFormats(), ", "), flagFormat)
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
		return ms, checkMillis(flag, ms)
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, usagef("--%s %q: want 2026-11-22, 2026-11-22T10:00:00Z or Unix milliseconds; times without a zone are UTC", flag, text)
}

// Numbers of 13 digits are taken for Unix milliseconds: the years 2001 to 2286.
const minMillis, maxMillis = 1_000_000_000_000, 9_999_999_999_999

// checkMillis refuses a time in seconds, microseconds or nanoseconds. Zero is no limit.
func checkMillis(flag string, ms int64) error {
	if ms == 0 || ms >= minMillis && ms <= maxMillis {
		return nil
	}
	asSeconds := ""
	if ms > 0 && ms <= maxMillis/1000 {
		asSeconds = fmt.Sprintf("; as seconds it is %s, in milliseconds %d", time.Unix(ms, 0).UTC().Format(time.RFC3339), ms*1000)
	}
	return usagef("--%s %d: want Unix milliseconds, a number of 13 digits%s", flag, ms, asSeconds)
}

// inOrder refuses a range that begins after its end: no row is in it.
func inOrder(r dataset.Range) error {
	if r.From > 0 && r.To > 0 && r.From >= r.To {
		return usagef("--%s %s is not before --%s %s", flagFrom, moment(r.From), flagTo, moment(r.To))
	}
	return nil
}

// export writes the rows of the range to standard output or to a file, and counts them.
func export(ctx context.Context, cfg exportConfig, stdout io.Writer) (int, error) {
	if cfg.out == "-" {
		return exportText(ctx, cfg, stdout)
	}
	out, err := findOutFile(cfg.out)
	if err != nil {
		return 0, err
	}
	return out.write(cfg.format == formatParquet, func(f *os.File) (int, error) { return exportFile(ctx, cfg, f) })
}

// exportFile closes the file.
func exportFile(ctx context.Context, cfg exportConfig, f *os.File) (int, error) {
	if cfg.format == formatParquet {
		return cfg.parquet(ctx, f)
	}
	rows, err := exportText(ctx, cfg, newOutput(f))
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
	err = cfg.scan(ctx, func(row dataset.Row) error {
		rows++
		return enc.Encode(row)
	})
	return rows, err
}

// exportCSV writes the columns under their names; a null is an empty cell, a list or
// object its JSON. A cell that a spreadsheet would take for a formula gets a leading
// apostrophe, unless cells are to be raw.
func exportCSV(ctx context.Context, cfg exportConfig, w io.Writer) (rows int, err error) {
	names, err := cfg.columns()
	if err != nil {
		return 0, err
	}
	out := csv.NewWriter(w)
	if err := out.Write(names); err != nil {
		return 0, err
	}
	err = cfg.scan(ctx, func(row dataset.Row) error {
		rows++
		cells, err := csvCells(row)
		if err != nil {
			return err
		}
		if !cfg.raw {
			escapeFormulas(cells)
		}
		return out.Write(cells)
	})
	out.Flush()
	return rows, errors.Join(err, out.Error())
}

// escapeFormulas makes the cells safe for spreadsheets.
func escapeFormulas(cells []string) {
	for i, cell := range cells {
		cells[i] = printable.NoFormula(cell)
	}
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
