package dataset

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// discoveryOfLater is a row of a later version that has one column more.
type discoveryOfLater struct {
	DiscoveryRow
	Extra string `parquet:"extra,dict" json:"extra"`
}

// writeLater replaces a part by one with the same keys, as a later version would have
// written it.
func writeLater(t *testing.T, path, schema string) {
	t.Helper()
	f, err := discoveryTable().readFooter(path)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := f.entries()
	if err != nil {
		t.Fatal(err)
	}
	entries[footerSchema] = schema
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	p := newPart[discoveryOfLater](file)
	if err := errors.Join(p.append(discoveryOfLater{discoveryRows()[0], "more"}), p.finish(entries)); err != nil {
		t.Fatal(err)
	}
}

// A column that this version does not know is never dropped: its parts are left as they
// are, and those around them are merged.
func TestMergeKeepsColumnsOfALaterVersion(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	for i := range 5 {
		commitAll(t, w, i*20, 20)
	}
	later := single(3).path(dir, Discovery)
	writeLater(t, later, schemaText())
	before, err := os.ReadFile(later)
	if err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	compact(t, w)
	want := []string{"part-00000000.parquet", "part-00000001-00000002.parquet", "part-00000003.parquet", "part-00000004-00000005.parquet"}
	if d := cmp.Diff(want, files(t, dir, Discovery)); d != "" {
		t.Errorf("parts (-want +got):\n%s", d)
	}
	if after, err := os.ReadFile(later); err != nil || !slices.Equal(before, after) {
		t.Errorf("the part was changed, %v", err)
	}
	h, err := Check(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range h.Tables {
		if want := table.Table == Discovery; want != slices.Contains(table.UnknownColumns, "extra") || want != (len(table.UnknownColumns) > 0) {
			t.Errorf("%s has the unknown columns %v", table.Table, table.UnknownColumns)
		}
	}
	if len(w.Covered()["s-1"]) != 1 {
		t.Errorf("covered %v", w.Covered())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// Parts with a newer schema are refused by whoever would read their rows, in every table,
// and left alone by what merges and removes.
func TestNewerSchemaIsLeftAlone(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	for i := range 4 {
		commitAll(t, w, i*20, 20)
	}
	later := single(2).path(dir, Discovery)
	writeLater(t, later, "2")
	c.advance(48 * time.Hour)
	if _, err := w.Compact(t.Context(), time.Hour); !errors.Is(err, errNewer) || !strings.Contains(err.Error(), later) {
		t.Errorf("compact: %v", err)
	}
	if _, err := w.Retain(t.Context(), c.now()); !errors.Is(err, errNewer) {
		t.Errorf("retain: %v", err)
	}
	if _, err := os.Stat(later); err != nil {
		t.Error(err)
	}
	if err := Scan(t.Context(), dir, Range{}, func(DiscoveryRow) error { return nil }); !errors.Is(err, errNewer) || !strings.Contains(err.Error(), later) {
		t.Errorf("scan: %v", err)
	}
	if _, err := Inspect(dir); !errors.Is(err, errNewer) || !strings.Contains(err.Error(), later) {
		t.Errorf("inspect: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// Whatever is in a dataset's directory and is not a part is named: other readers count
// its rows, or fail.
func TestCheckNamesForeignFiles(t *testing.T) {
	dir := writeOneSegment(t)
	var want []string
	for _, name := range []string{"part-00000001 (1).parquet", "._part-00000001.parquet", "part-1.parquet", "part-00000001.parquet.tmp", "notes.txt", "export.parquet"} {
		path := filepath.Join(Dir(dir, Visit), name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		want = append(want, path)
	}
	for _, name := range []string{"year=2026", "part-00000009.parquet"} {
		path := filepath.Join(Dir(dir, Visit), name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		want = append(want, path)
	}
	slices.Sort(want)
	h, err := Check(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range h.Tables {
		if table.Table != Visit {
			if len(table.Foreign) > 0 {
				t.Errorf("%s: foreign %q", table.Table, table.Foreign)
			}
			continue
		}
		if d := cmp.Diff(want, table.Foreign); d != "" {
			t.Errorf("foreign (-want +got):\n%s", d)
		}
	}
	if h.OK() {
		t.Error("a dataset with foreign files is OK")
	}
}

func TestInspect(t *testing.T) {
	if networks, err := Inspect(filepath.Join(t.TempDir(), "missing")); err != nil || len(networks) > 0 {
		t.Errorf("a missing directory: %v, %v", networks, err)
	}
	dir := t.TempDir()
	w := open(t, dir)
	for _, name := range []string{"sepolia", "mainnet"} {
		row := visitRows()[0]
		row.Network = name
		if err := errors.Join(Append(w, row), w.Commit(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	networks, err := Inspect(dir)
	if d := cmp.Diff([]string{"mainnet", "sepolia"}, networks); d != "" || err != nil {
		t.Errorf("%v, networks (-want +got):\n%s", err, d)
	}
	if err := errors.Join(os.RemoveAll(Dir(dir, Visit)), os.WriteFile(Dir(dir, Visit), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(dir); err == nil || !strings.Contains(err.Error(), Dir(dir, Visit)+" is not a directory") {
		t.Errorf("a file in place of a table: %v", err)
	}
}
