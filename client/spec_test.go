package client

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

func spec(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("../internal/api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// Every type has exactly the properties that the specification has, with a kind of field that
// takes every value of theirs.
func TestTypesAreAsSpecified(t *testing.T) {
	doc := spec(t)
	answers := map[string]reflect.Type{
		"/summary": reflect.TypeFor[Answer[Summary]](), "/nodes": reflect.TypeFor[Answer[[]Node]](), "/nodes/{id}": reflect.TypeFor[Answer[NodeDetail]](),
		"/nodes/{id}/observations": reflect.TypeFor[Answer[Observations]](), "/subnets": reflect.TypeFor[Answer[Subnets]](), "/forks": reflect.TypeFor[Answer[Forks]](),
		"/errors": reflect.TypeFor[Answer[[]Outcome]](), "/concentration": reflect.TypeFor[Answer[[]Concentration]](), "/timeseries": reflect.TypeFor[Answer[[]Point]](),
		"/changes": reflect.TypeFor[Answer[[]Change]](), "/crawl": reflect.TypeFor[Answer[Crawl]](), "/sentries": reflect.TypeFor[Answer[Sentries]](), "/datasets": reflect.TypeFor[Answer[[]Dataset]](),
	}
	for _, list := range []string{Countries, Cities, Networks, Hosting, Clients} {
		answers["/"+list] = reflect.TypeFor[Answer[[]Group]]()
	}
	files := []string{"/datasets/{table}", "/datasets/{table}/{part}", "/snapshot", "/events"} // which have no type
	for path, item := range doc.Paths.Map() {
		rest, ours := strings.CutPrefix(path, "/api/v1")
		if !ours || slices.Contains(files, rest) {
			continue
		}
		answer, ok := answers[rest]
		if !ok {
			t.Errorf("%s has no type", path)
			continue
		}
		delete(answers, rest)
		compare(t, path, item.Get.Responses.Status(http.StatusOK).Value.Content.Get("application/json").Schema.Value, answer)
	}
	for path := range answers {
		t.Errorf("%s is not in openapi.yaml", path)
	}
	for name, found := range ofSome {
		if !found {
			t.Errorf("no answer has %s in its meta", name)
		}
	}
}

// orNull is the schema of the values other than null, and whether null is one.
func orNull(s *openapi3.Schema) (values *openapi3.Schema, nullable bool) {
	if len(s.OneOf) == 2 && s.OneOf[1].Value.Type.Is("null") {
		return s.OneOf[0].Value, true
	}
	return s, s.Type != nil && s.Type.Includes("null")
}

// compare holds a type against a schema.
func compare(t *testing.T, at string, s *openapi3.Schema, typ reflect.Type) {
	s, nullable := orNull(s)
	properties, required := membersOf(s)
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	} else if nullable && typ.Kind() != reflect.Slice && typ.Kind() != reflect.Map {
		t.Errorf("%s can be null, and %v cannot", at, typ)
	}
	switch {
	case s.Type == nil && len(properties) == 0:
		t.Errorf("%s has no type in openapi.yaml", at)
	case s.Type != nil && s.Type.Includes("array"):
		if typ.Kind() != reflect.Slice {
			t.Errorf("%s is a list, and %v is none", at, typ)
			return
		}
		compare(t, at+"[]", s.Items.Value, typ.Elem())
	case len(properties) > 0:
		if typ.Kind() != reflect.Struct {
			t.Errorf("%s is an object, and %v is none", at, typ)
			return
		}
		compareMembers(t, at, properties, required, typ)
	case s.Type.Includes("object"):
		if typ.Kind() != reflect.Map {
			t.Errorf("%s is a map, and %v is none", at, typ)
		}
	default:
		compareValue(t, at, s, typ)
	}
}

func compareValue(t *testing.T, at string, s *openapi3.Schema, typ reflect.Type) {
	kinds := map[string][]reflect.Kind{
		"integer": {reflect.Int, reflect.Int64, reflect.Uint64, reflect.Uint32}, "number": {reflect.Float64}, "string": {reflect.String}, "boolean": {reflect.Bool},
	}
	for name, fits := range kinds {
		if s.Type.Includes(name) && !slices.Contains(fits, typ.Kind()) {
			t.Errorf("%s is of type %s, which %v does not take", at, name, typ)
		}
	}
}

// ofSome are the members of Meta that only some answers have, true once one has been found.
var ofSome = map[string]bool{"next": false, "latest": false, "from": false, "to": false, "earlier": false, "damaged_parts": false}

func compareMembers(t *testing.T, at string, properties map[string]*openapi3.Schema, required []string, typ reflect.Type) {
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(typ) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !f.Anonymous {
			fields[name] = f.Type
		}
	}
	for name, property := range properties {
		field, ok := fields[name]
		if !ok {
			t.Errorf("%v has no field for %s.%s", typ, at, name)
			continue
		}
		if field.Kind() == reflect.Pointer && slices.Contains(required, name) && len(property.Properties) == 0 {
			if _, nullable := orNull(property); !nullable {
				t.Errorf("%s.%s is never null, and %v is a pointer", at, name, field)
			}
		}
		compare(t, at+"."+name, property, field)
	}
	for name := range fields {
		if _, ok := properties[name]; ok && typ == reflect.TypeFor[Meta]() {
			ofSome[name] = true
		} else if _, some := ofSome[name]; !ok && (typ != reflect.TypeFor[Meta]() || !some) {
			t.Errorf("%v has a field %s, which %s has not", typ, name, at)
		}
	}
}

