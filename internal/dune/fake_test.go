package dune

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/client"
)

const testKey, testNamespace = "dune_secret", "team"

// fault is what goes wrong with a request to Dune.
type fault int

const (
	none      fault = iota
	refused         // an error, without an effect
	busy            // the same, and it says so
	cut             // no answer, and no effect
	lost            // no answer, but an effect
	garbled         // an effect, and an answer that is none
	died            // the publisher dies before the request
	diedAfter       // or after it
)

// fakeDune is Dune's API as it is documented: uploads and saved queries, in memory.
type fakeDune struct {
	t       *testing.T
	tables  map[string][]map[string]any // by name, without the namespace
	schemas map[string][]schemaColumn
	queries map[int64]map[string]string
	calls   []string
	sent    bytes.Buffer // all that was sent
	fault   func(call int) fault
	die     func()
	// complete is how many rows a table has that readers may see, by the name of its query.
	complete map[string]int
}

func newFakeDune(t *testing.T) *fakeDune {
	return &fakeDune{t: t, tables: map[string][]map[string]any{}, schemas: map[string][]schemaColumn{}, queries: map[int64]map[string]string{}, fault: func(int) fault { return none }}
}

func (d *fakeDune) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	d.calls = append(d.calls, r.Method+" "+r.URL.Path)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	d.sent.WriteString(r.URL.String() + "\n")
	d.sent.Write(body)
	what := d.fault(len(d.calls))
	rec := httptest.NewRecorder()
	switch what {
	case refused:
		http.Error(rec, `{"error":"internal error"}`, http.StatusInternalServerError)
		return rec.Result(), nil
	case busy:
		rec.Header().Set("Retry-After", "3")
		http.Error(rec, `{"error":"too many requests"}`, http.StatusTooManyRequests)
		return rec.Result(), nil
	case cut:
		return nil, errors.New("connection reset")
	case died:
		d.die()
		return nil, r.Context().Err()
	}
	status, out := d.answer(r, body)
	d.checkReaders()
	switch what {
	case lost:
		return nil, errors.New("connection reset")
	case garbled:
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"rows_written":`))}, nil
	case diedAfter:
		d.die()
		return nil, r.Context().Err()
	}
	rec.WriteHeader(status)
	json.NewEncoder(rec).Encode(out)
	return rec.Result(), nil
}

var queryPath = regexp.MustCompile(`^/api/v1/query/(\d+)$`)

func (d *fakeDune) answer(r *http.Request, body []byte) (int, any) {
	bad := func(status int, format string, args ...any) (int, any) {
		return status, map[string]string{"error": fmt.Sprintf(format, args...)}
	}
	if r.Header.Get("X-Dune-Api-Key") != testKey {
		return bad(401, "invalid API key")
	}
	at := r.Method + " " + r.URL.Path
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
	switch {
	case at == "GET /api/v1/uploads":
		names := slices.Sorted(maps.Keys(d.tables))
		list := []any{map[string]any{"full_name": "dune.other.valtrack_nodes_20000101_000000_0000"}, map[string]any{"full_name": "dune.team.valtrack_nodes"}}
		for _, name := range names {
			list = append(list, map[string]any{"full_name": "dune." + testNamespace + "." + name, "is_private": false})
		}
		end := min(offset+min(limit, 3), len(list)) // pages are short
		out := map[string]any{"tables": list[min(offset, end):end]}
		if end < len(list) {
			out["next_offset"] = end
		}
		return 200, out
	case at == "POST /api/v1/uploads":
		return d.create(body)
	case strings.HasPrefix(at, "POST /api/v1/uploads/"+testNamespace+"/") && strings.HasSuffix(at, "/insert"):
		return d.insert(strings.TrimSuffix(strings.TrimPrefix(at, "POST /api/v1/uploads/"+testNamespace+"/"), "/insert"), r, body)
	case strings.HasPrefix(at, "DELETE /api/v1/uploads/"+testNamespace+"/"):
		name := strings.TrimPrefix(at, "DELETE /api/v1/uploads/"+testNamespace+"/")
		if _, ok := d.tables[name]; !ok {
			return bad(404, "no table %s", name)
		}
		delete(d.tables, name)
		return 200, map[string]string{"message": "deleted"}
	}
	return d.answerQuery(r, body, limit, offset)
}

func (d *fakeDune) create(body []byte) (int, any) {
	var in struct {
		Namespace string         `json:"namespace"`
		Table     string         `json:"table_name"`
		Schema    []schemaColumn `json:"schema"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.Namespace != testNamespace || !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(in.Table) || len(in.Schema) == 0 {
		return 400, map[string]string{"error": fmt.Sprintf("%v: %+v", err, in)}
	}
	if _, ok := d.tables[in.Table]; ok {
		return 409, map[string]string{"error": "there is such a table"}
	}
	d.tables[in.Table], d.schemas[in.Table] = []map[string]any{}, in.Schema
	return 200, map[string]any{"namespace": in.Namespace, "table_name": in.Table, "full_name": "dune." + in.Namespace + "." + in.Table, "already_existed": false}
}

func (d *fakeDune) insert(name string, r *http.Request, body []byte) (int, any) {
	if _, ok := d.tables[name]; !ok || r.Header.Get("Content-Type") != "application/x-ndjson" {
		return 404, map[string]string{"error": "no table " + name}
	}
	var rows []map[string]any
	for line := range bytes.Lines(body) {
		var row map[string]any
		if err := json.Unmarshal(line, &row); err != nil {
			return 400, map[string]string{"error": err.Error()}
		}
		if err := fits(d.schemas[name], row); err != nil {
			return 400, map[string]string{"error": err.Error()}
		}
		rows = append(rows, row)
	}
	d.tables[name] = append(d.tables[name], rows...)
	return 200, map[string]any{"rows_written": len(rows), "bytes_written": len(body), "name": name}
}

