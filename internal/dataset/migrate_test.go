package dataset

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
)

// withoutPlaces replaces a part by one as versions wrote it that knew no places: without
// the columns geo_*.
func withoutPlaces[T Row](t *testing.T, path string) {
	t.Helper()
	var zero T
	table, err := lookup(zero.Table())
	if err != nil {
		t.Fatal(err)
	}
	f, err := table.readFooter(path)
	if err != nil {
		t.Fatal(err)
	}
	var rows []T
	if err := eachRow(t.Context(), path, func(row T) error { rows = append(rows, row); return nil }); err != nil {
		t.Fatal(err)
	}
	var fields []reflect.StructField
	for _, field := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if !field.Anonymous && !strings.HasPrefix(field.Tag.Get("parquet"), "geo_") {
			fields = append(fields, reflect.StructField{Name: field.Name, Type: field.Type, Tag: field.Tag})
		}
	}
	earlier := reflect.StructOf(fields)
	if err := os.Remove(path); err != nil { // not what hard links show
		t.Fatal(err)
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := parquet.NewWriter(file, parquet.SchemaOf(reflect.New(earlier).Interface()), parquet.Compression(compression), parquet.CreatedBy("valtrack", schemaText(), ""))
	for _, row := range rows {
		out := reflect.New(earlier).Elem()
		for _, field := range fields {
			out.FieldByName(field.Name).Set(reflect.ValueOf(row).FieldByName(field.Name))
		}
		if err := w.Write(out.Interface()); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := f.entries()
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range entries {
		w.SetKeyValueMetadata(key, value)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// earlierDir is a directory of an earlier version, with a merged part, a segment's and an
// empty one in each table.
func earlierDir(t *testing.T) (dir string) {
	t.Helper()
	dir, w := purgeDir(t, &clock{noon})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{ValidatorMetadata, PeerEstimates} {
		all, err := spans(dir, table)
		if err != nil || len(all) < 3 {
			t.Fatalf("%d parts, %v", len(all), err)
		}
		for _, s := range all {
			if table == ValidatorMetadata {
				withoutPlaces[ValidatorRow](t, s.path(dir, table))
			} else {
				withoutPlaces[EstimateRow](t, s.path(dir, table))
			}
		}
	}
	return dir
}

// columnsOf lists the columns of each of a table's files, as a reader that refuses different
// ones does.
func columnsOf(t *testing.T, dir, table string) (each [][]string) {
	t.Helper()
	entries, err := os.ReadDir(Dir(dir, table))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(Dir(dir, table), e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := openParquet(f)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range p.Schema().Columns() {
			names = append(names, strings.Join(c, "."))
		}
		each = append(each, names)
		f.Close()
	}
	return each
}

// uniform fails when the files of a table differ in their columns, and reports whether
// they have places.
func uniform(t *testing.T, dir, table string) (places bool) {
	t.Helper()
	each := columnsOf(t, dir, table)
	for _, names := range each[1:] {
		if d := cmp.Diff(each[0], names); d != "" {
			t.Errorf("%s has files with different columns:\n%s", table, d)
		}
	}
	return slices.Contains(each[0], "geo_country")
}

// Older parts get the columns in one step: at any moment all files of a table have the
// same ones. No row changes, none is lost, and what is written then fits.
func TestMigrate(t *testing.T) {
	dir := earlierDir(t)
	want := everyRow(t, dir)
	w := openAt(t, dir, &clock{noon.Add(2 * time.Hour)})
	defer w.Close()
	steps := 0
	w.crash = func(string) error {
		steps++
		uniform(t, dir, ValidatorMetadata)
		uniform(t, dir, PeerEstimates)
		return nil
	}
	done, err := w.Migrate(t.Context())
	if err != nil || done.Parts < 6 || done.Rows != int64(len(want[ValidatorMetadata])+len(want[PeerEstimates])) || steps < done.Parts {
		t.Errorf("migrated %+v in %d steps: %v", done, steps, err)
	}
	for _, table := range []string{ValidatorMetadata, PeerEstimates} {
		if !uniform(t, dir, table) {
			t.Errorf("%s has no places", table)
		}
	}
	if d := cmp.Diff(want, everyRow(t, dir)); d != "" {
		t.Errorf("rows (-before +after):\n%s", d)
	}
	if h := check(t, dir, nil); !h.OK() || h.MissingRows() != 0 {
		t.Errorf("%+v", h)
	}
	if again, err := w.Migrate(t.Context()); err != nil || again != (Migrated{}) {
		t.Errorf("again: %+v, %v", again, err)
	}
	w.crash = nil
	commitAll(t, w, 360, 10)
	uniform(t, dir, ValidatorMetadata)
	uniform(t, dir, PeerEstimates)
}

// A migration that ends at any step leaves a table as it was or migrated, and another
// one finishes.
func TestKilledWhileMigrating(t *testing.T) {
	earlier := earlierDir(t)
	want := everyRow(t, earlier)
	for n := 0; ; n++ {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(earlier)); err != nil {
			t.Fatal(err)
		}
		w := openAt(t, dir, &clock{noon.Add(2 * time.Hour)})
		step, killed := 0, errors.New("killed")
		w.crash = func(string) error {
			if step++; step > n {
				return killed
			}
			return nil
		}
		_, err := w.Migrate(t.Context())
		w.Close()
		if err == nil {
			break // there are no more steps
		}
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		uniform(t, dir, ValidatorMetadata)
		uniform(t, dir, PeerEstimates)
		w = openAt(t, dir, &clock{noon.Add(2 * time.Hour)})
		if _, err := w.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, everyRow(t, dir)); d != "" || !uniform(t, dir, ValidatorMetadata) || !uniform(t, dir, PeerEstimates) {
			t.Errorf("killed at step %d (-before +after):\n%s", n, d)
		}
		w.Close()
	}
}

// A damaged part is set aside, the others are migrated. A migration that is canceled changes
// nothing more.
func TestMigrateBesideDamage(t *testing.T) {
	dir := earlierDir(t)
	all, err := spans(dir, ValidatorMetadata)
	if err != nil {
		t.Fatal(err)
	}
	path := all[1].path(dir, ValidatorMetadata)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[4:200])
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	w := openAt(t, dir, &clock{noon.Add(2 * time.Hour)})
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if done, err := w.Migrate(ctx); !errors.Is(err, context.Canceled) || done.Parts > 0 {
		t.Errorf("canceled: %+v, %v", done, err)
	}
	if done, err := w.Migrate(t.Context()); err != nil || done.Parts == 0 {
		t.Errorf("%+v, error %v", done, err)
	}
	if !uniform(t, dir, ValidatorMetadata) || !uniform(t, dir, PeerEstimates) {
		t.Error("the whole parts have no places")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the damaged part: %v", err)
	}
}
