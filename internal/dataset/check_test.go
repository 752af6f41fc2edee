package dataset

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func check(t *testing.T, dir string, rejected Coverage) *Health {
	t.Helper()
	h, err := Check(t.Context(), dir, rejected)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func healthOf(h *Health, table string) TableHealth {
	for _, t := range h.Tables {
		if t.Table == table {
			return t
		}
	}
	return TableHealth{}
}

func TestCheckTellsOfGaps(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	commitAll(t, w, 3, 10) // 3 to 12
	c.advance(48 * time.Hour)
	commitAll(t, w, 20, 10) // 20 to 29
	if err := w.Commit(Coverage{"s-2": {{1, 1}}, "@202611221200": {{1, 1}, {5, 5}}}); err != nil {
		t.Fatal(err)
	}
	if n, err := w.Retain(t.Context(), noon.Add(time.Hour)); err != nil || n == 0 {
		t.Fatalf("removed %d, %v", n, err)
	}
	h := check(t, dir, Coverage{"s-1": {{14, 15}}})
	want := []SentryHealth{
		{Sentry: "s", Boot: "1", Last: 29, Stored: 20, Rejected: 2, Removed: 10, Missing: 7, Gaps: []Interval{{1, 2}, {13, 13}, {16, 19}}},
		{Sentry: "s", Boot: "2", Last: 1, Stored: 1, Gaps: []Interval{}},
	}
	if d := cmp.Diff(want, h.Sentries); d != "" || h.Missing() != 7 || !h.OK() {
		t.Errorf("missing %d, ok %v (-want +got):\n%s", h.Missing(), h.OK(), d)
	}
	if d := cmp.Diff(TableHealth{Table: Visit, Parts: 3, Rows: 10, From: 1763800000020, To: 1763800000029, Unreadable: []Unreadable{}, Foreign: []string{}, UnknownColumns: []string{}}, healthOf(h, Visit)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// What is lost at the end of a boot, or a boot as a whole, shows by what the next one says. What
// a sentry sent before this consumer first ran is not missing, nor what nobody can have counted.
func TestCheckTellsOfTheEndsOfBoots(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	n := 0
	visits := func(boot string, first, last uint64, end string) {
		for counter := first; counter <= last; counter++ {
			n++
			row := VisitRow{VisitID: fmt.Sprint(n), ID: "peer", Common: Common{CrawlerID: "s", Timestamp: 1763800000000 + int64(n)}, EarlierBootEnd: notEmpty(end)}
			if err := Append(w, row); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(Coverage{"s-" + boot: {{first, last}}}); err != nil {
			t.Fatal(err)
		}
	}
	visits("20", 1, 10, "s-10-7") // boot 10 was before this consumer
	visits("30", 1, 5, "s-20-12") // 2 are lost
	visits("50", 1, 5, "s-40-3")  // boot 40 is lost
	visits("60", 1, 5, "s-50-4")  // of an older copy of the spool
	visits("70", 1, 5, fmt.Sprintf("s-60-%d", 6+MaxJump))
	visits("80", 1, 1, "t-1-5") // the spool of another sentry
	want := []SentryHealth{
		{Sentry: "s", Boot: "20", Last: 12, Stored: 10, Missing: 2, Gaps: []Interval{{11, 12}}},
		{Sentry: "s", Boot: "30", Last: 5, Stored: 5, Gaps: []Interval{}},
		{Sentry: "s", Boot: "40", Last: 3, Missing: 3, Gaps: []Interval{{1, 3}}},
		{Sentry: "s", Boot: "50", Last: 5, Stored: 5, Gaps: []Interval{}},
		{Sentry: "s", Boot: "60", Last: 5, Stored: 5, Gaps: []Interval{}},
		{Sentry: "s", Boot: "70", Last: 5, Stored: 5, Gaps: []Interval{}},
		{Sentry: "s", Boot: "80", Last: 1, Stored: 1, Gaps: []Interval{}},
	}
	c.advance(2 * time.Hour)
	for _, merged := range []bool{false, true} {
		if merged {
			compact(t, w)
		}
		h := check(t, dir, nil)
		if d := cmp.Diff(want, h.Sentries); d != "" || h.Missing() != 5 {
			t.Errorf("merged %t: missing %d (-want +got):\n%s", merged, h.Missing(), d)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestCheckFindsDuplicates(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	defer w.Close()
	commitAll(t, w, 0, 10)
	commitAll(t, w, 100, 10)
	commitAll(t, w, 5, 10) // keys 5 to 9 again, and their rows
	h := check(t, dir, nil)
	for table := range all(30) {
		if got := healthOf(h, table); got.DuplicateRows != 5 || got.DuplicateKeys != 5 || got.Rows != 30 {
			t.Errorf("%+v", got)
		}
	}
	if h.OK() {
		t.Error("it is OK with duplicates")
	}
}

// A damaged page is an error that names the file, wherever the damage is.
func TestCheckNamesDamagedFiles(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	defer w.Close()
	commitAll(t, w, 0, 300)
	path := filepath.Join(Dir(dir, Metadata), "part-00000001.parquet")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pages := pagesEnd(t, path)
	inPages := 0
	for at := 4; at < len(whole); at += len(whole) / 20 { // a check looks twice at what it cannot read
		damaged := append([]byte(nil), whole...)
		for i := at; i < min(at+8, len(damaged)); i++ {
			damaged[i] ^= 0x5a
		}
		if err := os.WriteFile(path, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		h := check(t, dir, nil)
		if u := healthOf(h, Metadata).Unreadable; len(u) != 1 || u[0].File != path || h.OK() {
			t.Errorf("damage at byte %d of %d: unreadable %v", at, len(whole), u)
		}
		if at < pages {
			inPages++
		}
	}
	if inPages < 7 {
		t.Errorf("%d damages in pages", inPages)
	}
	if got := healthOf(check(t, dir, nil), Visit).Rows; got != 300 {
		t.Errorf("%d rows of another table", got)
	}
}

// pagesEnd is where the pages of a part end and its page index begins.
func pagesEnd(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file, _, err := openParquet(f)
	if err != nil {
		t.Fatal(err)
	}
	end := int64(math.MaxInt)
	for _, group := range file.Metadata().RowGroups {
		for _, c := range group.Columns {
			end = min(end, c.ColumnIndexOffset)
		}
	}
	return int(end)
}

func TestCheckOfAnEmptyDirectory(t *testing.T) {
	h := check(t, t.TempDir(), nil)
	if !h.OK() || len(h.Sentries) != 0 || fmt.Sprint(healthOf(h, Visit).Rows) != "0" {
		t.Errorf("%+v", h)
	}
}
