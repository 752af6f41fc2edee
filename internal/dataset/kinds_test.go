package dataset

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
)

// Whatever is gone, or in another's place, is found by what the other tables say.
func TestCheckFindsWhatIsGone(t *testing.T) {
	whole, other := t.TempDir(), t.TempDir()
	damageWorld(t, whole)
	damageWorld(t, other)
	w := open(t, other) // the same numbers, other events
	commitAll(t, w, 1000, 20)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	other6 := single(6)
	tests := []struct {
		name       string
		do         func(dir, table string) error
		rows       uint64 // missing
		holes      []Interval
		unreadable string
		disagrees  string
	}{
		{"the first part", func(dir, table string) error { return os.Remove(single(0).path(dir, table)) }, 0, []Interval{{0, 0}}, "", ""},
		{"a merged part", func(dir, table string) error { return os.Remove(span{1, 3}.path(dir, table)) }, 60, []Interval{{1, 3}}, "", ""},
		{"a part", func(dir, table string) error { return os.Remove(single(4).path(dir, table)) }, 20, []Interval{{4, 4}}, "", ""},
		{"the newest part", func(dir, table string) error { return os.Remove(single(5).path(dir, table)) }, 20, []Interval{{5, 5}}, "", ""},
		{"the whole table", func(dir, table string) error { return os.RemoveAll(Dir(dir, table)) }, 100, []Interval{{0, 0}, {1, 3}, {4, 4}, {5, 5}}, "", ""},
		{"an empty part in its place", func(dir, table string) error { return copyFile(single(0).path(dir, table), single(4).path(dir, table)) }, 20, []Interval{{4, 4}}, "part of segment 0", ""},
		{"another table's part", func(dir, table string) error {
			return copyFile(single(4).path(dir, Discovery), single(4).path(dir, table))
		}, 20, []Interval{{4, 4}}, "part of discovery_events", ""},
		{"another consumer's part", func(dir, table string) error {
			return errors.Join(os.Remove(single(5).path(dir, table)), copyFile(other6.path(other, table), single(5).path(dir, table)))
		}, 20, []Interval{{5, 5}}, "part of segment 6", ""},
	}
	for _, tt := range tests {
		for _, table := range []string{ValidatorMetadata, Visit, Metadata} {
			t.Run(tt.name+" of "+table, func(t *testing.T) {
				dir := copyDir(t, whole)
				if err := tt.do(dir, table); err != nil {
					t.Fatal(err)
				}
				h := check(t, dir, nil)
				got := healthOf(h, table)
				var holes []Interval
				for _, hole := range got.Holes {
					holes = append(holes, Interval{hole.First, hole.Last})
				}
				if d := cmp.Diff(tt.holes, holes); d != "" || h.MissingRows() != tt.rows {
					t.Errorf("%d rows missing, want %d; holes (-want +got):\n%s", h.MissingRows(), tt.rows, d)
				}
				if (tt.unreadable != "") != (len(got.Unreadable) == 1) || tt.unreadable != "" && !strings.Contains(got.Unreadable[0].Error, tt.unreadable) {
					t.Errorf("unreadable %v, want %q", got.Unreadable, tt.unreadable)
				}
				for _, other := range h.Tables {
					if other.Table != table && len(other.Holes)+len(other.Unreadable)+len(other.Disagreeing) > 0 {
						t.Errorf("%+v", other)
					}
				}
				if h.Missing() != 0 {
					t.Errorf("%d events missing: the other tables have their keys", h.Missing())
				}
			})
		}
	}
}

