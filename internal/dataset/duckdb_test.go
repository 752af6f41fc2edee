package dataset

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// duckdb runs test/duckdb/read.mjs on a dataset directory and gives its lines.
// Without the npm packages the test is skipped, but never in CI.
func duckdb(t *testing.T, dir string, args ...string) []map[string]any {
	t.Helper()
	project := filepath.Join("..", "..", "test", "duckdb")
	if _, err := os.Stat(filepath.Join(project, "node_modules")); err != nil {
		const how = "DuckDB is not installed: run `npm ci` in test/duckdb"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	cmd := exec.CommandContext(t.Context(), "node", append([]string{filepath.Join(project, "read.mjs"), dir}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("DuckDB on %s: %v\n%s", dir, err, stderr.Bytes())
	}
	var rows []map[string]any
	dec := json.NewDecoder(bytes.NewReader(out))
	for dec.More() {
		var row map[string]any
		if err := dec.Decode(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}
