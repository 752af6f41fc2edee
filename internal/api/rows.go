package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"

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

// writeCSV writes rows under the names of their JSON members; every row has the same ones.
func writeCSV[T any](w io.Writer, rows []T) error {
	out := csv.NewWriter(w)
	var zero T
	names, _, err := cells(zero)
	if err == nil {
		err = out.Write(names)
	}
	for _, row := range rows {
		if err != nil {
			return err
		}
		var cols []string
		if _, cols, err = cells(row); err == nil {
			err = out.Write(cols)
		}
	}
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	return err
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
