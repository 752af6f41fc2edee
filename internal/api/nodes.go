package api

import (
	"bufio"
	"context"
	"encoding/csv"
	"io"
	"net/http"
	"slices"
	"strings"
)

// listing is a request for nodes.
type listing struct {
	columns []*column
	by      sorting
	filters []filter
	limit   int // 0 for all
	start   int
	nodes   []int32 // all, in their order
	full    bool
}

// listNodes answers /api/v1/nodes.
func listNodes(s *Server, r *request) (answer, *problem) {
	format := r.choice("format", formatJSON, formatNDJSON, formatCSV, formatGeoJSON, formatParquet)
	l := listing{by: r.sorting(), columns: r.columns(), filters: r.filters(), full: r.caller.full}
	cursor := r.text("cursor", 4096)
	absent := int64(defaultLimit)
	if format != formatJSON {
		absent = 0
	}
	l.limit = int(r.integer("limit", 1, maxLimit, absent))
	if format == formatParquet && r.values.Has("fields") {
		r.fail(badParameter("fields", r.values.Get("fields"), "nothing with format=parquet, whose readers choose columns"))
	}
	if p := r.done(); p != nil {
		return answer{}, p
	}
	var p *problem
	if l.start, p = s.pageView(r, cursor, l.by, l.limit); p != nil {
		return answer{}, p
	}
	if format == formatJSON {
		l.nodes = r.view.sorted(l.by)
		return s.nodesPage(r, l), nil
	}
	return s.nodesFile(r, l, format, cursor != "")
}

// columns reads the parameter fields.
func (r *request) columns() []*column {
	all := columnsFor(r.caller.full)
	text := r.text("fields", 2048)
	if text == "" {
		return all
	}
	var out []*column
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.name
	}
	for name := range strings.SplitSeq(text, ",") {
		i := slices.Index(names, name)
		if i < 0 {
			if slices.ContainsFunc(nodeColumns, func(c column) bool { return c.name == name }) {
				p := r.needsKey("fields: " + name)
				p.Parameter = "fields"
				r.fail(p)
				return all
			}
			r.fail(badParameter("fields", name, "columns separated by commas, of "+strings.Join(names, ", "), names...))
			return all
		}
		if !slices.Contains(out, all[i]) {
			out = append(out, all[i])
		}
	}
	return out
}

// nodesPage is one page as JSON.
func (s *Server) nodesPage(r *request, l listing) answer {
	page, next, total := r.view.matching(l, r.filterKey())
	data := append(make([]byte, 0, 1024*len(page)+2), '[')
	for i, n := range page {
		if i > 0 {
			data = append(data, ',')
		}
		data = l.appendRow(data, n)
	}
	data = append(data, ']')
	m := struct {
		meta
		Next  *string `json:"next"`
		Total int     `json:"total"`
	}{meta: r.meta(), Total: total}
	if next > 0 {
		s.views.pins.keep(r.view)
		m.Next = new(cursor{s.viewID(r.view), l.by.spec(), next}.text())
	}
	return r.wrapped(s, data, m)
}

// appendRow appends a node as a JSON object.
func (l *listing) appendRow(b []byte, n *node) []byte {
	b = append(b, '{')
	for i, c := range l.columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, c.name...)
		b = append(b, '"', ':')
		b = c.at(n, l.full).appendJSON(b)
	}
	return append(b, '}')
}

// each calls f with the nodes of the listing, and stops at its first error.
func (l *listing) each(ctx context.Context, v *view, f func(n *node) error) error {
	rows := 0
	for i, at := range l.nodes[min(l.start, len(l.nodes)):] {
		if i%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		n := &v.nodes[at]
		if !passes(n, l.filters) {
			continue
		}
		if l.limit > 0 && rows == l.limit {
			return nil
		}
		rows++
		if err := f(n); err != nil {
			return err
		}
	}
	return nil
}

// nodesFile is the listing in another format than JSON. It takes one of the slots for
// exports while it is written. With a cursor it is of the view of the pages before.
func (s *Server) nodesFile(r *request, l listing, format string, paged bool) (answer, *problem) {
	types := map[string]string{formatNDJSON: typeNDJSON, formatCSV: typeCSV, formatGeoJSON: typeGeoJSON, formatParquet: typeParquet}
	write := map[string]func(context.Context, io.Writer, *view) error{
		formatNDJSON: l.writeNDJSON, formatCSV: l.writeCSV, formatGeoJSON: l.writeGeoJSON, formatParquet: l.writeParquet,
	}[format]
	a := answer{contentType: types[format], etag: r.etag(s), fileName: "nodes." + format}
	if matches(r.Header.Get("If-None-Match"), a.etag) || r.Method == http.MethodHead {
		return a, nil
	}
	release, p := s.export(r, paged)
	if p != nil {
		return answer{}, p
	}
	view := r.view
	l.nodes, a.etag, a.release = view.sorted(l.by), r.etag(s), release
	a.stream = func(ctx context.Context, w io.Writer) error { return write(ctx, w, view) }
	return a, nil
}

func (l *listing) writeNDJSON(ctx context.Context, w io.Writer, v *view) error {
	out := bufio.NewWriterSize(w, 32<<10)
	var row []byte
	err := l.each(ctx, v, func(n *node) error {
		row = append(l.appendRow(row[:0], n), '\n')
		_, err := out.Write(row)
		return err
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

func (l *listing) writeCSV(ctx context.Context, w io.Writer, v *view) error {
	out := csv.NewWriter(w)
	cells := make([]string, len(l.columns))
	for i, c := range l.columns {
		cells[i] = c.name
	}
	if err := out.Write(cells); err != nil {
		return err
	}
	err := l.each(ctx, v, func(n *node) error {
		for i, c := range l.columns {
			cells[i] = c.at(n, l.full).cell()
		}
		return out.Write(cells)
	})
	if err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// writeGeoJSON writes the nodes whose coordinates the caller may see.
func (l *listing) writeGeoJSON(ctx context.Context, w io.Writer, v *view) error {
	latitude, longitude := columnNamed("latitude"), columnNamed("longitude")
	out := bufio.NewWriterSize(w, 32<<10)
	row := []byte(`{"type":"FeatureCollection","features":[`)
	first := true
	err := l.each(ctx, v, func(n *node) error {
		lat, lon := latitude.at(n, l.full), longitude.at(n, l.full)
		if lat.kind == kindNull || lon.kind == kindNull {
			return nil
		}
		if !first {
			row = append(row, ',')
		}
		first = false
		row = append(row, `{"type":"Feature","geometry":{"type":"Point","coordinates":[`...)
		row = append(lon.appendJSON(row), ',')
		row = append(lat.appendJSON(row), `]},"properties":`...)
		row = append(l.appendRow(row, n), '}')
		_, err := out.Write(row)
		row = row[:0]
		return err
	})
	if err != nil {
		return err
	}
	if _, err := out.Write(append(row, "]}\n"...)); err != nil {
		return err
	}
	return out.Flush()
}

func columnNamed(name string) *column {
	return &nodeColumns[slices.IndexFunc(nodeColumns, func(c column) bool { return c.name == name })]
}
