package dataset

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A snapshot has the same segments of every table: those committed before the moment, also
// while only some tables are merged across it.
func TestSnapshotHasWholeSegments(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c) // segment 0, by another clock, which is a year ahead
	for i := range 4 {
		c.advance(10 * time.Minute)
		commitAll(t, w, 1+3*i, 3)
	}
	c.advance(2 * time.Hour)
	commitAll(t, w, 13, 3)
	if err := w.compactTable(t.Context(), discoveryTable(), time.Hour, &Merged{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	last := func(before time.Time) map[string]Interval {
		t.Helper()
		s, err := TakeSnapshot(dir, before, c.at)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]Interval{}
		for _, p := range s.Parts {
			out[p.Table] = Interval{uint64(p.Rows) + out[p.Table][0], p.Last}
		}
		for table := range out {
			if got, want := s.Segments[table], []Interval{{0, out[table][1]}}; !cmp.Equal(got, want) {
				t.Errorf("segments of %s: %v, want %v", table, got, want)
			}
		}
		return out
	}
	all := func(rows, segment uint64) map[string]Interval {
		out := map[string]Interval{}
		for _, table := range Tables() {
			out[table] = Interval{rows, segment}
		}
		out[PeerEstimates] = Interval{0, segment}
		return out
	}
	// The merged part of discoveries has the segments from 12:10 to 12:40.
	for _, at := range []struct {
		before time.Time
		want   map[string]Interval
	}{
		{noon.Add(3 * time.Hour), all(15, 5)},
		{noon.Add(time.Hour), all(12, 4)},
		{noon.Add(25 * time.Minute), map[string]Interval{}},
	} {
		got := last(at.before)
		for table := range got {
			if got[table][1] == 0 {
				delete(got, table) // the empty segment of the opening
			}
		}
		if diff := cmp.Diff(at.want, got); diff != "" {
			t.Errorf("before %v (-want +got):\n%s", at.before, diff)
		}
	}
}

// Copied parts are whole, or ErrDamaged.
func TestVerifyPart(t *testing.T) {
	dir := writeOneSegment(t)
	s, err := TakeSnapshot(dir, time.Now().Add(time.Hour), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Parts {
		path := filepath.Join(Dir(dir, p.Table), p.File)
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := VerifyPart(t.Context(), p.Table, f)
		if err != nil || got != p || p.Check() != nil {
			t.Errorf("part %+v: %+v, %v, %v", p, got, err, p.Check())
		}
		f.Close()
	}
	for _, bad := range []Part{{Table: "users", File: "part-00000001.parquet", First: 1, Last: 1}, {Table: Visit, File: "../part-00000001.parquet", First: 1, Last: 1}, {Table: Visit, File: "part-00000001.parquet", First: 1, Last: 2}} {
		if bad.Check() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}

// What was stored and is not among the parts was removed.
func TestWriteRemoved(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	for i := range 3 {
		c.advance(25 * time.Hour)
		commitAll(t, w, 1+3*i, 3)
	}
	s, err := TakeSnapshot(dir, c.at.Add(time.Hour), c.at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Retain(t.Context(), c.at.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{RemovedFile, removedPartsFile} {
		want, err := readIntervals(filepath.Join(dir, file))
		if err == nil {
			err = os.Remove(filepath.Join(dir, file))
		}
		if err == nil {
			err = WriteRemoved(dir, dir, s.Events, s.Segments)
		}
		got, readErr := readIntervals(filepath.Join(dir, file))
		if err != nil || readErr != nil || len(want) == 0 {
			t.Fatal(want, err, readErr)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-as retention +got):\n%s", file, diff)
		}
	}
	if err := WriteRemoved(dir, dir, Coverage{"s-1": {{5, 1}}}, nil); err == nil {
		t.Error("intervals in a wrong order are accepted")
	}
}

func TestKeysThrough(t *testing.T) {
	rejected := Coverage{"a-1": {{2, 3}, {9, 12}}, "b-1": {{1, 1}}, "c-1": {{4, 4}}}
	got := rejected.Through(Coverage{"a-1": {{1, 1}, {4, 10}}, "c-1": {{1, 3}}})
	if diff := cmp.Diff(Coverage{"a-1": {{2, 3}, {9, 10}}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
