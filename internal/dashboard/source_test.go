package dashboard

import (
	"encoding/csv"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func source(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pageTerms are terms of the page that docs/glossary.md has under another name.
var pageTerms = map[string]string{
	"attachments": "attachment", "custody group": "cgc, custody group count", "ENR": "ENR, node record", "reachable node": "reachable",
}

// TestGlossaryOfThePage: a term that the page explains is in the glossary, so that a change of
// either is noticed.
func TestGlossaryOfThePage(t *testing.T) {
	var known []string
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \|`).FindAllStringSubmatch(source(t, "docs/glossary.md"), -1) {
		known = append(known, strings.TrimSpace(m[1]))
	}
	_, text, _ := strings.Cut(source(t, "web/src/glossary.tsx"), "glossary: Record<string, string> = {")
	text, _, _ = strings.Cut(text, "\n};")
	terms := regexp.MustCompile(`(?m)^  "?([^":]+)"?: "`).FindAllStringSubmatch(text, -1)
	if len(terms) < 15 {
		t.Fatalf("found %d terms of the page", len(terms))
	}
	for _, m := range terms {
		name := m[1]
		if other, ok := pageTerms[name]; ok {
			name = other
		}
		if !slices.Contains(known, name) {
			t.Errorf("the page explains %q, and docs/glossary.md has no %q", m[1], name)
		}
	}
	for name := range pageTerms {
		if !slices.ContainsFunc(terms, func(m []string) bool { return m[1] == name }) {
			t.Errorf("the page does not explain %q any more: remove it here", name)
		}
	}
}

// TestCloudsAreWrittenAsTheyWriteThemselves: a new cloud gets its name for the page, unless that
// is its name here with a capital.
func TestCloudsAreWrittenAsTheyWriteThemselves(t *testing.T) {
	capital := []string{"akamai", "allnodes", "cloudflare", "contabo", "equinix", "exoscale", "fastly", "hetzner", "hostinger", "kamatera", "leaseweb", "linode", "rackspace", "sakura", "scaleway", "selectel", "teraswitch", "timeweb", "volcengine", "vultr"}
	clouds := regexp.MustCompile(`\{Hosting, "(\w+)"`).FindAllStringSubmatch(source(t, "internal/geo/hosting/rules.go"), -1)
	rows, err := csv.NewReader(strings.NewReader(source(t, "internal/geo/hosting/networks.csv"))).ReadAll()
	if err != nil || len(clouds) < 20 {
		t.Fatalf("%d clouds in the rules (%v)", len(clouds), err)
	}
	for _, row := range rows[1:] {
		clouds = append(clouds, row[2:4])
	}
	_, names, _ := strings.Cut(source(t, "web/src/format.ts"), "const names: Record<string, string> = {")
	names, _, _ = strings.Cut(names, "\n};")
	for _, m := range clouds {
		if cloud := m[1]; cloud != "" && !slices.Contains(capital, cloud) && !regexp.MustCompile(`\b`+regexp.QuoteMeta(cloud)+`: "`).MatchString(names) {
			t.Errorf("web/src/format.ts has no name for the cloud %s", m[1])
		}
	}
}

// TestFiltersOfAStaticCopy: a copy filters nodes itself, by all that the page filters by.
func TestFiltersOfAStaticCopy(t *testing.T) {
	page := source(t, "web/src/ui/filters.tsx")
	_, copied, _ := strings.Cut(source(t, "web/src/site.ts"), "const columns: Record<")
	copied, _, _ = strings.Cut(copied, "\nfunction compare(")
	_, labels, _ := strings.Cut(page, "const labels: Record<string, string> = {")
	labels, _, _ = strings.Cut(labels, "};")
	names := words(t, page, `filterNames = \[(.*)\];`)
	if len(names) < 10 {
		t.Errorf("found %d filters", len(names))
	}
	for _, name := range names {
		if !regexp.MustCompile(`\b` + name + `: "|\("` + name + `"\)`).MatchString(copied) {
			t.Errorf("web/src/site.ts does not filter by %s: add it to `columns` or `matches`", name)
		}
		if !regexp.MustCompile(`\b` + name + `: "`).MatchString(labels) {
			t.Errorf("web/src/ui/filters.tsx has no label for %s", name)
		}
	}
}

// TestClientsOfThePage: a client can be searched for, and has a colour.
func TestClientsOfThePage(t *testing.T) {
	kinds := regexp.MustCompile(`(?m)^\tClient\w+ +ClientKind = "(\w+)"`).FindAllStringSubmatch(source(t, "internal/eth2/agent.go"), -1)
	if len(kinds) < 8 {
		t.Fatalf("found %d kinds of client", len(kinds))
	}
	noNodes := []string{"charon", "valtrack", "unknown"}
	searched := words(t, source(t, "web/src/pages/nodes.tsx"), `const clients = \[(.*)\];`)
	coloured := words(t, source(t, "web/src/format.ts"), `const colours = \[(.*)\];`)
	style := source(t, "web/src/style.css")
	for _, m := range kinds {
		name := m[1]
		if slices.Contains(noNodes, name) {
			continue
		}
		if !slices.Contains(searched, name) {
			t.Errorf("web/src/pages/nodes.tsx does not find %s: add it to `clients`", name)
		}
		if name == "erigon" { // few nodes: it has the colour of the others
			continue
		}
		if !slices.Contains(coloured, name) {
			t.Errorf("web/src/format.ts has no colour for %s: add it to `colours`", name)
		}
		if n := strings.Count(style, "\n  --c-"+name+": "); n != 2 {
			t.Errorf("web/src/style.css has --c-%s in %d of its two themes", name, n)
		}
	}
}

// words are the quoted words of a list.
func words(t *testing.T, text, list string) (out []string) {
	t.Helper()
	m := regexp.MustCompile(list).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("there is no %s", list)
	}
	for _, word := range regexp.MustCompile(`"(\w+)"`).FindAllStringSubmatch(m[1], -1) {
		out = append(out, word[1])
	}
	return out
}