// A part of the same number from another directory has other events.
func TestCheckFindsOtherEvents(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for base, d := range map[int]string{0: dir, 500: other} {
		w := open(t, d)
		commitAll(t, w, base, 10)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyFile(single(1).path(other, Visit), single(1).path(dir, Visit)); err != nil {
		t.Fatal(err)
	}
	h := check(t, dir, nil)
	if got := healthOf(h, Visit).Disagreeing; len(got) != 1 || !strings.Contains(got[0].Problem, "differ from those of metadata_events") || h.OK() {
		t.Errorf("%+v", got)
	}
}

// What retention has removed is no hole, in directories of earlier versions without a list
// as far as each table's beginning goes; what somebody else removes is one.
func TestCheckKnowsRetention(t *testing.T) {
	w, c, dir := committedTens(t, 6)
	if _, err := w.Compact(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	c.advance(24 * time.Hour)
	commitAll(t, w, 60, 10)
	if n, err := w.Retain(t.Context(), noon.Add(time.Hour)); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	sound := func(when string, want int) {
		t.Helper()
		holes := 0
		for _, table := range check(t, dir, nil).Tables {
			holes += len(table.Holes)
		}
		if holes != want {
			t.Errorf("%s: %d holes, want %d", when, holes, want)
		}
	}
	sound("after retention", 0)
	list := filepath.Join(dir, removedPartsFile)
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(list); err != nil {
		t.Fatal(err)
	}
	// The real clock committed segment 0, which is kept: 1 to 6 are a hole without the list.
	sound("without the list", len(Tables()))
	for _, table := range Tables() {
		remove(t, single(0).path(dir, table))
	}
	sound("of an earlier version", 0)
	if err := os.WriteFile(list, text, 0o644); err != nil {
		t.Fatal(err)
	}
	sound("a part is gone that is not in the list", len(Tables()))
	remove(t, single(7).path(dir, Visit))
	sound("and another", len(Tables())+1)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// Two sentries of one crawler id can make rows with one key: they are duplicates if they are
// equal as a whole.
func TestDuplicateIsEqualAsAWhole(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	defer w.Close()
	row := discoveryRows()[0]
	another := row
	another.IP = ptr("192.0.2.9")
	if err := errors.Join(Append(w, row), Append(w, another), w.Commit(Coverage{"s-1": {{1, 1}}, "t-1": {{1, 1}}})); err != nil {
		t.Fatal(err)
	}
	if h := check(t, dir, nil); healthOf(h, Discovery).DuplicateRows != 0 || !h.OK() {
		t.Errorf("%+v", healthOf(h, Discovery))
	}
	if err := errors.Join(Append(w, another), w.Commit(Coverage{"s-1": {{2, 2}}})); err != nil {
		t.Fatal(err)
	}
	if h := check(t, dir, nil); healthOf(h, Discovery).DuplicateRows != 1 || h.OK() {
		t.Errorf("%+v", healthOf(h, Discovery))
	}
}

// A row whose clock was wrong does not say from when to when a table has rows.
func TestSpanWithoutWrongClocks(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	defer w.Close()
	for _, at := range []int64{1, 1763800000000, math.MaxInt64 / 2} {
		row := VisitRow{ID: "p", VisitID: "v", Common: common(at)}
		if at != 1763800000000 {
			row.ClockErrorMS = ptr(at)
		}
		if err := Append(w, row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(nil); err != nil {
		t.Fatal(err)
	}
	if got := healthOf(check(t, dir, nil), Visit); got.From != 1763800000000 || got.To != 1763800000000 || got.ClockErrors != 2 {
		t.Errorf("%+v", got)
	}
}

// A consumer that commits, merges and starts again meanwhile is no damage.
func TestCheckWhileAConsumerRestarts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	commitAll(t, w, 0, 10)
	ctx, stop := context.WithCancel(t.Context())
	var checks sync.WaitGroup
	checked := 0
	checks.Go(func() {
		for ctx.Err() == nil {
			h, err := Check(t.Context(), dir, nil)
			if err != nil || !h.OK() || h.Missing() > 0 || h.MissingRows() > 0 {
				t.Errorf("%+v, %v", h, err)
				return
			}
			checked++
		}
	})
	for i := 1; i < 30; i++ {
		commitAll(t, w, 10*i, 10)
		c.advance(20 * time.Minute)
		if i%4 == 3 {
			compact(t, w)
		}
		if i%5 == 4 {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			w = openAt(t, dir, c)
		}
	}
	stop()
	checks.Wait()
	t.Logf("%d checks", checked)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// A part that has the number of a merged one but other rows was written by somebody else: it
// stays, and readers have its rows.
func TestPartsOfTwoWriters(t *testing.T) {
	w, c, dir := committedTens(t, 2)
	c.advance(time.Hour)
	compact(t, w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	theirs := t.TempDir()
	w2 := openAt(t, theirs, c)
	commitAll(t, w2, 0, 1)
	commitAll(t, w2, 100, 10)
	if err := w2.Close(); err != nil {
		t.Fatal(err)
	}
	for _, table := range Tables() {
		if err := copyFile(single(2).path(theirs, table), single(2).path(dir, table)); err != nil {
			t.Fatal(err)
		}
	}
	want := append(upTo(20), upTo(110)[100:]...)
	for range 2 {
		w = openAt(t, dir, c)
		everyTable(t, dir, want)
		if got := len(scan[VisitRow](t, dir, Range{})); got != 30 {
			t.Errorf("Scan gives %d rows", got)
		}
		if !w.Covered().Has("s-1", 105) {
			t.Error("events of the other writer are redelivered")
		}
		c.advance(48 * time.Hour)
		compact(t, w)
		everyTable(t, dir, want)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	h := check(t, dir, nil)
	if got := healthOf(h, Visit).Overlapping; len(got) != 1 || h.OK() || h.MissingRows() > 0 {
		t.Errorf("overlapping %v, ok %v, %d rows missing", got, h.OK(), h.MissingRows())
	}
}

// A tracker that starts gets every event but those of the damaged part.
func TestEventsAfterGoesOn(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	d, m, v := hexRows()
	for range 2 {
		for i := range d {
			if err := errors.Join(Append(w, d[i]), Append(w, m[i])); err != nil {
				t.Fatal(err)
			}
		}
		for _, row := range v {
			if err := Append(w, row); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := single(2).path(dir, Visit)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/8] ^= 4 // in a page
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	err = EventsAfter(t.Context(), dir, 0, func(e event.Event) error {
		got[fmt.Sprintf("%T", e)]++
		return nil
	})
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	want := map[string]int{"*event.PeerDiscovered": 2 * len(d), "*event.MetadataReceived": 2 * len(m), "*event.VisitEnded": len(v)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Parts that vanish after a purge of rejected events, which keeps the keys as retention does,
// are missing: only retention excuses a table's beginning.
func TestCheckAfterRejectedEventsWerePurged(t *testing.T) {
	w, _, dir := committedTens(t, 3)
	if err := w.MarkRemoved(Coverage{"s-1": {{1000, 1001}}}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []span{single(0), single(1)} {
		remove(t, s.path(dir, Visit))
	}
	if h := check(t, dir, nil); len(healthOf(h, Visit).Holes) != 2 || h.MissingRows() != 10 {
		t.Errorf("holes %v, %d rows missing", healthOf(h, Visit).Holes, h.MissingRows())
	}
}

// A purge in the directory of an earlier version keeps what that version's retention excuses.
func TestPurgeOfAnEarlierVersionsDirectory(t *testing.T) {
	w, _, dir := committedTens(t, 3)
	for _, table := range Tables() {
		remove(t, single(0).path(dir, table))
		remove(t, single(1).path(dir, table))
	}
	if err := os.WriteFile(filepath.Join(dir, RemovedFile), []byte(`{"s-1":[[0,9]]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.MarkRemoved(Coverage{"s-1": {{1000, 1001}}}); err != nil {
		t.Fatal(err)
	}
	if h := check(t, dir, nil); h.MissingRows() != 0 || len(healthOf(h, Visit).Holes) != 0 {
		t.Errorf("holes %v, %d rows missing", healthOf(h, Visit).Holes, h.MissingRows())
	}
	remove(t, single(2).path(dir, Visit))
	if h := check(t, dir, nil); h.MissingRows() != 10 {
		t.Errorf("%d rows missing, want the 10 of a part that was lost later", h.MissingRows())
	}
}

// A directory that an earlier version's purge has marked, by removed_events.json alone, gets
// the list of removed parts at the next start: what is lost after that is missing.
func TestStartListsRemovedParts(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	for i := range 3 {
		commitAll(t, w, 10*i, 10)
	}
	if err := errors.Join(w.MarkRemoved(Coverage{"s-9": {{1, 2}}}), w.Close()); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(dir, removedPartsFile))
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	for _, table := range Tables() {
		remove(t, single(0).path(dir, table))
		remove(t, single(1).path(dir, table))
	}
	for _, table := range check(t, dir, nil).Tables {
		if len(table.Holes) != 1 {
			t.Errorf("%s: holes %v after the loss of its first parts", table.Table, table.Holes)
		}
	}
}
