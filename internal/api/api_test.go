package api

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every route is in the specification, and the reverse.
func TestRoutesAreSpecified(t *testing.T) {
	doc, err := specDoc()
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range routes() {
		if item := doc.Paths.Find(route.path); item == nil || item.Get == nil {
			t.Errorf("%s is not in openapi.yaml", route.path)
		}
	}
	for path := range doc.Paths.Map() {
		if !slices.ContainsFunc(routes(), func(r route) bool { return r.path == path }) {
			t.Errorf("%s has no route", path)
		}
	}
}

// samples are requests of every path, format and filter.
func samples(s *testServer) (out []string) {
	id := testPeer(3)
	for _, route := range routes() {
		path := strings.NewReplacer("{id}", id, "{table}", "peer_estimates", "{part}", "part-00000000.parquet").Replace(route.path)
		if path == "/api/v1/events" {
			continue
		}
		out = append(out, path, path+"?nonsense=1", path+"?format=xml")
	}
	for _, format := range []string{"json", "ndjson", "csv", "geojson", "parquet"} {
		out = append(out, "/api/v1/nodes?format="+format, "/api/v1/nodes?limit=3&format="+format)
		for _, path := range []string{"countries", "cities", "networks", "hosting", "clients", "errors", "timeseries", "changes"} {
			out = append(out, "/api/v1/"+path+"?format="+format)
		}
		for _, table := range []string{"peer_discovered_events", "metadata_events", "nope"} {
			out = append(out, "/api/v1/datasets/"+table+"?format="+format)
		}
	}
	for _, c := range nodeColumns {
		out = append(out, "/api/v1/nodes?limit=2&sort=-"+c.name, "/api/v1/nodes?limit=2&sort="+c.name, "/api/v1/nodes?limit=2&fields="+c.name)
	}
	for _, filter := range []string{
		"client=lighthouse&client=prysm", "version=v8.0.1", "country=DE", "country=none", "asn=24940", "asn=x", "hosting=isp", "hosting=x", "cloud=aws", "cloud=none",
		"fork_digest=0x01020304", "flag=silent", "flag=x", "validators_from=1", "validators_to=2.5", "validators_from=-1", "validators_from=NaN", "width_from=1&width_to=9",
		"all_subnets=true", "all_subnets=maybe", "from=1", "to=1", "from=5&to=4", "from=x", "first_seen_from=1&first_seen_to=2", "q=" + id, "q=16Uiu2", "q=x", "q=45.1.0.3",
		"q=2001:db8::1", "q=%5B2001:db8::1%5D", "q=enr:-x", "q=0x0301", "counted=true", "limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "cursor=x", "cursor=e30", "cursor=%00",
		"fields=id,nope", "fields=id,id", "fields=ip", "sort=nope", "sort=-flags", "a=1&a=2&a;b", "%zz=1", "q=%ff%fe",
	} {
		out = append(out, "/api/v1/nodes?"+filter)
	}
	for _, q := range []string{
		"timeseries?metric=nodes&metric=visits&step=1d", "timeseries?step=2h", "timeseries?metric=x", "changes?since=1", "changes?kind=moved", "changes?kind=x",
		"nodes/nope", "nodes/0x" + strings.Repeat("0", 64), "nodes/" + strings.Repeat("x", 500), "nodes/" + id + "/observations?from=1&to=999999999999", "datasets/nope/x", "datasets/peer_estimates/..%2f..%2fkeys",
		"nodes//observations", "nodes/..", "nodes/./observations", "summary/", "nodes/a%2fb",
	} {
		out = append(out, "/api/v1/"+q)
	}
	return append(out, "/validators?from=1&to=2", "/validators?from=2&to=1", "/nothing", "/assets/nothing", "/api", "/api/v2/nodes", "/api/v1/nodes/"+s.views.current.Load().nodes[0].nodeID)
}

