package api

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// What llms.txt says is true of the server: each path answers, each parameter is known, and
// each of the values that it names is taken.
func TestLLMsIsTrue(t *testing.T) {
	s := newTestServer(t, 60)
	path, parameters := "", 0
	fill := strings.NewReplacer("{id}", testPeer(3), "{table}", "metadata_events", "{part}", "part-00000000.parquet")
	for line := range strings.SplitSeq(s.get("/llms.txt", false).Body.String(), "\n") {
		if m := regexp.MustCompile(`^- \[([^]]+)\]`).FindStringSubmatch(line); m != nil {
			path = fill.Replace(m[1])
			if path == "/api/v1/events" { // which does not end
				continue
			}
			if rec := s.get(path, true); rec.Code != http.StatusOK && path != "/api/v1/datasets/metadata_events/part-00000000.parquet" {
				t.Errorf("%s: %d %.200s", path, rec.Code, rec.Body)
			}
			continue
		}
		m := regexp.MustCompile(`^  - (\w+): (.*)$`).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name, text := m[1], m[2]
		switch {
		case name == "id" || name == "table" || name == "part" || strings.HasPrefix(text, "A header."):
			continue
		case strings.TrimSpace(text) == "" && !strings.HasSuffix(name, "_to"): // as the one before it, of _from
			t.Errorf("%s: nothing is said of %s", path, name)
		}
		parameters++
		values := []string{"1"}
		if _, list, ok := strings.Cut(text, "One of "); ok {
			values = strings.Split(strings.TrimSuffix(strings.TrimSpace(list), "."), ", ")
		}
		for _, value := range values {
			body := s.get(path+"?"+name+"="+value, true).Body.String()
			if strings.Contains(body, "unknown parameter") || len(values) > 1 && strings.Contains(body, `"parameter":"`+name+`"`) {
				t.Errorf("%s?%s=%s: %.300s", path, name, value, body)
			}
		}
	}
	if parameters < 30 {
		t.Errorf("%d parameters", parameters)
	}
}

// Each path of the specification has an example for curl, which works as it is shown.
func TestExamplesOfTheSpecificationWork(t *testing.T) {
	s := newTestServer(t, 60)
	command := regexp.MustCompile(`^curl -s (-H "X-API-Key: \$KEY" |-O |-OJ |-N )*'?http://127\.0\.0\.1:8080(/[^' ]*)'?$`)
	doc, err := specDoc()
	if err != nil {
		t.Fatal(err)
	}
	page := s.get("/docs", false).Body.String() + s.get("/llms.txt", false).Body.String()
	for path, item := range doc.Paths.Map() {
		samples, _ := item.Get.Extensions["x-codeSamples"].([]any)
		for _, sample := range samples {
			source, _ := sample.(map[string]any)["source"].(string)
			m := command.FindStringSubmatch(source)
			if m == nil || !strings.Contains(page, source) {
				t.Errorf("%s: %q is no example for curl that documentation shows", path, source)
				continue
			}
			shown := strings.ReplaceAll(m[2], "$ID", testPeer(3))
			if at, _, _ := strings.Cut(shown, "?"); specPath(at) != path {
				t.Errorf("%s: the example asks for %s", path, at)
			}
			if path == "/api/v1/events" { // which does not end
				continue
			}
			if rec := s.get(shown, strings.Contains(source, "X-API-Key")); rec.Code != http.StatusOK {
				t.Errorf("%s: %d %.200s", source, rec.Code, rec.Body)
			}
		}
		if len(samples) == 0 {
			t.Errorf("%s has no example", path)
		}
	}
}

// The page of documentation asks no other server for anything.
func TestDocsAskNobody(t *testing.T) {
	s := newTestServer(t, 1)
	body := s.get("/docs", false).Body.String()
	if outside := regexp.MustCompile(`(?i)(src|href|action)="?(https?:)?//[^"]*|@import|url\(|<script`).FindString(body); outside != "" {
		t.Errorf("it asks for %s", outside)
	}
	if !strings.Contains(body, "One of json, ndjson, csv.") || !strings.Contains(body, "/api/v1/nodes/{id}/observations") {
		t.Errorf("%.500s", body)
	}
}

// A text that is longer than the specification has it is refused, and one as long is not for its
// length.
func TestLengthsAreAsSpecified(t *testing.T) {
	s := newTestServer(t, 1)
	doc, err := specDoc()
	if err != nil {
		t.Fatal(err)
	}
	tested := 0
	for path, item := range doc.Paths.Map() {
		for _, p := range item.Get.Parameters {
			schema := p.Value.Schema.Value
			if schema.Items != nil {
				schema = schema.Items.Value
			}
			if p.Value.In != "query" || schema.MaxLength == nil {
				continue
			}
			tested++
			for _, more := range []int{0, 1} {
				query := path + "?" + p.Value.Name + "=" + strings.Repeat("a", int(*schema.MaxLength)+more)
				rec := s.get(query, true)
				if tooLong := strings.Contains(rec.Body.String(), "printable bytes"); more == 1 && rec.Code != http.StatusBadRequest || more == 0 && tooLong {
					t.Errorf("%.60s… with %d characters: %d %.200s", query, int(*schema.MaxLength)+more, rec.Code, rec.Body)
				}
			}
		}
	}
	if tested < 6 {
		t.Errorf("%d parameters have a longest value", tested)
	}
}
