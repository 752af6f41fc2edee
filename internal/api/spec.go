package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var specYAML []byte

//go:embed docs.html
var docsTemplate string

// spec is openapi.yaml in the forms that are served.
type spec struct{ json, text, html []byte }

// specOnce reads the embedded document; a mistake in it is one of the program.
var specOnce = sync.OnceValue(func() spec {
	var doc map[string]any
	if err := yaml.Unmarshal(specYAML, &doc); err != nil {
		panic(fmt.Errorf("openapi.yaml: %w", err))
	}
	text, err := json.Marshal(doc)
	if err != nil {
		panic(fmt.Errorf("openapi.yaml: %w", err))
	}
	out := spec{json: text}
	page := specPage(doc)
	var html bytes.Buffer
	if err := template.Must(template.New("docs").Funcs(template.FuncMap{"inline": inline}).Parse(docsTemplate)).Execute(&html, page); err != nil {
		panic(err)
	}
	out.html, out.text = html.Bytes(), []byte(page.text())
	return out
})

// page is the document to read.
type page struct {
	Title, Summary string
	Paragraphs     []string
	Paths          []pathDoc
}

type pathDoc struct {
	Path, Summary, Description, Example string
	Parameters                          []parameterDoc
}

type parameterDoc struct{ Name, Description string }

func specPage(doc map[string]any) page {
	info := doc["info"].(map[string]any)
	out := page{Title: str(info["title"]), Summary: str(info["summary"])}
	out.Paragraphs = strings.Split(strings.TrimSpace(str(info["description"])), "\n\n")
	paths := doc["paths"].(map[string]any)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		get := paths[path].(map[string]any)["get"].(map[string]any)
		d := pathDoc{Path: path, Summary: str(get["summary"]), Description: strings.TrimSpace(str(get["description"]))}
		for _, sample := range get["x-codeSamples"].([]any) {
			d.Example = str(sample.(map[string]any)["source"])
		}
		list, _ := get["parameters"].([]any)
		for _, p := range list {
			parameter := resolve(doc, p.(map[string]any))
			d.Parameters = append(d.Parameters, parameterDoc{str(parameter["name"]), describe(parameter)})
		}
		out.Paths = append(out.Paths, d)
	}
	return out
}

// describe says what a parameter is, and what it may be.
func describe(parameter map[string]any) string {
	var parts []string
	if str(parameter["in"]) == "header" {
		parts = append(parts, "A header.")
	}
	if text := strings.TrimSpace(str(parameter["description"])); text != "" {
		parts = append(parts, strings.TrimSuffix(text, ".")+".")
	}
	schema, _ := parameter["schema"].(map[string]any)
	if items, ok := schema["items"].(map[string]any); ok {
		schema = items
	}
	values, _ := schema["enum"].([]any)
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = str(v)
	}
	if len(names) > 0 {
		parts = append(parts, "One of "+strings.Join(names, ", ")+".")
	}
	return strings.Join(parts, " ")
}

// resolve follows a reference to a component.
func resolve(doc, object map[string]any) map[string]any {
	ref, ok := object["$ref"].(string)
	if !ok {
		return object
	}
	at := doc
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at = at[name].(map[string]any)
	}
	return at
}

// inline is a text of the document, whose only Markdown is code in backticks, as HTML.
func inline(text string) template.HTML {
	var out strings.Builder
	for i, part := range strings.Split(text, "`") {
		part = template.HTMLEscapeString(part)
		if i%2 == 1 {
			part = "<code>" + part + "</code>"
		}
		out.WriteString(part)
	}
	return template.HTML(out.String())
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

// text is the page for language models (llms.txt).
func (p page) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n> %s\n\n%s\n\n## Paths\n\n", p.Title, p.Summary, strings.Join(p.Paragraphs, "\n\n"))
	for _, path := range p.Paths {
		fmt.Fprintf(&b, "- [%s](%s): %s\n  `%s`\n", path.Path, path.Path, path.Summary, path.Example)
		for _, parameter := range path.Parameters {
			fmt.Fprintf(&b, "  - %s: %s\n", parameter.Name, parameter.Description)
		}
	}
	b.WriteString("\nThe whole specification is at [/openapi.json](/openapi.json).\n")
	return b.String()
}

func getOpenAPI(s *Server, r *request) (answer, *problem) {
	return answer{contentType: typeJSON, body: specOnce().json, etag: s.boot}, r.done()
}

func getLLMs(s *Server, r *request) (answer, *problem) {
	return answer{contentType: typeText, body: specOnce().text, etag: s.boot}, r.done()
}

func getDocs(s *Server, r *request) (answer, *problem) {
	return answer{contentType: typeHTML, body: specOnce().html, etag: s.boot}, r.done()
}
