package dataset

import (
	"slices"
	"testing"
	"time"
)

// What somebody has still to read by segments is neither merged nor removed.
func TestKeptSegmentsAreLeftAlone(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	defer w.Close()
	for i := range 5 {
		commitAll(t, w, 10*i, 10)
	}
	w.Keep(3)
	c.advance(time.Hour)
	compact(t, w)
	if _, err := w.Retain(t.Context(), c.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	want := []string{"part-00000003.parquet", "part-00000004.parquet", "part-00000005.parquet"}
	if got := files(t, dir, Metadata); len(got) < len(want) || !slices.Equal(got[len(got)-3:], want) {
		t.Errorf("parts %v, want the last to be %v", got, want)
	}
	w.Keep(6)
	if m := compact(t, w); m.Parts == 0 {
		t.Error("nothing is merged that is no longer kept")
	}
}
