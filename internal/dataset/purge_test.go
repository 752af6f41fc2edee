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
	"github.com/parquet-go/parquet-go"
)

// purgeDir is a directory with a merged part, a segment's part and an empty one.
func purgeDir(t *testing.T, c *clock) (dir string, w *Writer) {
	t.Helper()
	dir = t.TempDir()
	w = openAt(t, dir, c)
	commitAll(t, w, 0, 120)
	commitAll(t, w, 120, 120)
	c.advance(time.Hour)
	compact(t, w)
	commitAll(t, w, 240, 120)
	for i := range 5 {
		if err := Append(w, EstimateRow{ID: []string{"16U000", "16U001", "16U037", "16U002", "16U000"}[i], Common: common(int64(1763800000000 + i))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(nil); err != nil {
		t.Fatal(err)
	}
	return dir, w
}

func optedOut(peer string) bool { return peer == "16U000" || peer == "16U037" }

// everyRow gives all rows by table, in the order of Scan.
func everyRow(t *testing.T, dir string) map[string][]Row {
	t.Helper()
	out := map[string][]Row{}
	for _, table := range Tables() {
		if err := ScanTable(t.Context(), dir, table, Range{}, func(r Row) error {
			out[table] = append(out[table], r)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// without are the rows that stay, and how many go.
func without(rows map[string][]Row) (rest map[string][]Row, gone map[string]int64) {
	rest, gone = map[string][]Row{}, map[string]int64{}
	for table, list := range rows {
		rest[table] = slices.DeleteFunc(slices.Clone(list), func(r Row) bool { return optedOut(r.Peer()) })
		gone[table] = int64(len(list) - len(rest[table]))
	}
	return rest, gone
}

func TestPurge(t *testing.T) {
	dir, w := purgeDir(t, &clock{noon})
	defer w.Close()
	want, gone := without(everyRow(t, dir))
	covered := Coverage{}
	covered.Merge(w.Covered())
	got, err := w.Purge(t.Context(), optedOut)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(gone, got); d != "" || gone[PeerEstimates] != 3 || gone[Metadata] != 8 {
		t.Errorf("removed (-want +got):\n%s", d)
	}
	checkPurged(t, dir, want, gone)
	if again, err := w.Purge(t.Context(), optedOut); err != nil || cmp.Diff(map[string]int64{Discovery: 0, ValidatorMetadata: 0, Visit: 0, PeerEstimates: 0, Metadata: 0}, again) != "" {
		t.Errorf("again: %v, %v", again, err)
	}
	if d := cmp.Diff(covered, w.Covered()); d != "" {
		t.Errorf("covered (-before +after):\n%s", d)
	}
	w.now = func() time.Time { return noon.Add(48 * time.Hour) } // the counts survive merges
	compact(t, w)
	checkPurgedCounts(t, dir, gone)
}

// checkPurged: the rest reads back exactly, for foreign readers too, and nothing of the
// removed rows is left in any file.
func checkPurged(t *testing.T, dir string, want map[string][]Row, gone map[string]int64) {
	t.Helper()
	if d := cmp.Diff(want, everyRow(t, dir)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	checkPurgedCounts(t, dir, gone)
	for _, table := range []string{Metadata, Visit} {
		if got := duckdb(t, Dir(dir, table), "--sql", "SELECT count(*)::INTEGER n FROM t")[0]["n"]; got != float64(len(want[table])) {
			t.Errorf("DuckDB counts %v rows in %s", got, table)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, compactingDir)); err == nil {
		t.Error("replaced parts are kept")
	}
}

func checkPurgedCounts(t *testing.T, dir string, gone map[string]int64) {
	t.Helper()
	h, err := Check(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !h.OK() || h.Missing() != 0 {
		t.Errorf("health %+v", h)
	}
	for _, table := range h.Tables {
		if table.Purged != gone[table.Table] {
			t.Errorf("check counts %d purged rows in %s, want %d", table.Purged, table.Table, gone[table.Table])
		}
	}
}

// Killed at any step, and run again, it has done the whole.
func TestKilledWhilePurging(t *testing.T) {
	t.Parallel()
	for _, table := range Tables() {
		for _, what := range []string{"purge ", "link ", "fsync ", "exchange ", "persist "} {
			t.Run(what+table, func(t *testing.T) {
				c := &clock{noon}
				dir, w := purgeDir(t, c)
				want, gone := without(everyRow(t, dir))
				dieAt(w, what+table)
				if _, err := w.Purge(t.Context(), optedOut); !errors.Is(err, errKilled) {
					t.Fatalf("purge: %v", err)
				}
				rest, _ := without(everyRow(t, dir)) // the others' rows are there all the time
				if d := cmp.Diff(want, rest); d != "" {
					t.Fatalf("(-want +got):\n%s", d)
				}
				die(w)
				w = openAt(t, dir, c)
				defer w.Close()
				if _, err := w.Purge(t.Context(), optedOut); err != nil {
					t.Fatal(err)
				}
				checkPurged(t, dir, want, gone)
			})
		}
	}
}

// A part that cannot be read, or has columns of a later version, stays and is named; the
// others are purged.
func TestPurgeNamesWhatItLeaves(t *testing.T) {
	dir, w := purgeDir(t, &clock{noon})
	defer w.Close()
	damaged := single(3).path(dir, Visit)
	if err := os.WriteFile(damaged, []byte("PAR1"), 0o644); err != nil {
		t.Fatal(err)
	}
	type later struct {
		DiscoveryRow
		New string `parquet:"new"`
	}
	newer := single(3).path(dir, Discovery)
	if err := parquet.WriteFile(newer, []later{{DiscoveryRow: DiscoveryRow{ID: "16U000"}, New: "kept"}}); err != nil {
		t.Fatal(err)
	}
	removed, err := w.Purge(t.Context(), optedOut)
	if err == nil || !strings.Contains(err.Error(), damaged) || !strings.Contains(err.Error(), newer) || !strings.Contains(err.Error(), "columns new are of a later version") {
		t.Errorf("error %v", err)
	}
	if removed[Metadata] != 8 || removed[Discovery] == 0 || removed[Visit] == 0 {
		t.Errorf("removed %v", removed)
	}
	rows, err := parquet.ReadFile[later](newer)
	if err != nil || len(rows) != 1 || rows[0].New != "kept" {
		t.Errorf("the part of a later version has %v, %v", rows, err)
	}
}