// membersOf are the properties of a schema and of all schemas that it consists of.
func membersOf(s *openapi3.Schema) (properties map[string]*openapi3.Schema, required []string) {
	properties = map[string]*openapi3.Schema{}
	for name, p := range s.Properties {
		properties[name] = p.Value
	}
	required = append(required, s.Required...)
	for _, part := range s.AllOf {
		more, needed := membersOf(part.Value)
		for name, p := range more {
			properties[name] = p
		}
		required = append(required, needed...)
	}
	return properties, required
}

// A query can use every parameter of the API.
func TestQueriesHaveEveryParameter(t *testing.T) {
	yes, one := true, 1.0
	nodes := NodeQuery{
		Client: []string{"a"}, Version: []string{"a"}, Country: []string{"a"}, ASN: []uint32{1}, Hosting: []string{"a"}, Cloud: []string{"a"}, ForkDigest: []string{"a"},
		Flag: []string{"a"}, ValidatorsFrom: &one, ValidatorsTo: &one, WidthFrom: &one, WidthTo: &one, AllSubnets: &yes, From: 1, To: 1, FirstSeenFrom: 1, FirstSeenTo: 1,
		Search: "a", Counted: true, Sort: "id", Fields: []string{"id", "client"},
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[NodeQuery]()) {
		if f.Name != "PageSize" && reflect.ValueOf(nodes).FieldByIndex(f.Index).IsZero() {
			t.Errorf("the test does not set %s", f.Name)
		}
	}
	asked := map[string]map[string]bool{}
	c := fakeClient(t, func(r *http.Request) (*http.Response, error) {
		if asked[r.URL.Path] == nil {
			asked[r.URL.Path] = map[string]bool{}
		}
		for name := range r.URL.Query() {
			asked[r.URL.Path][name] = true
		}
		return answer(http.StatusOK, `{"data":null,"meta":{"next":null}}`), nil
	})
	ctx := context.Background()
	c.NodesPage(ctx, nodes)
	c.ExportNodes(ctx, nodes, "csv")
	c.Observations(ctx, "x", 1, 2)
	c.Timeseries(ctx, TimeseriesQuery{Metric: []string{"a"}, Step: "1d", From: 1, To: 2})
	c.ChangesPage(ctx, ChangeQuery{Since: 1, After: "x.1", Kind: []string{Moved}, PageSize: 1})
	c.Dataset(ctx, "x", DatasetQuery{From: 1, To: 2, Format: "csv"})
	doc := spec(t)
	for path, queried := range map[string]string{
		"/nodes": "/nodes", "/nodes/{id}/observations": "/nodes/x/observations", "/timeseries": "/timeseries", "/changes": "/changes", "/datasets/{table}": "/datasets/x",
	} {
		known := map[string]bool{"format": true, "cursor": true} // which calls of their own, and Nodes, set
		for _, p := range doc.Paths.Find("/api/v1" + path).Get.Parameters {
			if p.Value.In != "query" {
				continue
			}
			known[p.Value.Name] = true
			if name := p.Value.Name; name != "format" && name != "cursor" && !asked["/api/v1"+queried][name] {
				t.Errorf("no query has the parameter %s of %s", name, path)
			}
		}
		for name := range asked["/api/v1"+queried] {
			if !known[name] {
				t.Errorf("%s has no parameter %s", path, name)
			}
		}
	}
	if t.Failed() {
		t.Log(fmt.Sprint(asked))
	}
}
