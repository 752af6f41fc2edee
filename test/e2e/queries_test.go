package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// elsewhere are the sections whose queries are not for a data directory; TestRecipe of internal/mirror
// and TestQueriesOfThePages of internal/clickhouse run them.
var elsewhere = regexp.MustCompile(`(?s)\n## (From an object store|From ClickHouse)\n.*?(\n## |$)`)

// runQueries runs the queries of README.md and docs/recipes.md as they are, from the directory above
// a data directory, and those about one node for the given one. Each has rows, and those that say the
// same as a report have its numbers.
func runQueries(t *testing.T, data, peer string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(data, filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, page := range []string{"../../README.md", "../../docs/recipes.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for elsewhere.Match(text) {
			text = elsewhere.ReplaceAll(text, []byte("$2"))
		}
		for _, m := range regexp.MustCompile("(?s)```sql\n(.*?)```|duckdb -c \"(.*?)\"\n").FindAllStringSubmatch(string(text), -1) {
			queries = append(queries, strings.ReplaceAll(m[1]+m[2], "16Uiu2…", peer))
		}
	}
	export := exec.Command(program, "export", "nodes", "--data-dir", "data", "--out", "nodes.parquet")
	export.Dir, export.Env = dir, environment()
	if out, err := export.CombinedOutput(); err != nil {
		t.Fatalf("export nodes: %v\n%s", err, out)
	}
	script, err := filepath.Abs("../duckdb/queries.mjs")
	if err != nil {
		t.Fatal(err)
	}
	expected, queries := newRecipes(t, data, queries)
	input, err := json.Marshal(queries)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", script)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(input)
	out, err := cmd.Output()
	var results []result
	if err != nil || json.Unmarshal(out, &results) != nil || len(results) != len(queries) || len(queries) < 12 {
		t.Fatalf("%d queries: %v\n%s", len(queries), err, out)
	}
	for i, r := range results {
		if r.Error != "" || r.Rows == 0 && !raceEnabled { // which has few nodes
			t.Errorf("%d rows, %s, of the query\n%s", r.Rows, r.Error, queries[i])
		} else if check := expected.check[queries[i]]; check != nil && r.Rows > 0 {
			check(t, r.Data)
		}
	}
}
