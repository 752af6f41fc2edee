package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/parquet-go/parquet-go"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/event/eventtest"
)

// appendEvent appends the row of an event that holds the event as it came.
func appendEvent(w *Writer, e event.Event) error {
	switch e := e.(type) {
	case *event.PeerDiscovered:
		return Append(w, FromPeerDiscovered(e))
	case *event.MetadataReceived:
		return Append(w, FromMetadataReceived(e))
	case *event.VisitEnded:
		return Append(w, FromVisitEnded(e))
	}
	return fmt.Errorf("no table for %T", e)
}

func setCommon(e event.Event, set func(*event.Common)) {
	switch e := e.(type) {
	case *event.PeerDiscovered:
		set(&e.Common)
	case *event.MetadataReceived:
		set(&e.Common)
	case *event.VisitEnded:
		set(&e.Common)
	}
}

// A field of an event that has no column, or that is not read back, would be lost to
// whoever rebuilds from the datasets.
func TestEveryEventFieldSurvivesTheDatasets(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	defer w.Close()
	want := map[string]event.Event{}
	for _, e := range eventtest.Filled() {
		data, err := event.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := event.Decode(e.Subject(), data)
		if err != nil {
			t.Fatal(err)
		}
		if err := appendEvent(w, decoded); err != nil {
			t.Fatal(err)
		}
		withoutUnstored(e)
		want[e.Subject()] = e
	}
	if err := w.Commit(nil); err != nil {
		t.Fatal(err)
	}
	got := map[string]event.Event{}
	if err := EventsAfter(t.Context(), dir, 0, func(e event.Event) error {
		got[e.Subject()] = e
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-published +read back):\n%s", d)
	}
}

// withoutUnstored removes what no column has: see commonOf. The version of its sentry is in a
// visit's row alone.
func withoutUnstored(e event.Event) {
	setCommon(e, func(c *event.Common) {
		if c.GenesisValidatorsRoot = (eth2.Root{}); e.Subject() != event.SubjectVisitEnded {
			c.CrawlerVersion = ""
		}
	})
}

