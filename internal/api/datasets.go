package api

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"os"
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

// table checks the name of a table in the path, and that the caller may read it: every table
// has addresses, or places that are finer than the public may see.
func (r *request) table() (string, *problem) {
	name := strings.TrimSuffix(r.PathValue("table"), ".parquet")
	if !slices.Contains(dataset.Tables(), name) {
		p := newProblem(http.StatusNotFound, "no table %s: want one of %s", shorten(name), strings.Join(dataset.Tables(), ", "))
		p.Allowed = dataset.Tables()
		return "", p
	}
	if !r.caller.full {
		return "", newProblem(http.StatusForbidden, "%s has addresses or exact places: it needs a key", name)
	}
	return name, nil
}

// getDataset writes the rows of a table.
func getDataset(s *Server, r *request) (answer, *problem) {
	from, to := r.span()
	format := r.choice("format", formatNDJSON, formatCSV, formatParquet)
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
	release, p := acquire(s.limits.reads, "readers of the datasets")
	if p != nil {
		return answer{}, p
	}
	a.stream = func(ctx context.Context, w io.Writer) error {
		defer release()
		ctx, cancel := context.WithTimeout(ctx, datasetTime)
		defer cancel()
		switch format {
		case formatCSV:
			return s.writeTableCSV(ctx, w, table, in)
		case formatParquet:
			return s.writeTableParquet(ctx, w, table, in)
		}
		return s.writeTableNDJSON(ctx, w, table, in)
	}
	return a, nil
}

func (s *Server) writeTableNDJSON(ctx context.Context, w io.Writer, table string, in dataset.Range) error {
	out := bufio.NewWriterSize(w, 32<<10)
	enc := json.NewEncoder(out)
	err := dataset.ScanTable(ctx, s.src.DataDir, table, in, func(row dataset.Row) error { return enc.Encode(row) })
	if err != nil {
		return err
	}
	return out.Flush()
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
	err = dataset.ScanTable(ctx, s.src.DataDir, table, in, func(row dataset.Row) error {
		_, cols, err := cells(row)
		if err != nil {
			return err
		}
		return out.Write(cols)
	})
	if err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// writeTableParquet writes to a file first: Parquet has its directory at the end.
func (s *Server) writeTableParquet(ctx context.Context, w io.Writer, table string, in dataset.Range) error {
	return throughFile(w, func(f *os.File) error {
		_, err := dataset.ExportParquet(ctx, s.src.DataDir, table, in, f)
		return err
	})
}

// throughFile copies a temporary file that write fills and closes.
func throughFile(w io.Writer, write func(f *os.File) error) error {
	f, err := os.CreateTemp("", "valtrack-export-*.parquet")
	if err != nil {
		return err
	}
	name := f.Name()
	defer os.Remove(name)
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(w, in)
	return err
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
