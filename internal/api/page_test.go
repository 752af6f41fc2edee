package api

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write docs/api.md")

// docs/api.md is written from openapi.yaml by `make docs`.
func TestAPIPageIsCurrent(t *testing.T) {
	var doc map[string]any
	if err := yaml.Unmarshal(specYAML, &doc); err != nil {
		t.Fatal(err)
	}
	const file = "../../docs/api.md"
	want := specPage(doc).markdown() + fieldTables(t, doc)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil { //nolint:gosec // everybody may read it
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what openapi.yaml says: run make docs", file)
	}
}

// fieldTables lists what the answers in JSON have, and fails where something has no description.
func fieldTables(t *testing.T, doc map[string]any) string {
	w := fieldWriter{t: t, doc: doc}
	w.WriteString("\n# Fields\n\nWhat `data` of each answer has. A list is marked with `[]`; null is allowed where the type says so. Counts are of the present unless they are said to be cumulative.\n")
	paths := doc["paths"].(map[string]any)
	for _, route := range slices.Sorted(maps.Keys(paths)) {
		schema := at(w.resolved(at(paths, route, "get", "responses", "200")), "content", "application/json", "schema", "properties", "data")
		if data, ok := schema.(map[string]any); ok && strings.HasPrefix(route, "/api/") {
			fmt.Fprintf(&w, "\n**[`%s`](#%s)**", route, anchor(route))
			w.body(data)
		}
	}
	for i := 0; i < len(w.named); i++ { //nolint:intrange // body adds to it
		fmt.Fprintf(&w, "\n## %s\n", w.named[i])
		schema := at(doc, "components", "schemas", w.named[i]).(map[string]any)
		if text, ok := schema["description"].(string); ok {
			fmt.Fprintf(&w, "\n%s.\n", strings.TrimSuffix(text, "."))
		}
		w.table(schema)
	}
	return w.String()
}

// fieldWriter writes the tables of schemas, those with a name once.
type fieldWriter struct {
	strings.Builder
	t     *testing.T
	doc   map[string]any
	named []string
}

// body writes what a schema is: a link to one with a name, or its table.
func (w *fieldWriter) body(schema map[string]any) {
	if _, own := schema["properties"]; own {
		w.WriteByte('\n')
		w.table(schema)
		return
	}
	if items, ok := schema["items"].(map[string]any); ok && items["properties"] != nil {
		w.WriteString(": a list of\n")
		w.table(items)
		return
	}
	fmt.Fprintf(w, ": %s\n", w.kind(schema))
}

func (w *fieldWriter) table(schema map[string]any) {
	w.WriteString("\n| field | type | meaning |\n|---|---|---|\n")
	w.rows("", schema)
}

// rows writes those of a schema's properties, and of the objects in them that have no name.
func (w *fieldWriter) rows(prefix string, schema map[string]any) {
	if all, ok := schema["allOf"].([]any); ok {
		for _, part := range all {
			w.rows(prefix, w.resolved(part))
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		p := properties[name].(map[string]any)
		text, ok := p["description"].(string)
		if !ok {
			text, ok = w.resolved(p)["description"].(string)
		}
		if !ok {
			w.t.Errorf("%s%s has no description in openapi.yaml", prefix, name)
		}
		fmt.Fprintf(w, "| `%s%s` | %s | %s |\n", prefix, name, w.kind(p), strings.NewReplacer("|", `\|`, "\n", " ").Replace(text))
		if items, ok := p["items"].(map[string]any); ok && p["$ref"] == nil {
			w.rows(prefix+name+"[].", items)
		}
		w.rows(prefix+name+".", p)
	}
}

// kind is a schema's type in words.
func (w *fieldWriter) kind(schema map[string]any) string {
	if ref, ok := schema["$ref"].(string); ok {
		name := path.Base(ref)
		if target := w.resolved(schema); target["properties"] == nil && target["allOf"] == nil {
			return w.kind(target)
		}
		if !slices.Contains(w.named, name) {
			w.named = append(w.named, name)
		}
		return fmt.Sprintf("[%s](#%s)", name, strings.ToLower(name))
	}
	if one, ok := schema["oneOf"].([]any); ok {
		var names []string
		for _, s := range one {
			names = append(names, w.kind(s.(map[string]any)))
		}
		return strings.Join(names, " or ")
	}
	switch kind := schema["type"].(type) {
	case string:
		if items, ok := schema["items"].(map[string]any); ok && kind == "array" {
			return "list of " + w.kind(items)
		}
		return kind
	case []any:
		var names []string
		for _, k := range kind {
			if items, ok := schema["items"].(map[string]any); ok && k == "array" {
				k = "list of " + w.kind(items)
			}
			names = append(names, fmt.Sprint(k))
		}
		return strings.Join(names, " or ")
	}
	return "object"
}

// resolved is what a $ref names.
func (w *fieldWriter) resolved(schema any) map[string]any {
	s, _ := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		s, _ = at(w.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...).(map[string]any)
	}
	return s
}

// at follows keys; nil where there is none.
func at(v any, keys ...string) any {
	for _, key := range keys {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

func (p page) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The API\n\n%s This page is generated by `make docs` from the [specification](../internal/api/openapi.yaml), "+
		"which a server has at `/openapi.json`, and as a page at `/docs`. [Operations](operations.md#the-api) has keys, certificates and limits.\n\n%s\n\n| path | what |\n|---|---|\n", p.Summary, strings.Join(p.Paragraphs, "\n\n"))
	for _, path := range p.Paths {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", path.Path, anchor(path.Path), path.Summary)
	}
	for _, path := range p.Paths {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n", path.Path, strings.TrimSuffix(path.Summary, "."))
		if path.Description != "" {
			fmt.Fprintf(&b, "\n%s\n", path.Description)
		}
		fmt.Fprintf(&b, "\n```shell\n%s\n```\n", path.Example)
		if len(path.Parameters) > 0 {
			b.WriteString("\n| parameter | meaning |\n|---|---|\n")
		}
		for _, parameter := range path.Parameters {
			fmt.Fprintf(&b, "| `%s` | %s |\n", parameter.Name, strings.NewReplacer("|", `\|`, "\n", " ").Replace(parameter.Description))
		}
	}
	return b.String()
}

// anchor is how a path as a heading is linked to.
func anchor(path string) string {
	return strings.NewReplacer("/", "", "{", "", "}", "", ".", "").Replace(path)
}