// Every answer, with and without a key, is as openapi.yaml says: get checks it. None of them is
// an error of the server, and none without a key has an address.
func TestEveryAnswer(t *testing.T) {
	s := newTestServer(t, 60)
	secret := regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b|enr:-|/ip[46]/|/udp/|45\.1\.`)
	static := []string{"/openapi.json", "/docs", "/llms.txt"}
	for _, path := range samples(s) {
		for _, full := range []bool{false, true} {
			rec := s.get(path, full)
			if rec.Code >= 500 {
				t.Errorf("%s: %d: %.300s", path, rec.Code, rec.Body)
			}
			if full || slices.ContainsFunc(static, func(p string) bool { return strings.HasPrefix(path, p) }) {
				continue
			}
			body := rec.Body.String()
			if strings.HasPrefix(rec.Header().Get("Content-Type"), typeGzip) {
				body = gunzip(t, rec.Body.Bytes())
			}
			asked, _, _ := strings.Cut(path, "?q=") // which an error repeats
			if found := secret.FindString(body); found != "" && (asked == path || rec.Code == http.StatusOK) {
				t.Errorf("%s shows %q without a key: %.300s", path, found, body)
			}
		}
	}
}

// What needs a key is refused without, not left out in silence, and works with it.
func TestWhatNeedsAKey(t *testing.T) {
	s := newTestServer(t, 60)
	for _, path := range []string{
		"/api/v1/nodes?sort=ip", "/api/v1/nodes?sort=-enr", "/api/v1/nodes?q=45.1.0.3", "/api/v1/nodes?fields=id,ip", "/api/v1/nodes?fields=enr",
		"/api/v1/datasets/metadata_events", "/api/v1/datasets/metadata_events/part-00000000.parquet",
	} {
		if rec := s.get(path, false); rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "needs a key") {
			t.Errorf("%s without a key: %d %s", path, rec.Code, rec.Body)
		}
		if rec := s.get(path, true); rec.Code != http.StatusOK || rec.Body.Len() == 0 {
			t.Errorf("%s with a key: %d %s", path, rec.Code, rec.Body)
		}
	}
	found := s.object("/api/v1/nodes?q=45.1.0.3", true)["data"].([]any)
	if len(found) != 1 || found[0].(map[string]any)["id"] != testPeer(3) || found[0].(map[string]any)["ip"] != "45.1.0.3" {
		t.Errorf("search by address: %v", found)
	}
}

// Paging gives each node once, in every order, also while nodes change between two pages.
func TestPaging(t *testing.T) {
	s := newTestServer(t, 60)
	for _, sort := range []string{"id", "-id", "validators", "-validators_mean", "client", "-last_seen", "os", "-latitude", "p_validator", "all_subnets", "-custody_group_count"} {
		seen, cursor := map[string]int{}, ""
		for page := range 20 {
			body := s.object("/api/v1/nodes?limit=7&sort="+sort+cursor, false)
			for _, row := range body["data"].([]any) {
				seen[row.(map[string]any)["id"].(string)]++
			}
			if page == 2 { // what the cursor points at has moved
				s.crawl.crawl(60+page, 62+page, genesis.Add(60*3600e9))
				s.views.update()
			}
			next := body["meta"].(map[string]any)["next"]
			if next == nil {
				break
			}
			cursor = "&cursor=" + next.(string)
		}
		for i := range 60 {
			if n := seen[testPeer(i)]; n != 1 {
				t.Errorf("sort=%s: node %d is in %d pages", sort, i, n)
			}
		}
	}
	next := s.object("/api/v1/nodes?limit=1", false)["meta"].(map[string]any)["next"].(string)
	if rec := s.get("/api/v1/nodes?sort=client&cursor="+next, false); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "sort=id") {
		t.Errorf("cursor of another sort: %d %s", rec.Code, rec.Body)
	}
}

// Rows are in the order of the sort, nulls last in both directions.
func TestSorting(t *testing.T) {
	s := newTestServer(t, 60)
	for _, sort := range []string{"validators", "-validators"} {
		var last float64
		nulls := false
		for i, row := range s.object("/api/v1/nodes?limit=1000&sort="+sort, false)["data"].([]any) {
			v, known := row.(map[string]any)["validators"].(float64)
			if !known {
				nulls = true
				continue
			}
			if nulls || i > 0 && (sort[0] == '-') != (v <= last) && v != last {
				t.Fatalf("sort=%s: %v after %v", sort, v, last)
			}
			last = v
		}
		if !nulls {
			t.Error("no node without an estimate")
		}
	}
}

func TestFilters(t *testing.T) {
	s := newTestServer(t, 60)
	total := func(query string) float64 {
		t.Helper()
		return s.object("/api/v1/nodes?limit=1000&"+query, false)["meta"].(map[string]any)["total"].(float64)
	}
	all := total("from=0")
	if all != 60 {
		t.Fatalf("%v nodes", all)
	}
	if a, b := total("validators_from=1"), total("validators_to=0.5"); a == 0 || a+b > 60 || a+b != total("counted=true") {
		t.Errorf("with %v, without %v validators", a, b)
	}
	if n := total("client=lighthouse"); n == 0 || n != total("client=lighthouse&client=none")-total("client=none") {
		t.Errorf("%v of lighthouse", n)
	}
	if with, without := total("version=v8.0.1"), total("version=8.0.1"); with == 0 || with != without {
		t.Errorf("%v of release v8.0.1, %v of 8.0.1", with, without)
	}
	if n := total("q=" + testPeer(7)); n != 1 {
		t.Errorf("%v of one peer id", n)
	}
	if n := total("q=0X0700"); n != 1 {
		t.Errorf("%v of the beginning of a node id", n)
	}
	if n := total("country=none"); n != 60 {
		t.Errorf("%v without a country", n)
	}
}

// No cell of a CSV file is a formula.
func TestCSVIsSafe(t *testing.T) {
	s := newTestServer(t, 60)
	for _, path := range []string{"/api/v1/nodes?format=csv", "/api/v1/clients?format=csv", "/api/v1/datasets/metadata_events?format=csv"} {
		rows, err := csv.NewReader(s.get(path, true).Body).ReadAll()
		if err != nil || len(rows) < 2 {
			t.Fatalf("%s: %v, %d rows", path, err, len(rows))
		}
		for _, row := range rows {
			for _, cell := range row {
				if cell != "" && strings.ContainsAny(cell[:1], "=+@") {
					t.Errorf("%s: %q", path, cell)
				}
			}
		}
	}
}

// The rows of all formats are the same.
func TestFormatsAgree(t *testing.T) {
	s := newTestServer(t, 60)
	want := s.object("/api/v1/nodes?limit=1000", true)["data"].([]any)
	lines := strings.Split(strings.TrimSpace(s.get("/api/v1/nodes?format=ndjson", true).Body.String()), "\n")
	rows, err := csv.NewReader(s.get("/api/v1/nodes?format=csv", true).Body).ReadAll()
	if err != nil || len(lines) != len(want) || len(rows) != len(want)+1 {
		t.Fatalf("%v: %d rows, %d lines, %d CSV rows", err, len(want), len(lines), len(rows))
	}
	for i, line := range lines {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil || fmt.Sprint(row) != fmt.Sprint(want[i]) {
			t.Fatalf("line %d: %v: %s", i, err, line)
		}
		if rows[i+1][0] != row["id"] {
			t.Fatalf("row %d: %v", i, rows[i+1])
		}
	}
}

// The same request has the same tag until data change, and others for other callers.
func TestEntityTags(t *testing.T) {
	s := newTestServer(t, 60)
	for _, path := range []string{"/api/v1/summary", "/api/v1/nodes", "/api/v1/nodes?format=csv", "/validators", "/openapi.json", "/api/v1/snapshot"} {
		tag := s.get(path, false).Header().Get("ETag")
		if tag == "" {
			t.Errorf("%s has no tag", path)
			continue
		}
		if rec := s.ask(http.MethodGet, path, http.Header{"If-None-Match": {`"x", ` + tag}}); rec.Code != http.StatusNotModified {
			t.Errorf("%s: %d", path, rec.Code)
		}
		if path != "/openapi.json" && path != "/api/v1/snapshot" {
			if rec := s.ask(http.MethodGet, path, http.Header{"If-None-Match": {tag}, "X-Api-Key": {s.key}}); rec.Code != http.StatusOK {
				t.Errorf("%s with a key and the tag of before: %d", path, rec.Code)
			}
		}
	}
	tag := s.get("/api/v1/summary", false).Header().Get("ETag")
	s.crawl.crawl(60, 63, genesis.Add(60*3600e9))
	s.views.update()
	if rec := s.ask(http.MethodGet, "/api/v1/summary", http.Header{"If-None-Match": {tag}}); rec.Code != http.StatusOK {
		t.Errorf("new data with the tag of before: %d", rec.Code)
	}
}

// A nearly empty data directory has answers too.
func TestEmptyState(t *testing.T) {
	c := newTestCrawl(t)
	s := serverOf(t, c, c.sources(), Config{})
	for _, path := range []string{"summary", "nodes", "countries", "clients", "forks", "concentration", "crawl", "timeseries", "changes", "subnets", "errors", "datasets"} {
		if rec := s.get("/api/v1/"+path, false); rec.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	if rec := s.get("/validators", false); strings.TrimSpace(rec.Body.String()) != "[]" {
		t.Errorf("/validators: %s", rec.Body)
	}
	src := c.sources()
	src.State = noState
	s = serverOf(t, c, src, Config{})
	if rec := s.get("/api/v1/summary", false); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("without estimates: %d %s", rec.Code, rec.Body)
	}
	if rec := s.get("/livez", false); rec.Code != http.StatusOK {
		t.Errorf("/livez: %d", rec.Code)
	}
}
