package dataset

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The dictionary has each column of the export of nodes, which has the order of its JSON.
func TestDataDictionaryHasTheNodeColumns(t *testing.T) {
	text, err := os.ReadFile("../../docs/data-dictionary.md")
	if err != nil {
		t.Fatal(err)
	}
	columns := ColumnsOf(NodeRow{})
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[NodeRow]()) {
		names = append(names, f.Tag.Get("json"))
	}
	if d := cmp.Diff(names, columns); d != "" {
		t.Errorf("(-JSON +columns):\n%s", d)
	}
	documented := dictionary(string(text))[Nodes]
	slices.Sort(documented)
	slices.Sort(columns)
	if d := cmp.Diff(columns, documented); d != "" {
		t.Errorf("(-columns +docs/data-dictionary.md):\n%s", d)
	}
}

// Nulls of a node stay nulls in its Parquet file, and are not zero.
func TestNodeRowsReadBack(t *testing.T) {
	rows := []NodeRow{
		{ID: "known", Client: ptr("prysm"), Validators: ptr(int64(0)), ValidatorsLow: ptr(0.0), CustodyGroupCount: ptr(uint64(0)), AllSubnets: ptr(false),
			LongLivedSubnets: []int32{}, ShortLivedSubnets: []int32{0, 63}, Observations: 3, FirstSeen: ptr(int64(1)), LastSeen: ptr(int64(2)), Network: "n"},
		{ID: "only found", Network: "n"},
	}
	path := filepath.Join(t.TempDir(), "nodes.parquet")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	out := NewFile[NodeRow](f)
	for _, row := range rows {
		if err := out.Write(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	var got []NodeRow
	if err := eachRow(t.Context(), path, func(row NodeRow) error { got = append(got, row); return nil }); err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(rows)
	have, _ := json.Marshal(got)
	if d := cmp.Diff(string(want), string(have)); d != "" {
		t.Error(d)
	}
}