// fits holds a row against the schema.
func fits(schema []schemaColumn, row map[string]any) error {
	if len(row) != len(schema) {
		return fmt.Errorf("%d members for %d columns", len(row), len(schema))
	}
	for _, c := range schema {
		v, ok := row[c.Name]
		if !ok || v == nil && !c.Nullable {
			return fmt.Errorf("%s is missing", c.Name)
		}
		if v == nil {
			continue
		}
		kind := map[string]string{varchar: "string", timestamp: "string", bigint: "float64", double: "float64", boolean: "bool"}[c.Type]
		if fmt.Sprintf("%T", v) != kind || c.Type == bigint && v.(float64) != float64(int64(v.(float64))) {
			return fmt.Errorf("%s: %v is no %s", c.Name, v, c.Type)
		}
		if c.Type == timestamp && !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`).MatchString(v.(string)) {
			return fmt.Errorf("%s: %v is no time", c.Name, v)
		}
	}
	return nil
}

func (d *fakeDune) answerQuery(r *http.Request, body []byte, limit, offset int) (int, any) {
	var in map[string]any
	json.Unmarshal(body, &in)
	text := func(name string) string { s, _ := in[name].(string); return s }
	switch m := queryPath.FindStringSubmatch(r.URL.Path); {
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/queries":
		list := []any{}
		for _, id := range slices.Sorted(maps.Keys(d.queries)) {
			list = append(list, map[string]any{"id": id, "name": d.queries[id]["name"]})
		}
		end := min(offset+min(limit, 2), len(list))
		return 200, map[string]any{"queries": list[min(offset, end):end], "total": len(list)}
	case r.Method == http.MethodPost && r.URL.Path == "/api/v1/query":
		id := int64(1000 + len(d.queries))
		d.queries[id] = map[string]string{"name": text("name"), "sql": text("query_sql")}
		return 200, map[string]any{"query_id": id}
	case m != nil:
		id, _ := strconv.ParseInt(m[1], 10, 64)
		q := d.queries[id]
		if q == nil {
			break
		}
		if r.Method == http.MethodGet {
			return 200, map[string]any{"query_id": id, "name": q["name"], "query_sql": q["sql"]}
		}
		q["sql"] = text("query_sql")
		return 200, map[string]any{"query_id": id}
	}
	return 404, map[string]string{"error": "no such path " + r.Method + " " + r.URL.Path}
}

// checkReaders is what everybody sees who reads a saved query at this moment: a table with all
// rows.
func (d *fakeDune) checkReaders() {
	for id, q := range d.queries {
		if q["name"] == "of the user" {
			continue
		}
		name, ok := strings.CutPrefix(q["sql"], "SELECT * FROM dune."+testNamespace+".")
		rows, exists := d.tables[name]
		if !ok || !exists || len(rows) != d.complete[q["name"]] {
			d.t.Errorf("after %s: readers of query %d (%s) see %d rows of %q, want %d", d.calls[len(d.calls)-1], id, q["name"], len(rows), q["sql"], d.complete[q["name"]])
		}
	}
}

// source is an API of Valtrack with so many nodes.
func source(t *testing.T, nodes int, change func(row map[string]any)) *client.Client {
	t.Helper()
	return sourceOf(t, answers(t, nodes, change))
}

func sourceOf(t *testing.T, answer roundTripper) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: "http://valtrack.test", HTTP: &http.Client{Transport: answer}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answers(t *testing.T, nodes int, change func(row map[string]any)) roundTripper {
	meta := map[string]any{"network": "mainnet", "simulated": false, "as_of": 1, "covers_ms": 1, "age_ms": 1, "public": true, "next": nil, "total": nodes,
		"geo_sources": []any{map[string]any{"name": "IP Geolocation by DB-IP", "url": "https://db-ip.com", "licence": "CC BY 4.0"}}}
	return func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("X-API-Key") != "" {
			t.Error("the source was asked with a key")
		}
		var data any
		switch path := strings.TrimPrefix(r.URL.Path, "/api/v1/"); path {
		case "summary":
			data = map[string]any{}
		case "nodes":
			rows := []any{}
			for i := range nodes {
				row := map[string]any{"id": fmt.Sprintf("16Uiu2HAm%044d", i), "client": "lighthouse", "client_release": "v8.0.1", "validators": 3, "flags": []string{"silent"},
					"all_subnets": false, "observations": 7, "first_seen": 1764450000000, "long_lived_subnets": []int{1, 2}, "asn": 24940}
				if change != nil {
					change(row)
				}
				rows = append(rows, row)
			}
			data = rows
		case "timeseries":
			data = []any{map[string]any{"time": 1764450000000, "nodes": nodes, "validators": 12.5}}
		default:
			data = []any{map[string]any{"by": path, "name": "x", "nodes": nodes, "share_nodes": 1}}
		}
		body, err := json.Marshal(map[string]any{"data": data, "meta": meta})
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, err
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func publisher(t *testing.T, d *fakeDune, nodes int) *Publisher {
	t.Helper()
	d.complete = map[string]int{"valtrack_nodes": nodes, "valtrack_groups": 5, "valtrack_totals": 1}
	p, err := New(Config{URL: "http://dune.test/api/v1", Key: testKey, Namespace: testNamespace, Prefix: "valtrack", HTTP: &http.Client{Transport: d}, Log: slog.New(slog.DiscardHandler)}, source(t, nodes, nil))
	if err != nil {
		t.Fatal(err)
	}
	p.batchRows = 2
	return p
}
