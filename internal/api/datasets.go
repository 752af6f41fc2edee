package api

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
)

// datasetTime bounds how long one request may read the datasets.
const datasetTime = 30 * time.Minute

// tableInfo is what is stored of a table.
type tableInfo struct {
	Table  string     `json:"table"`
	Public bool       `json:"public"`
	Files  int        `json:"files"`
	Bytes  int64      `json:"bytes"`
	Rows   *int64     `json:"rows"`
	Parts  []partInfo `json:"parts"`
}

type partInfo struct {
	Name     string `json:"name"`
	Bytes    int64  `json:"bytes"`
	Modified int64  `json:"modified"`
}

func listDatasets(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	rows := map[string]int64{}
	for _, t := range s.survey.Tables() {
		rows[t.Table] = t.Rows
	}
	out := []tableInfo{}
	for _, table := range dataset.Tables() {
		parts, err := dataset.Parts(s.src.DataDir, table)
		if err != nil {
			return answer{}, s.readProblem(err)
		}
		t := tableInfo{Table: table, Files: len(parts), Parts: []partInfo{}}
		if n, ok := rows[table]; ok {
			t.Rows = &n
		}
		for _, p := range parts {
			t.Bytes += p.Size()
			t.Parts = append(t.Parts, partInfo{p.Name(), p.Size(), p.ModTime().UnixMilli()})
		}
		out = append(out, t)
	}
	a := r.data(s, out)
	a.etag = "" // the datasets grow between two views
	return a, nil
}

// tableName is the table in the path, and the format that it ends with, as in metadata_events.csv;
// empty for none.
func (r *request) tableName() (name, format string) {
	name = r.PathValue("table")
	for _, format := range []string{formatNDJSON, formatCSV, formatParquet} {
		if table, ok := strings.CutSuffix(name, "."+format); ok {
			return table, format
		}
	}
	return name, ""
}

// table checks the name of a table in the path, and that the caller may read it: every table
// has addresses, or places that are finer than the public may see.
func (r *request) table() (string, *problem) {
	name, _ := r.tableName()
	if !slices.Contains(dataset.Tables(), name) {
		p := newProblem(http.StatusNotFound, "no table %s: want one of %s", shorten(name), strings.Join(dataset.Tables(), ", "))
		p.Allowed = dataset.Tables()
		return "", p
	}
	if !r.caller.full {
		return "", r.needsKey(name + " has addresses or exact places: it")
	}
	return name, nil
}

// getDataset writes the rows of a table.
func getDataset(s *Server, r *request) (answer, *problem) {
	from, to := r.span()
	formats := []string{formatNDJSON, formatCSV, formatParquet}
	if _, suffix := r.tableName(); suffix != "" {
		formats = []string{suffix}
	}
	format := r.choice("format", formats...)
	if p := r.done(); p != nil {
		return answer{}, p
	}
	table, p := r.table()
	if p != nil {
		return answer{}, p
	}
	in := dataset.Range{From: from}
	if to < math.MaxInt64 {
		in.To = to + 1
	}
	types := map[string]string{formatNDJSON: typeNDJSON, formatCSV: typeCSV, formatParquet: typeParquet}
	a := answer{contentType: types[format], fileName: table + "." + format}
	if r.Method == http.MethodHead {
		return a, nil
	}
	release, p := s.limits.reads.acquire(r.Context(), r.client)
	if p != nil {
		return answer{}, p
	}
	a.limit, a.release = datasetTime, release
	damaged := ""
	a.trailer = func() (name, value string) { return trailerDamaged, damaged }
	a.stream = func(ctx context.Context, w io.Writer) (err error) {
		switch format {
		case formatCSV:
			err = s.writeTableCSV(ctx, w, table, in)
		case formatParquet:
			err = dataset.StreamTable(ctx, s.src.DataDir, table, in, w)
		default:
			err = s.writeTableNDJSON(ctx, w, table, in)
		}
		if errors.Is(err, dataset.ErrDamaged) { // all other rows were written
			damaged = strings.Join(s.damagedParts(err), ",")
			return nil
		}
		return err
	}
	return a, nil
}

// trailerDamaged is the trailer that names the damaged parts whose rows are missing, with commas
// in between; empty when there are none.
const trailerDamaged = "Valtrack-Damaged-Parts"

func (s *Server) writeTableNDJSON(ctx context.Context, w io.Writer, table string, in dataset.Range) error {
	out := bufio.NewWriterSize(w, 32<<10)
	enc := json.NewEncoder(out)
	damaged := dataset.ScanTable(ctx, s.src.DataDir, table, in, func(row dataset.Row) error { return enc.Encode(row) })
	if damaged != nil && !errors.Is(damaged, dataset.ErrDamaged) {
		return damaged
	}
	return cmp.Or(out.Flush(), damaged)
}

func (s *Server) writeTableCSV(ctx context.Context, w io.Writer, table string, in dataset.Range) error {
	names, err := dataset.Columns(table)
	if err != nil {
		return err
	}
	out := csv.NewWriter(w)
	if err := out.Write(names); err != nil {
		return err
	}
	damaged := dataset.ScanTable(ctx, s.src.DataDir, table, in, func(row dataset.Row) error {
		_, cols, err := cells(row)
		if err != nil {
			return err
		}
		return out.Write(cols)
	})
	if damaged != nil && !errors.Is(damaged, dataset.ErrDamaged) {
		return damaged
	}
	out.Flush()
	return cmp.Or(out.Error(), damaged)
}

// getDatasetPart serves one file, also in ranges.
func getDatasetPart(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	table, p := r.table()
	if p != nil {
		return answer{}, p
	}
	name := r.PathValue("part")
	f, err := dataset.OpenPart(s.src.DataDir, table, name)
	if err != nil {
		return answer{}, newProblem(http.StatusNotFound, "no file %s of %s: /api/v1/datasets lists them; parts are merged into others", shorten(name), table)
	}
	return answer{serve: func(w http.ResponseWriter, r *http.Request) {
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			s.readProblem(err).write(w)
			return
		}
		h := w.Header()
		h.Set("Content-Type", typeParquet)
		h.Set("Content-Disposition", `attachment; filename="`+table+"-"+name+`"`)
		h.Set("Cache-Control", "private, no-cache")
		http.ServeContent(w, r, "", info.ModTime(), f)
	}}, nil
}
