package dataset

import (
	"slices"
	"testing"
	"time"
)

// next asks for the part and closes it; 0-0 where there is none.
func next(t *testing.T, w *Writer, from uint64) (p PartReader) {
	t.Helper()
	found, err := w.NextPart(Metadata, from)
	if err != nil {
		t.Fatal(err)
	}
	if newest := w.Newest(); newest != w.Segment()-1 {
		t.Errorf("newest segment %d, want %d", newest, w.Segment()-1)
	}
	if found == nil {
		return p
	}
	defer found.Close()
	if err := found.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows := int64(0)
	for row, err := range found.Scan(t.Context()) {
		if err != nil || row.Table() != Metadata {
			t.Fatalf("row %v, error %v", row, err)
		}
		rows++
	}
	if rows != found.Rows || found.Stored.IsZero() {
		t.Errorf("%d rows, stored %v, want %d", rows, found.Stored, found.Rows)
	}
	return *found
}

// A part that somebody copies stays as it is until the next is asked for, and segments that
// are copied are not merged with those that are not. All others are merged meanwhile.
func TestPartsThatAreCopiedStay(t *testing.T) {
	w, c, dir := committedTens(t, 6) // and segment 0, without rows
	for from, want := range []PartReader{{First: 0, Last: 0}, {First: 1, Last: 1}, {First: 2, Last: 2}, {First: 3, Last: 3, Rows: 10}} {
		if p := next(t, w, uint64(from)); p.First != want.First || p.Last != want.Last || want.Rows > 0 && p.Rows != want.Rows {
			t.Fatalf("from %d: part %+v, want %+v", from, p, want)
		}
	}
	c.advance(24 * time.Hour)
	compact(t, w)
	want := []string{"part-00000000.parquet", "part-00000001-00000002.parquet", "part-00000003.parquet", "part-00000004-00000006.parquet"}
	if got := files(t, dir, Metadata); !slices.Equal(got, want) {
		t.Errorf("parts %v, want %v", got, want)
	}
	if p := next(t, w, 3); p.First != 3 || p.Last != 3 {
		t.Errorf("again: part %+v", p)
	}
	if p := next(t, w, 4); p.First != 4 || p.Last != 6 {
		t.Errorf("from 4: part %+v", p)
	}
	if p := next(t, w, 7); p.Table != "" {
		t.Errorf("from 7: part %+v", p)
	}
	compact(t, w)
	if p := next(t, w, 3); p.First > 3 || p.Last < 6 {
		t.Errorf("part %+v holds segment 3, although all were merged", p)
	}
}

// A merge that has begun when somebody asks for one of its parts does not replace that part.
func TestMergeDoesNotReplaceACopiedPart(t *testing.T) {
	w, c, dir := committedTens(t, 3)
	c.advance(time.Hour)
	w.crash = func(step string) error {
		if step == "merge "+Metadata {
			next(t, w, 2)
		}
		return nil
	}
	if _, err := w.Compact(t.Context(), time.Hour); err == nil {
		t.Error("no error")
	}
	if got := files(t, dir, Metadata); !slices.Contains(got, "part-00000002.parquet") {
		t.Errorf("parts %v lack the one that is copied", got)
	}
}
