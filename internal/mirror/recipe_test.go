package mirror

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/mirror/mirrortest"
	"github.com/chainbound/valtrack/test/markdown"
)

// DuckDB reads the manifest's parts from the store, as docs/recipes.md says, and finds the rows
// and sums that it finds in the datasets.
func TestRecipe(t *testing.T) {
	extension, err := filepath.Abs("../../bin/httpfs/httpfs.duckdb_extension")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(extension); err != nil {
		t.Skip("DuckDB's httpfs is not there: make mirror-recipe gets it")
	}
	blocks, err := markdown.Blocks("../..")
	if err != nil {
		t.Fatal(err)
	}
	blocks = slices.DeleteFunc(blocks, func(b markdown.Block) bool { return !b.FromStore() })
	if len(blocks) != 1 {
		t.Fatalf("blocks that read an object store: %v, want one", blocks)
	}
	recipe := blocks[0].Code
	w := newWorld(t)
	w.life(0, commit(1, 10, 3))
	w.now = epoch.Add(5 * time.Hour)
	w.round()
	w.life(day+time.Hour, merge)
	w.round() // the parts before are in the store too

	for _, r := range [][2]string{
		{"INSTALL httpfs; LOAD httpfs;", fmt.Sprintf("LOAD '%s';", extension)},
		{"'my-key'", "'" + mirrortest.Key + "'"},
		{"'my-secret'", "'" + mirrortest.Secret + "', USE_SSL false, URL_STYLE 'path', ENDPOINT '" + w.cfg.Location.endpoint + "'"},
		{"'eu-central-1'", "'us-east-1'"},
		{"s3://my-bucket/valtrack", w.cfg.Location.base()},
		{"SELECT outcome, count(*) FILTER (more IS NOT TRUE) AS visits", "SELECT count(*) AS rows, CAST(sum(timestamp) AS VARCHAR) AS sum, count(DISTINCT id) AS peers"},
		{" GROUP BY 1 ORDER BY 2 DESC", ""},
	} {
		if !strings.Contains(recipe, r[0]) {
			t.Fatalf("the recipe has no %s", r[0])
		}
		recipe = strings.Replace(recipe, r[0], r[1], 1)
	}
	for _, table := range []string{dataset.Visit, dataset.Metadata, "validator_metadata_events", dataset.Discovery} {
		local := fmt.Sprintf("SELECT count(*) AS rows, CAST(sum(timestamp) AS VARCHAR) AS sum, count(DISTINCT id) AS peers FROM read_parquet('%s/*.parquet');", dataset.Dir(w.cfg.DataDir, table))
		want, got := duckdb(t, local), duckdb(t, strings.ReplaceAll(recipe, "visit_events", table))
		if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(want["rows"]) != "30" {
			t.Errorf("%s (-datasets +object store):\n%s%v", table, diff, want)
		}
	}
}

// duckdb gives the row of the last statement.
func duckdb(t *testing.T, sql string) (row map[string]any) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join("..", "..", "test", "duckdb", "sql.mjs"))
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(sql), &stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &row)
	}
	if err != nil {
		t.Fatalf("%s\n%v\n%s%s", sql, err, out, stderr.Bytes())
	}
	return row
}
