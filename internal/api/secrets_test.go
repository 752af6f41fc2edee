package api

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

// secretServer has a crawl in which nothing depends on addresses but the addresses: they begin with
// a byte, and records have a text.
func secretServer(t *testing.T, firstByte, recordText string, at time.Time) *testServer {
	t.Helper()
	c := newTestCrawl(t)
	c.firstByte, c.recordText = firstByte, recordText
	c.crawl(0, 60, at.Add(-50*time.Hour))
	c.crawl(0, 60, at.Add(-2*time.Hour))
	c.watch(3, at.Add(-90*time.Minute), 2)
	c.tracker.Hour()
	src := c.sources()
	src.place = func(p *tracker.Peer) place {
		i := int(p.ID[len(p.ID)-1] - '0')
		return place{country: "Germany", code: "DE", city: fmt.Sprint("City ", i/2), latitude: 50 + float64(i/2)/3, longitude: 8, asn: uint32(64500 + i/4), asName: "A network", hosting: "isp", cloud: "aws"}
	}
	s := serverOf(t, c, src, Config{})
	for i := range 6 { // moves, upgrades, and takes the address of another
		c.visit(i, at.Add(-time.Hour), fmt.Sprintf("%s.9.9.%d", firstByte, i), "Lighthouse/v9.0.0/x86_64-linux")
	}
	c.visit(71, at.Add(-time.Hour), firstByte+".1.0.9", "teku/v27.0.0")
	c.visit(72, at.Add(-time.Hour), firstByte+".1.0.10", "Lighthouse/"+firstByte+".9.9.72:9000/x86_64-linux") // names its own
	c.commit()
	s.views.update()
	return s
}

// publicRequests are requests of every operation of openapi.yaml: each of its parameters with every
// value that the document names, and values that say something about addresses.
func publicRequests(t *testing.T, s *testServer, ip string) (out []string) {
	doc, err := specDoc()
	if err != nil {
		t.Fatal(err)
	}
	columns := slices.Sorted(maps.Keys(doc.Components.Schemas["Node"].Value.Properties))
	named := map[string][]string{
		"q":      {testPeer(3), "16Uiu2HAm", "0x0301", "0x03", ip, ip[:7], "[" + ip + "]", "enr:-x", "enr:-" + strings.Repeat(s.crawl.recordText, 150) + "3", "45", "quic"},
		"client": {"lighthouse", "none"}, "version": {"9.0.0"}, "country": {"DE", "none"}, "asn": {"64500"}, "cloud": {"aws", "none"}, "flag": flagNames(),
		"fork_digest": {"0x00000000"}, "cursor": {"x"}, "after": {s.views.changes.cursor(0)}, "fields": columns, "limit": {"1", "7"}, "all_subnets": {"true", "false"}, "counted": {"true"},
	}
	for i, c := range columns {
		named["sort"] = append(named["sort"], []string{"", "-"}[i%2]+c)
	}
	for _, name := range []string{"from", "to", "since", "first_seen_from", "first_seen_to", "validators_from", "validators_to", "width_from", "width_to"} {
		named[name] = []string{"1", "2", fmt.Sprint(s.views.current.Load().totals.Hour)}
	}
	for path, item := range doc.Paths.Map() {
		if path == "/api/v1/events" || path == "/docs" || path == "/llms.txt" || path == "/openapi.json" {
			continue
		}
		paths := []string{}
		for _, id := range []string{testPeer(3), testPeer(71), s.views.current.Load().find(testPeer(4)).nodeID, ip} {
			for _, table := range append(dataset.Tables(), "nodes") {
				for _, suffix := range []string{"", ".csv"} {
					paths = append(paths, strings.NewReplacer("{id}", id, "{table}", table+suffix, "{part}", "part-00000001.parquet").Replace(path))
				}
			}
		}
		slices.Sort(paths)
		parameters := append(openapi3.Parameters{}, item.Get.Parameters...)
		for _, path := range slices.Compact(paths) {
			out = append(out, path)
			formats := []string{""}
			if p := parameters.GetByInAndName("query", "format"); p != nil {
				for _, f := range p.Schema.Value.Enum {
					formats = append(formats, "format="+fmt.Sprint(f))
				}
			}
			for _, p := range parameters {
				values := named[p.Value.Name]
				schema := p.Value.Schema.Value
				if schema.Items != nil {
					schema = schema.Items.Value
				}
				for _, v := range schema.Enum {
					values = append(values, fmt.Sprint(v))
				}
				if p.Value.In == "query" && len(values) == 0 {
					t.Errorf("%s: no value of the parameter %s is tried: add some to `named` in internal/api/secrets_test.go", path, p.Value.Name)
				}
				for i, v := range values {
					for k, format := range formats {
						if p.Value.In == "query" && p.Value.Name != "format" && i%len(formats) == k {
							out = append(out, strings.TrimSuffix(path+"?"+p.Value.Name+"="+v+"&"+format, "&"))
						}
					}
				}
			}
			for _, format := range formats[1:] {
				out = append(out, path+"?"+format)
			}
		}
	}
	slices.Sort(out)
	return out
}

