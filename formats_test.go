package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// formats are the constants whose change makes files, or tables, of another format.
var formats = map[string]struct{ file, constant string }{
	"parts":      {"internal/dataset/tables.go", "schemaVersion"},
	"tracker.db": {"internal/tracker/store.go", "schemaVersion"},
	"days":       {"internal/estimate/encode.go", "encodingVersion"},
	"peers.db":   {"internal/sentry/peersdb.go", "peersSchemaVersion"},
	"spool":      {"internal/spool/frame.go", "frameMagic"},
	"clickhouse": {"internal/clickhouse/schema.go", "schemaVersion"},
	"mirror":     {"internal/mirror/manifest.go", "manifestVersion"},
}

// What this version writes is among what later ones are tested to open: the newest fixture in
// test/e2e/testdata has its formats. With VALTRACK_RELEASE, it is written there.
func TestFormatsHaveAFixture(t *testing.T) {
	now := map[string]any{}
	for name, f := range formats {
		value := constant(t, f.file, f.constant)
		now[name] = value
		if n, err := strconv.Atoi(value); err == nil {
			now[name] = float64(n)
		}
	}
	if release := os.Getenv("VALTRACK_RELEASE"); release != "" {
		text, err := json.MarshalIndent(now, "", "  ")
		if err == nil {
			err = os.WriteFile(filepath.Join("test/e2e/testdata", release, "formats.json"), append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	found, err := filepath.Glob("test/e2e/testdata/v*/formats.json")
	if err != nil || len(found) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, path := range found {
		text, err := os.ReadFile(path)
		var then map[string]any
		if err == nil {
			err = json.Unmarshal(text, &then)
		}
		if err != nil {
			t.Fatal(err)
		}
		if maps.Equal(then, now) {
			return
		}
	}
	t.Errorf("this version writes the formats %v, and no fixture in %v has them: `make release-fixture VERSION=v...` adds one, of the next release", now, found)
}

// constant is the value of a constant as it is written in its file.
func constant(t *testing.T, path, name string) (value string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 && spec.Names[0].Name == name {
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
				value = literal.Value
			}
		}
		return true
	})
	if value == "" {
		t.Fatalf("%s has no constant %s: name the one that stands for its format now in formats_test.go", path, name)
	}
	return value
}

var released = regexp.MustCompile(`(?m)^## (v\d+\.\d+\.\d+)`)

// Every release of the changelog has its fixture.
func TestReleasesHaveFixtures(t *testing.T) {
	text, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	found := released.FindAllStringSubmatch(string(text), -1)
	if len(found) == 0 {
		t.Error("CHANGELOG.md has no release")
	}
	for _, m := range found {
		for _, file := range []string{"data.tar.gz", "release.json", "report.json", "nodes.ndjson", "formats.json", "events.ndjson", "clickhouse-old.sql", "clickhouse-current.sql", "clickhouse-rows.ndjson.gz", "clickhouse.json"} {
			if _, err := os.Stat(filepath.Join("test/e2e/testdata", m[1], file)); err != nil {
				t.Errorf("release %s has no fixture, which `make release-fixture VERSION=%s` writes: %v", m[1], m[1], err)
			}
		}
	}
}
