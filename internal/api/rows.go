package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/printable"
)

// Formats of answers.
const (
	formatJSON    = "json"
	formatNDJSON  = "ndjson"
	formatCSV     = "csv"
	formatGeoJSON = "geojson"
	formatParquet = "parquet"
)

// wrapped is an answer with data that are JSON already.
func (r *request) wrapped(s *Server, data []byte, meta any) answer {
	m := marshal(meta)
	body := make([]byte, 0, len(data)+len(m)+32)
	body = append(body, `{"data":`...)
	body = append(body, data...)
	body = append(body, `,"meta":`...)
	body = append(body, m...)
	body = append(body, "}\n"...)
	a := answer{contentType: typeJSON, body: body}
	if r.view != nil {
		a.etag = r.etag(s)
	}
	return a
}

// data is an answer with a value and the meta of the view.
func (r *request) data(s *Server, v any) answer { return r.wrapped(s, marshal(v), r.meta()) }

// marshal is the JSON of a value that has one: structs with finite numbers.
func marshal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("%T: %w", v, err))
	}
	return data
}

// tabular answers with rows in one of the formats.
func tabular[T any](s *Server, r *request, format, name string, rows []T) answer {
	switch format {
	case formatNDJSON:
		return answer{contentType: typeNDJSON, etag: r.etag(s), stream: func(_ context.Context, w io.Writer) error {
			enc := json.NewEncoder(w)
			for _, row := range rows {
				if err := enc.Encode(row); err != nil {
					return err
				}
			}
			return nil
		}}
	case formatCSV:
		return answer{contentType: typeCSV, etag: r.etag(s), fileName: name + ".csv", stream: func(_ context.Context, w io.Writer) error {
			return writeCSV(w, rows)
		}}
	}
	return r.data(s, rows)
}

// writeCSV writes rows under the names of their JSON members: a member that a row leaves out is
// an empty cell.
func writeCSV[T any](w io.Writer, rows []T) error {
	out := csv.NewWriter(w)
	names := membersOf[T]()
	err := out.Write(names)
	for _, row := range rows {
		if err != nil {
			return err
		}
		var has, cols []string
		if has, cols, err = cells(row); err == nil {
			line := make([]string, len(names))
			for i, name := range names {
				if k := slices.Index(has, name); k >= 0 {
					line[i] = cols[k]
				}
			}
			err = out.Write(line)
		}
	}
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	return err
}

// membersOf are the names of a struct's JSON members.
func membersOf[T any]() (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// cells are the members of a row's JSON object, and their values for a CSV file: an empty
// cell for null, JSON for lists and objects.
func cells(row any) (names, out []string, err error) {
	data, err := json.Marshal(row)
	if err != nil {
		return nil, nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return nil, nil, err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		var member json.RawMessage
		if err := dec.Decode(&member); err != nil {
			return nil, nil, err
		}
		cell := string(member)
		switch {
		case cell == "null":
			cell = ""
		case member[0] == '"':
			if err := json.Unmarshal(member, &cell); err != nil {
				return nil, nil, err
			}
			cell = printable.NoFormula(cell)
		}
		names, out = append(names, fmt.Sprint(name)), append(out, cell)
	}
	return names, out, nil
}