// A field that an event does not have is null, and read back as absent: a list that is
// null must not become an empty one, which says something else.
func TestAbsentFieldsStayAbsent(t *testing.T) {
	// A watch's lists: absent says the same as empty.
	same := []string{"Watch.Initial", "Watch.Changes"}
	for _, filled := range eventtest.Filled() {
		for name, e := range eventtest.WithoutOptional(filled) {
			data, err := event.Encode(e)
			if err != nil || slices.Contains(same, name) {
				continue // a field that must not be absent after all
			}
			want, err := event.Decode(e.Subject(), data)
			if err != nil {
				t.Fatal(err)
			}
			withoutUnstored(want)
			dir := t.TempDir()
			w := open(t, dir)
			if err := errors.Join(appendEvent(w, want), w.Commit(nil), w.Close()); err != nil {
				t.Fatal(err)
			}
			err = EventsAfter(t.Context(), dir, 0, func(got event.Event) error {
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s without %s (-decoded +read back):\n%s", e.Subject(), name, d)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A derived table must have the columns of the handshake it is derived from.
func TestEveryHandshakeColumnIsInTheValidatorRow(t *testing.T) {
	var handshake *event.MetadataReceived
	for _, e := range eventtest.Filled() {
		if e, ok := e.(*event.MetadataReceived); ok {
			handshake = e
		}
	}
	from := FromMetadataReceived(handshake)
	want, got := members(t, from), members(t, ValidatorRowOf(&from))
	maps.Copy(want, members(t, from.MetaData)) // flat
	delete(want, "metadata")
	for name, value := range want {
		if d := cmp.Diff(value, got[name]); d != "" {
			t.Errorf("%s (-handshake +validator row):\n%s", name, d)
		}
	}
}

func members(t *testing.T, v any) (out map[string]any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRegistry(t *testing.T) {
	names := Tables()
	if names[len(names)-1] != commitTable {
		t.Errorf("%s does not commit a segment: %v", commitTable, names)
	}
	if d := cmp.Diff(slices.Compact(slices.Sorted(slices.Values(names))), slices.Sorted(slices.Values(names))); d != "" {
		t.Errorf("a name occurs more than once:\n%s", d)
	}
	files, err := filepath.Glob("table_*.go")
	if err != nil || len(files) != len(names) {
		t.Errorf("tables %v are registered, the files are %v, %v", names, files, err)
	}
	var events []string
	for i, table := range eventTables() {
		if table.eventRank != i {
			t.Errorf("%s has event rank %d, want %d", table.name, table.eventRank, i)
		}
		events = append(events, table.name)
	}
	if subjects := event.Subjects(); len(events) != len(subjects) {
		t.Errorf("tables of events %v, subjects %v", events, subjects)
	}
}

// Two rows that differ in no part of the key are duplicates, those of the same second
// by another sentry are not.
func TestKeysTellRowsApart(t *testing.T) {
	a := VisitRow{ID: "p", VisitID: "v", Common: Common{CrawlerID: "c", Timestamp: 1}}
	part, crawler, later := a, a, a
	part.Part, crawler.CrawlerID, later.Timestamp = 1, "d", 2
	keys := map[rowKey]bool{}
	for _, r := range []VisitRow{a, part, crawler, later} {
		keys[r.key()] = true
	}
	if len(keys) != 4 {
		t.Errorf("keys %v", keys)
	}
}

// The dictionary has each column of each table, and no others.
func TestDataDictionaryHasEveryColumn(t *testing.T) {
	text, err := os.ReadFile("../../docs/data-dictionary.md")
	if err != nil {
		t.Fatal(err)
	}
	common := leaves(parquet.SchemaOf(Common{}).Fields(), "")
	sections := dictionary(string(text))
	for _, table := range registry() {
		var schema []string
		f, err := os.Open(single(1).path(writeOneSegment(t), table.name))
		if err != nil {
			t.Fatal(err)
		}
		file, _, err := openParquet(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range leaves(file.Schema().Fields(), "") {
			if !slices.Contains(common, name) {
				schema = append(schema, name)
			}
		}
		f.Close()
		slices.Sort(schema)
		documented := sections[table.name]
		slices.Sort(documented)
		if d := cmp.Diff(schema, documented, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s (-columns +docs/data-dictionary.md):\n%s", table.name, d)
		}
	}
	for _, name := range common {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/data-dictionary.md does not name %s", name)
		}
	}
}

// leaves are the columns' names, those in a group with the group's before them.
func leaves(fields []parquet.Field, prefix string) (names []string) {
	for _, f := range fields {
		children := f.Fields()
		for len(children) == 1 && (children[0].Name() == "list" || children[0].Name() == "element") {
			children = children[0].Fields()
		}
		if len(children) == 0 {
			names = append(names, prefix+f.Name())
			continue
		}
		names = append(names, leaves(children, prefix+f.Name()+".")...)
	}
	return names
}

// dictionary reads the columns that each table's section names in the first cells of
// its rows: `a`, `b`, or `group` {`a`, `b`}.
func dictionary(text string) map[string][]string {
	heading := regexp.MustCompile("(?m)^## .*`(\\w+)\\.parquet`.*$")
	out := map[string][]string{}
	found := heading.FindAllStringSubmatchIndex(text, -1)
	for _, at := range found {
		table, section := text[at[2]:at[3]], text[at[1]:]
		if end := strings.Index(section, "\n## "); end >= 0 {
			section = section[:end]
		}
		for line := range strings.Lines(section) {
			if !strings.HasPrefix(line, "| `") {
				continue
			}
			out[table] = append(out[table], rowNames(strings.SplitN(line, "|", 3)[1])...)
		}
	}
	return out
}

// rowNames are the columns that the first cell of a row names.
func rowNames(cell string) (names []string) {
	group := regexp.MustCompile("`([\\w.]+)` \\{([^}]*)\\}")
	name := regexp.MustCompile("`([\\w.]+)`")
	for _, g := range group.FindAllStringSubmatch(cell, -1) {
		for _, n := range name.FindAllStringSubmatch(g[2], -1) {
			names = append(names, g[1]+"."+n[1])
		}
	}
	for _, n := range name.FindAllStringSubmatch(group.ReplaceAllString(cell, ""), -1) {
		names = append(names, n[1])
	}
	return names
}

// Columns has the order of the row's JSON, which exports as CSV rely on.
func TestColumns(t *testing.T) {
	for _, table := range registry() {
		columns, err := Columns(table.name)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(table.row)) {
			if !f.Anonymous {
				want = append(want, f.Tag.Get("json"))
			}
		}
		if d := cmp.Diff(want, columns); d != "" {
			t.Errorf("%s (-JSON +columns):\n%s", table.name, d)
		}
	}
	if _, err := Columns("none"); err == nil {
		t.Error("an unknown table has columns")
	}
}