// What differs between two servers, and with time.
var unequal = regexp.MustCompile(`"(age_ms|estimated_at|found_at|last_commit|modified|bytes|earlier)":\d+|"(from|to)":\d{13}|last 30 days, from \d{13}|(?m:,\d{13}$)|"(latest|next)":"[^"]*"|filename="[^"]*"|sha-256=[^ ]*|[0-9a-f]{8}-\d+`)

func (s *testServer) public(path string) string {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, path, nil)
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, r)
	body := rec.Body.String()
	if strings.HasPrefix(rec.Header().Get("Content-Type"), typeGzip) {
		body = gunzip(s.t, rec.Body.Bytes())
	}
	rec.Header().Del("ETag")
	rec.Header().Del("Content-Length")
	return unequal.ReplaceAllString(fmt.Sprint(rec.Code, rec.Header(), body), "")
}

// Without a key no answer depends on the addresses of nodes: two crawls that differ in these alone
// have the same answers, to every operation with every parameter. So there is no address in them, and
// nothing to be concluded from orders, counts, errors or sizes.
func TestNothingPublicDependsOnAddresses(t *testing.T) {
	at := time.Now()
	a, b := secretServer(t, "45", "X", at), secretServer(t, "77", "Q", at)
	secret := regexp.MustCompile(`\b(45|77)(\.\d{1,3}){3}\b|XXXX|QQQQ|/ip4/|/udp/`)
	requests := publicRequests(t, a, "45.1.0.3")
	if len(requests) < 350 {
		t.Errorf("%d requests", len(requests))
	}
	failed, same := 0, strings.NewReplacer("45.1.0", "_", "77.1.0", "_", "X", "_", "Q", "_") // which errors repeat
	for i, path := range requests {
		of := path // the same question about the other's address
		of = strings.NewReplacer("45.1.0", "77.1.0", strings.Repeat("X", 150), strings.Repeat("Q", 150), a.views.changes.id, b.views.changes.id).Replace(of)
		got, other := a.public(path), b.public(of)
		asked := strings.Contains(path, "45.1") || strings.Contains(path, "XXXX") // an error repeats it
		if found := secret.FindString(got); found != "" && (!asked || strings.HasPrefix(got, "200")) {
			t.Errorf("%s shows %q", path, found)
			failed++
		}
		if same.Replace(got) != same.Replace(other) {
			t.Errorf("%d: %s differs:\n%.2000s\n%.2000s", i, path, got, other)
			failed++
		}
		if failed > 5 {
			t.FailNow()
		}
	}
	for _, s := range []*testServer{a, b} {
		if _, _, last := s.stream(s.views.changes.cursor(0)); last == "" {
			t.Error("no stream")
		}
	}
}
