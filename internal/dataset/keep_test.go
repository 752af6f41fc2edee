package dataset

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// committedTens is a writer that has committed so many segments, of ten rows a table, at
// noon.
func committedTens(t *testing.T, segments int) (w *Writer, c *clock, dir string) {
	t.Helper()
	dir, c = t.TempDir(), &clock{noon}
	w = openAt(t, dir, c)
	t.Cleanup(func() { w.Close() })
	for i := range segments {
		commitAll(t, w, 10*i, 10)
	}
	return w, c, dir
}

// What somebody has still to read by segments is neither merged nor removed.
func TestKeptSegmentsAreLeftAlone(t *testing.T) {
	w, c, dir := committedTens(t, 5)
	w.HoldCompactionFrom("slow", 3)
	w.HoldCompactionFrom("fast", 5)
	c.advance(time.Hour)
	compact(t, w)
	if _, err := w.Retain(t.Context(), c.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	want := []string{"part-00000003.parquet", "part-00000004.parquet", "part-00000005.parquet"}
	if got := files(t, dir, Metadata); len(got) < len(want) || !slices.Equal(got[len(got)-3:], want) {
		t.Errorf("parts %v, want the last to be %v", got, want)
	}
	w.HoldCompactionFrom("slow", 6)
	w.HoldCompactionFrom("fast", 6)
	if m := compact(t, w); m.Parts == 0 {
		t.Error("nothing is merged that is no longer kept")
	}
}

// A damaged part, which is set aside, keeps no other from being removed.
func TestRetainGoesOnPastADamagedPart(t *testing.T) {
	w, c, dir := committedTens(t, 3)
	path := single(2).path(dir, Discovery)
	if err := os.WriteFile(path, []byte("PAR1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Retain(t.Context(), c.now().Add(time.Hour)); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name %s", err, path)
	}
	for table, want := range map[string][]string{
		// The first was committed by the real clock.
		Discovery: {"part-00000000.parquet", "part-00000003.parquet"}, Metadata: {"part-00000000.parquet", "part-00000003.parquet"},
	} {
		if got := files(t, dir, table); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", table, got, want)
		}
	}
	wasSetAside(t, dir, Discovery, single(2), "PAR1")
}

// What a merge or a removal replaced goes when its readers have had their time.
func TestSweep(t *testing.T) {
	w, c, dir := committedTens(t, 3)
	if _, err := w.Retain(t.Context(), c.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	kept := func() int {
		entries, err := os.ReadDir(filepath.Join(dir, compactingDir))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	for _, after := range []time.Duration{0, keepOld + time.Second} {
		if err := w.Sweep(time.Now().Add(after)); err != nil {
			t.Fatal(err)
		}
		if n := kept(); (n > 0) != (after == 0) {
			t.Errorf("%d directories after %v", n, after)
		}
	}
}

// A directory among the parts is somebody's: it stays, and so does everything else.
func TestMergeRefusesADirectory(t *testing.T) {
	w, c, dir := committedTens(t, 2)
	c.advance(time.Hour)
	theirs := filepath.Join(Dir(dir, Visit), "theirs")
	if err := os.Mkdir(theirs, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Compact(t.Context(), time.Hour); err == nil || !strings.Contains(err.Error(), theirs+" is a directory: move it out") {
		t.Errorf("error %v does not name %s", err, theirs)
	}
	everyTable(t, dir, upTo(20))
	for _, made := range []string{"merge", Visit} {
		if _, err := os.Stat(filepath.Join(dir, compactingDir, made)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left of the merge: %v", made, err)
		}
	}
	if err := os.Remove(theirs); err != nil {
		t.Fatal(err)
	}
	compact(t, w)
	everyTable(t, dir, upTo(20))
}
