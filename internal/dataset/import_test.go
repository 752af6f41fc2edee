package dataset

import (
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/event/eventtest"
)

// appendRows appends the rows of an event, as the consumer does.
func appendRows(w *Writer) func(EventRow, event.Event) error {
	return func(_ EventRow, e event.Event) error { return appendEvent(w, e) }
}

// observed commits events of a sentry, by their counters, in segments of the given sizes. An
// event is the same in every directory.
func observed(t *testing.T, dir, sentry string, from int, sizes ...int) {
	t.Helper()
	w := open(t, dir)
	defer w.Close()
	for _, size := range sizes {
		for i := from; i < from+size; i++ {
			e := eventtest.Filled()[i%len(eventtest.Filled())]
			at := time.UnixMilli(1763800000000 + int64(i)*1000)
			switch e := e.(type) {
			case *event.PeerDiscovered:
				e.CrawlerID, e.Timestamp = sentry, at.UnixMilli()
			case *event.MetadataReceived:
				e.CrawlerID, e.Timestamp, e.VisitID = sentry, at.UnixMilli(), fmt.Sprint(i)
			case *event.VisitEnded:
				e.CrawlerID, e.Timestamp, e.VisitID = sentry, at.UnixMilli(), fmt.Sprint(i)
			}
			if err := appendEvent(w, e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(Coverage{sentry + "-1": {{uint64(from), uint64(from + size - 1)}}}); err != nil {
			t.Fatal(err)
		}
		from += size
	}
}

func importInto(t *testing.T, dir, from string) Imported {
	t.Helper()
	w := open(t, dir)
	defer w.Close()
	trial, err := NewTrial(dir)
	if err != nil {
		t.Fatal(err)
	}
	want, err := trial.Import(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	got, err := NewImporter(w, appendRows(w)).Import(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("import is not what the trial said (-trial +import):\n%s", diff)
	}
	return got
}

// Events of others are stored once, by their keys, however they were cut into segments there
// and here, and whoever has which of them.
func TestImportStoresEachEventOnce(t *testing.T) {
	whole := t.TempDir()
	observed(t, whole, "a", 1, 40)
	observed(t, whole, "b", 1, 9)
	dir, other, third := t.TempDir(), t.TempDir(), t.TempDir()
	observed(t, dir, "a", 1, 7, 8)    // 1 to 15
	observed(t, other, "a", 11, 9, 3) // 11 to 22: of its first segment 5 are here
	observed(t, other, "b", 1, 9)
	observed(t, third, "a", 20, 21) // 20 to 40

	if got := importInto(t, dir, other); got.Events != 16 || got.Known != 5 || len(got.Left) != 0 {
		t.Errorf("first import: %+v", got)
	}
	if got := importInto(t, dir, other); got.Events != 0 || got.Known != 21 || len(got.Left) != 0 {
		t.Errorf("the same again: %+v", got)
	}
	if got := importInto(t, dir, third); got.Events != 18 || got.Known != 3 {
		t.Errorf("third: %+v", got)
	}
	if diff := cmp.Diff(rowSet(t, whole), rowSet(t, dir)); diff != "" {
		t.Errorf("rows (-all +imported):\n%s", diff)
	}
	if h := check(t, dir, nil); !h.OK() || h.Missing()+h.MissingRows() > 0 {
		t.Errorf("check: %+v", h)
	}
}

// An import that dies at any step stores nothing twice when it is repeated.
func TestKilledWhileImporting(t *testing.T) {
	t.Parallel()
	other, whole := t.TempDir(), t.TempDir()
	observed(t, other, "b", 1, 6, 6)
	observed(t, whole, "a", 1, 6)
	observed(t, whole, "b", 1, 12)
	want := rowSet(t, whole)
	eachStep(t, steps(), func(t *testing.T, step, dir string) {
		observed(t, dir, "a", 1, 6)
		w := open(t, dir)
		killed := "" // the directory as a killed process would leave it
		w.crash = func(at string) error {
			if at != step || killed != "" {
				return nil
			}
			killed = copyDir(t, dir)
			return errors.New("the disk fails at " + step)
		}
		if _, err := NewImporter(w, appendRows(w)).Import(t.Context(), other); err == nil {
			t.Errorf("%s was not reached", step)
		}
		w.Close()
		for _, dir := range []string{dir, killed} {
			importInto(t, dir, other)
			if got := rowSet(t, dir); !maps.Equal(got, want) {
				t.Errorf("%d rows after the import was repeated, want %d", len(got), len(want))
			}
		}
	})
}

// What cannot be taken whole is left, and can be taken later.
func TestImportLeavesWhatIsNotWhole(t *testing.T) {
	other := t.TempDir()
	observed(t, other, "b", 1, 6, 6, 6)
	damaged := copyDir(t, other)
	path := single(2).path(damaged, Visit)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/4] ^= 1
	if err := errors.Join(os.WriteFile(path, data, 0o600), os.Remove(single(3).path(damaged, Discovery))); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	got := importInto(t, dir, damaged)
	if got.Events != 6 || len(got.Left) != 2 || got.Left[0].First != 2 || !strings.Contains(got.Left[1].Reason, "parts of discovery_events are missing") {
		t.Errorf("damaged: %+v", got)
	}
	if got := importInto(t, dir, other); got.Events != 12 || got.Known != 6 {
		t.Errorf("a whole copy: %+v", got)
	}

	// Rows that were purged here do not come back.
	purged := t.TempDir()
	observed(t, purged, "b", 1, 9)
	w := open(t, purged)
	if _, err := w.Purge(t.Context(), func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if got := importInto(t, purged, other); got.Events != 6 || got.Known != 6 || len(got.Left) != 1 || !strings.Contains(got.Left[0].Reason, "rows were removed") {
		t.Errorf("purged: %+v", got)
	}
}

// Events that a broker numbered are not taken for those of another broker with the same number.
func TestImportOfEventsWithoutKeys(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, other} {
		w := open(t, d)
		for _, e := range eventtest.Filled() {
			if err := appendEvent(w, e); err != nil {
				t.Fatal(err)
			}
		}
		last := uint64(3)
		if d == other {
			last = 4
		}
		if err := errors.Join(w.Commit(Coverage{"@202611300000": {{1, last}}}), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if got := importInto(t, dir, other); got.Events != 0 || len(got.Left) != 1 {
		t.Errorf("%+v", got)
	}
}

// Events whose numbers are known here, by the number of a broker, are known only if they are here.
func TestImportOfOtherEventsWithTheSameNumbers(t *testing.T) {
	numbers := Coverage{"@202611300000": {{1, 6}}}
	dir := t.TempDir()
	observed(t, dir, "a", 1, 6)
	for sentry, left := range map[string]int{"a": 0, "b": 1} {
		other := t.TempDir()
		observed(t, other, sentry, 1, 6)
		for _, table := range Tables() {
			claim(t, other, table, numbers, 0)
			claim(t, dir, table, numbers, 0)
		}
		got := importInto(t, dir, other)
		if got.Events != 0 || len(got.Left) != left || got.Known != uint64(6*(1-left)) {
			t.Errorf("events of %s, those here are of a: %+v", sentry, got)
		}
	}
}

// Keys are covered only where rows support them: an event that comes later with a key that was
// covered for nothing would be dropped.
func TestImportCoversOnlyKeysWithRows(t *testing.T) {
	tests := map[string]struct {
		producer string     // a-1 without
		claimed  []Interval // the rows are those of the events 1 to 6
		purged   map[string]int64
		left     string
	}{
		"rows and keys":                {claimed: []Interval{{1, 6}}},
		"one event was purged":         {claimed: []Interval{{1, 7}}, purged: map[string]int64{Visit: 1}},
		"fewer were purged":            {claimed: []Interval{{1, 9}}, purged: map[string]int64{Visit: 2}, left: "rows were removed"},
		"purged rows of another table": {claimed: []Interval{{1, 7}}, purged: map[string]int64{ValidatorMetadata: 9}, left: "rows were removed"},
		"most were purged":             {claimed: []Interval{{1, 13}}, purged: map[string]int64{Visit: 1 << 62}, left: "more than half"},
		"all that may come":            {claimed: []Interval{{1, 1 << 62}}, purged: map[string]int64{Visit: 1 << 62}, left: "no sentry counts so far"},
		"far beyond":                   {claimed: []Interval{{1, 5}, {6 + MaxJump, 6 + MaxJump}}, left: "no sentry counts so far"},
		"as far as a sentry may count": {claimed: []Interval{{1, 5}, {5 + MaxJump, 5 + MaxJump}}},
		"every number":                 {claimed: []Interval{{0, 1<<64 - 1}}, left: "no sentry counts so far"},
		"every number of a stream":     {producer: "@202611300000", claimed: []Interval{{0, 1<<64 - 1}}, left: "no sentry counts so far"},
		"high numbers of a stream":     {producer: "@202611300000", claimed: []Interval{{1 << 62, 1<<62 + 5}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			other, dir := t.TempDir(), t.TempDir()
			observed(t, other, "a", 1, 6)
			producer := "a-1"
			if test.producer != "" {
				producer = test.producer
			}
			for _, table := range Tables() {
				claim(t, other, table, Coverage{producer: test.claimed}, test.purged[table])
			}
			got := importInto(t, dir, other)
			if test.left == "" && len(got.Left) > 0 || test.left != "" && (len(got.Left) != 1 || !strings.Contains(got.Left[0].Reason, test.left)) {
				t.Errorf("left: %+v, want %q", got.Left, test.left)
			}
			covered, _, _, err := readCoverage(dir, 2)
			if err != nil {
				t.Fatal(err)
			}
			if want := test.left == ""; covered.Has(producer, test.claimed[0][0]) != want || len(covered) > 1 {
				t.Errorf("covered: %v, want %v: %t", covered, test.claimed, want)
			}
		})
	}
}

// What an import remembers to compare rows is as large as the stretch, also when a row there has a
// wrong clock.
func TestImportComparesInLittleMemory(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	observed(t, dir, "a", 1, 120)
	w := open(t, other)
	for _, at := range []int64{1, 1763800003000, 1 << 60} {
		if err := Append(w, DiscoveryRow{ID: "16U", Common: Common{CrawlerID: "a", Timestamp: at}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Commit(Coverage{"a-1": {{119, 121}}}), w.Close()); err != nil {
		t.Fatal(err)
	}
	l, err := listAll(other)
	if err != nil {
		t.Fatal(err)
	}
	trial, err := NewTrial(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range registry() {
		if table.name != Discovery {
			continue
		}
		here, err := trial.rowsHere(t.Context(), l, table, single(1), maphash.MakeSeed())
		if err != nil || len(here) != 3 {
			t.Errorf("%d rows are remembered, the stretch has 3 (%v)", len(here), err)
		}
	}
}

// claim makes the footer of a table's part 1 claim other keys, and purged rows.
func claim(t *testing.T, dir, table string, keys Coverage, purged int64) {
	t.Helper()
	for _, r := range registry() {
		if r.name != table {
			continue
		}
		path := single(1).path(dir, table)
		f, err := r.readFooter(path)
		if err != nil {
			t.Fatal(err)
		}
		f.keys, f.purged, f.committed = keys, purged, nil
		file, _, err := r.purge(t.Context(), t.TempDir(), path, f, func(string) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err := errors.Join(err, os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
