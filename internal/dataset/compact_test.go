package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clock is a writer's time in tests.
type clock struct{ at time.Time }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

var noon = time.Date(2025, 11, 22, 12, 0, 0, 0, time.UTC)

func openAt(t *testing.T, dir string, c *clock) *Writer {
	t.Helper()
	w := open(t, dir)
	w.now = c.now
	return w
}

// commitRows commits a segment of n rows in each table, with event keys from
// counter on; the visit ids are the counters.
func commitRows(t *testing.T, w *Writer, counter, n int) error {
	t.Helper()
	for i := counter; i < counter+n; i++ {
		// Peers come in an order that is not theirs.
		peer, at := fmt.Sprintf("16U%03d", i*37%101), common(int64(1763800000000+i))
		d, m, v, visit := discoveryRows()[i%3], metadataRows()[i%3], validatorRows()[i%3], visitRows()[i%3]
		d.ID, d.Common, d.Seq = peer, at, uint64(i)
		m.ID, m.Common, m.VisitID = peer, at, fmt.Sprint(i)
		v.ID, v.Common, v.VisitID = peer, at, fmt.Sprint(i)
		visit.ID, visit.Common, visit.VisitID = peer, at, fmt.Sprint(i)
		if err := errors.Join(Append(w, d), errors.Join(Append(w, m), Append(w, v)), Append(w, visit)); err != nil {
			t.Fatal(err)
		}
	}
	return w.Commit(Coverage{"s-1": {{uint64(counter), uint64(counter + n - 1)}}})
}

func commitAll(t *testing.T, w *Writer, counter, n int) {
	t.Helper()
	if err := commitRows(t, w, counter, n); err != nil {
		t.Fatal(err)
	}
}

func compact(t *testing.T, w *Writer) Merged {
	t.Helper()
	m, err := w.Compact(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// files reads a dataset directory as a foreign reader does: every *.parquet.
func files(t *testing.T, dir, table string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(Dir(dir, table))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".parquet") {
			names = append(names, e.Name())
		}
	}
	return names
}

// globbed gives the rows' keys in every file of a table, sorted.
func globbed[T Row](t *testing.T, dir string, key func(T) string) (out []string) {
	t.Helper()
	var zero T
	for _, name := range files(t, dir, zero.Table()) {
		if err := eachRow(t.Context(), filepath.Join(Dir(dir, zero.Table()), name), func(r T) error {
			out = append(out, key(r))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return out
}

// everyTable checks that each table holds the rows of these counters, once.
func everyTable(t *testing.T, dir string, counters []int) {
	t.Helper()
	var want []string
	for _, c := range counters {
		want = append(want, fmt.Sprint(c))
	}
	slices.Sort(want)
	for table, got := range map[string][]string{
		Discovery:         globbed(t, dir, func(r DiscoveryRow) string { return fmt.Sprint(r.Seq) }),
		Metadata:          globbed(t, dir, func(r MetadataRow) string { return r.VisitID }),
		ValidatorMetadata: globbed(t, dir, func(r ValidatorRow) string { return r.VisitID }),
		Visit:             globbed(t, dir, func(r VisitRow) string { return r.VisitID }),
	} {
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s (-want +got):\n%s", table, d)
		}
	}
	if got := scan[MetadataRow](t, dir, Range{}); len(got) != len(want) {
		t.Fatalf("Scan gives %d rows, want %d", len(got), len(want))
	}
}

func upTo(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}

func TestCompactByHourAndDay(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	defer w.Close()
	commitAll(t, w, 0, 50)
	commitAll(t, w, 50, 50)
	c.advance(time.Hour)
	commitAll(t, w, 100, 10)
	// The first segment is the empty one of a new directory, with the real time.
	compact(t, w)
	if d := cmp.Diff([]string{"part-00000000.parquet", "part-00000001-00000002.parquet", "part-00000003.parquet"}, files(t, dir, Metadata)); d != "" {
		t.Errorf("the open hour is left alone (-want +got):\n%s", d)
	}
	everyTable(t, dir, upTo(110))
	if m := compact(t, w); m != (Merged{}) {
		t.Errorf("nothing is left to do, and it did %+v", m)
	}
	c.advance(time.Hour)
	commitAll(t, w, 110, 1)
	c.advance(24 * time.Hour)
	commitAll(t, w, 111, 1)
	compact(t, w)
	if d := cmp.Diff([]string{"part-00000000.parquet", "part-00000001-00000004.parquet", "part-00000005.parquet"}, files(t, dir, Metadata)); d != "" {
		t.Errorf("a day (-want +got):\n%s", d)
	}
	everyTable(t, dir, upTo(112))

	rows := scan[MetadataRow](t, dir, Range{})[:111]
	if !slices.IsSortedFunc(rows, byPeer[MetadataRow]) {
		t.Error("a merged part's rows are not sorted")
	}
	f, err := metadataTable().readFooter(filepath.Join(Dir(dir, Metadata), "part-00000001-00000004.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	want := footer{
		schema: schemaText(), span: "1-4", keys: Coverage{"s-1": {{0, 110}}}, stored: noon.Add(2 * time.Hour).UnixMilli(), sorted: true,
		table: Metadata, committed: map[string]int64{Discovery: 111, Metadata: 111, ValidatorMetadata: 111, Visit: 111, PeerEstimates: 0}, summed: true, sum: f.sum,
		rows: 111, oldest: 1763800000000, newest: 1763800000110,
	}
	if d := cmp.Diff(want, f, cmp.AllowUnexported(footer{})); d != "" {
		t.Errorf("footer (-want +got):\n%s", d)
	}
	if err := w.Recover(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Coverage{"s-1": {{0, 111}}}, w.Covered()); d != "" || w.Segment() != 6 {
		t.Errorf("next segment %d, covered (-want +got):\n%s", w.Segment(), d)
	}
}

// Every column of every table comes out of a merge as it went in.
func TestMergedRowsAreTheSame(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	defer w.Close()
	for range 2 {
		appendAll(t, w)
		if err := w.Commit(nil); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(time.Hour)
	if m := compact(t, w); m != (Merged{Parts: 2 * len(Tables()), Into: len(Tables())}) {
		t.Fatalf("merged %+v", m)
	}
	for table, d := range map[string]string{
		Discovery:         cmp.Diff(twice(discoveryRows()), scan[DiscoveryRow](t, dir, Range{})),
		Metadata:          cmp.Diff(twice(metadataRows()), scan[MetadataRow](t, dir, Range{})),
		ValidatorMetadata: cmp.Diff(twice(validatorRows()), scan[ValidatorRow](t, dir, Range{})),
		Visit:             cmp.Diff(twice(visitRows()), scan[VisitRow](t, dir, Range{})),
	} {
		if d != "" {
			t.Errorf("%s (-written +read):\n%s", table, d)
		}
	}
	for table, rows := range map[string]any{Metadata: twice(metadataRows()), Visit: twice(visitRows())} {
		got := duckdb(t, Dir(dir, table), "--sql", "FROM t ORDER BY timestamp")
		if d := cmp.Diff(asDuckDBHasIt(t, rows), got); d != "" {
			t.Errorf("%s (-written +DuckDB):\n%s", table, d)
		}
	}
}

func twice[T any](rows []T) (out []T) {
	for _, r := range rows {
		out = append(out, r, r)
	}
	return out
}

// More runs than are merged at once, and equal keys in the order of their commits.
func TestMergeOfManyRuns(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	defer w.Close()
	const hours = 2*fanIn + 3
	for i := range hours {
		for range 2 { // so that each hour is merged, and its part sorted
			if err := errors.Join(Append(w, VisitRow{ID: "b", VisitID: fmt.Sprint(i), Common: common(5)}), Append(w, VisitRow{ID: "a", VisitID: fmt.Sprint(i), Common: common(5)}), w.Commit(nil)); err != nil {
				t.Fatal(err)
			}
		}
		c.advance(time.Minute)
	}
	c.advance(24 * time.Hour)
	if _, err := w.Compact(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(24 * time.Hour)
	if _, err := w.Compact(t.Context(), 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, peer := range []string{"a", "b"} {
		for i := range hours {
			want = append(want, fmt.Sprint(peer, i), fmt.Sprint(peer, i))
		}
	}
	var got []string
	for _, r := range scan[VisitRow](t, dir, Range{}) {
		got = append(got, r.ID+r.VisitID)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A clock that jumps back and forth makes more parts, and nothing worse.
func TestCompactWithAJumpingClock(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	for i, jump := range []time.Duration{0, 0, time.Hour, 0, -5 * time.Hour, 0, 9000 * time.Hour, -9000 * time.Hour, 0} {
		c.advance(jump)
		commitAll(t, w, 10*i, 10)
		compact(t, w)
		everyTable(t, dir, upTo(10*i+10))
	}
	c.advance(48 * time.Hour)
	compact(t, w)
	everyTable(t, dir, upTo(90))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = openAt(t, dir, c)
	defer w.Close()
	if d := cmp.Diff(Coverage{"s-1": {{0, 89}}}, w.Covered()); d != "" || w.Segment() != 10 {
		t.Errorf("next segment %d, covered (-want +got):\n%s", w.Segment(), d)
	}
}

func TestRetain(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	for i := range 4 {
		commitAll(t, w, 10*i, 10)
		c.advance(time.Hour)
	}
	if n, err := w.Retain(t.Context(), noon.Add(90*time.Minute)); err != nil || n != 2*len(Tables()) {
		t.Errorf("removed %d, %v", n, err)
	}
	everyTable(t, dir, upTo(40)[20:])
	if n, err := w.Retain(t.Context(), c.now().Add(time.Hour)); err != nil || n == 0 {
		t.Errorf("removed %d, %v", n, err)
	}
	everyTable(t, dir, upTo(40)[30:]) // the newest part stays
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = openAt(t, dir, c)
	defer w.Close()
	if d := cmp.Diff(Coverage{"s-1": {{0, 39}}}, w.Covered()); d != "" || w.Segment() != 5 {
		t.Errorf("next segment %d, covered (-want +got):\n%s", w.Segment(), d)
	}
}

// Rows younger than the limit keep a part that was committed long ago, by a clock
// that was wrong then.
func TestRetainChecksTheRowsToo(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Unix(1000, 0)}
	w := openAt(t, dir, c)
	defer w.Close()
	commitAll(t, w, 0, 10)
	c.at = time.UnixMilli(1763800000000)
	commitAll(t, w, 10, 10)
	if _, err := w.Retain(t.Context(), c.now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	everyTable(t, dir, upTo(20))
}

// swapSteps are the points at which a process can die in Compact and Retain.
func swapSteps() (out []string) {
	for _, table := range []string{Discovery, Metadata} {
		for _, what := range []string{"merge ", "link ", "fsync ", "exchange ", "persist "} {
			out = append(out, what+table)
		}
	}
	return out
}

func dieAt(w *Writer, step string) {
	w.crash = func(s string) error {
		if s == step {
			return errKilled
		}
		return nil
	}
}

func TestKilledWhileCompacting(t *testing.T) {
	eachStep(t, swapSteps(), func(t *testing.T, step, dir string) {
		c := &clock{noon}
		w := openAt(t, dir, c)
		commitAll(t, w, 0, 20)
		commitAll(t, w, 20, 20)
		c.advance(time.Hour)
		dieAt(w, step)
		if _, err := w.Compact(t.Context(), time.Hour); !errors.Is(err, errKilled) {
			t.Fatalf("compact: %v", err)
		}
		everyTable(t, dir, upTo(40)) // before anybody recovers
		if step == "persist "+Metadata {
			for table := range all(40) {
				if got := duckdb(t, Dir(dir, table), "--sql", "SELECT count(*)::INTEGER n FROM t")[0]["n"]; got != 40.0 {
					t.Errorf("DuckDB counts %v rows in %s", got, table)
				}
			}
		}
		die(w)
		w = openAt(t, dir, c)
		defer w.Close()
		everyTable(t, dir, upTo(40))
		compact(t, w)
		everyTable(t, dir, upTo(40))
		if _, err := os.Stat(filepath.Join(dir, compactingDir, "merge")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("files of the merge are still there: %v", err)
		}
		if d := cmp.Diff(Coverage{"s-1": {{0, 39}}}, w.Covered()); d != "" {
			t.Errorf("covered (-want +got):\n%s", d)
		}
	})
}

func TestKilledWhileRetaining(t *testing.T) {
	eachStep(t, append(swapSteps()[6:], "remember "+Metadata), func(t *testing.T, step, dir string) {
		c := &clock{noon}
		w := openAt(t, dir, c)
		commitAll(t, w, 0, 20)
		c.advance(24 * time.Hour)
		commitAll(t, w, 20, 20)
		dieAt(w, step)
		if _, err := w.Retain(t.Context(), c.now()); !errors.Is(err, errKilled) {
			t.Fatalf("retain: %v", err)
		}
		die(w)
		w = openAt(t, dir, c)
		defer w.Close()
		if d := cmp.Diff(Coverage{"s-1": {{0, 39}}}, w.Covered()); d != "" {
			t.Errorf("covered (-want +got):\n%s", d)
		}
		if _, err := w.Retain(t.Context(), c.now()); err != nil {
			t.Fatal(err)
		}
		everyTable(t, dir, upTo(40)[20:])
	})
}

// Random sequences of commit, compaction, retention, time and death: after each,
// what was committed is there once, and its keys are covered.
func TestRandomLives(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	steps := append(append(steps(), swapSteps()...), "remember "+Metadata)
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 1))
		dir, c := t.TempDir(), &clock{noon}
		w := openAt(t, dir, c)
		stored, next := []int{}, 0
		for range 25 {
			if r.IntN(3) == 0 {
				dieAt(w, steps[r.IntN(len(steps))])
			}
			var err error
			switch r.IntN(5) {
			case 0, 1:
				n := 1 + r.IntN(20)
				if err = commitRows(t, w, next, n); err != nil {
					break
				}
				stored, next = append(stored, upTo(next + n)[next:]...), next+n
			case 2:
				_, err = w.Compact(t.Context(), time.Hour)
			case 3:
				c.advance(time.Duration(r.IntN(100)-20) * time.Minute)
			case 4:
				if err = w.Recover(); err != nil {
					t.Fatal(err)
				}
			}
			if err != nil && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			if err != nil || r.IntN(8) == 0 {
				die(w)
				w = openAt(t, dir, c)
				if w.Covered().Has("s-1", uint64(next)) { // the commit was complete
					last := int(w.Covered()["s-1"][0][1])
					stored, next = append(stored, upTo(last + 1)[next:]...), last+1
				}
			}
			w.crash = nil
			everyTable(t, dir, stored)
			if next > 0 {
				if d := cmp.Diff(Coverage{"s-1": {{0, uint64(next - 1)}}}, w.Covered()); d != "" {
					t.Fatalf("seed %d: covered (-want +got):\n%s", seed, d)
				}
			}
		}
		w.Close()
	}
}

// Scan while another goroutine commits and merges: what it sees is all that was
// committed before it began, each row once, and no file is gone under it.
func TestScanWhileCompacting(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	defer w.Close()
	commitAll(t, w, 0, 10)
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for seen := 10; ctx.Err() == nil; {
				ids := map[string]bool{}
				rows := 0
				err := Scan(t.Context(), dir, Range{}, func(r MetadataRow) error {
					ids[r.VisitID] = true
					rows++
					return nil
				})
				if err != nil || rows < seen || len(ids) != rows {
					t.Errorf("%d rows after %d, %d different: %v", rows, seen, len(ids), err)
					return
				}
				seen = rows
			}
		})
	}
	for i := 1; i < 25; i++ {
		commitAll(t, w, 10*i, 10)
		if c.advance(20 * time.Minute); i%3 == 0 {
			compact(t, w)
		}
	}
	stop()
	readers.Wait()
	everyTable(t, dir, upTo(250))
}

// Commits and merges in two goroutines.
func TestCommitWhileCompacting(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	defer w.Close()
	var asked atomic.Int64 // each time the clock is asked ten minutes have passed
	w.now = func() time.Time { return noon.Add(time.Duration(asked.Add(1)) * 10 * time.Minute) }
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	merging := make(chan error, 1)
	merged := 0
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			var m Merged
			m, err = w.Compact(t.Context(), time.Hour)
			merged += m.Parts
		}
		merging <- err
	}()
	for i := range 50 {
		commitAll(t, w, 5*i, 5)
		if i%10 == 9 {
			if err := w.Recover(); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	if err := <-merging; err != nil {
		t.Fatal(err)
	}
	everyTable(t, dir, upTo(250))
	if merged == 0 {
		t.Error("nothing was merged")
	}
}

// A copy that was made while parts were merged holds rows twice, until it is
// opened.
func TestACopyWithPartsThatWereMerged(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	commitAll(t, w, 0, 10)
	commitAll(t, w, 10, 10)
	before := t.TempDir()
	if err := os.CopyFS(before, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	compact(t, w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	merged := "part-00000001-00000002.parquet"
	if err := os.Link(filepath.Join(Dir(dir, Metadata), merged), filepath.Join(Dir(before, Metadata), merged)); err != nil {
		t.Fatal(err)
	}
	if got := scan[MetadataRow](t, before, Range{}); len(got) != 20 {
		t.Errorf("Scan gives %d rows, want 20", len(got))
	}
	w = openAt(t, before, c)
	defer w.Close()
	everyTable(t, before, upTo(20))
}

func TestCompactSetsADamagedPartAside(t *testing.T) {
	w, c, dir := committedTens(t, 4)
	path := single(2).path(dir, Visit)
	if err := os.WriteFile(path, []byte("PAR1"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	if _, err := w.Compact(t.Context(), time.Hour); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name %s", err, path)
	}
	if d := cmp.Diff([]string{"part-00000000.parquet", "part-00000001.parquet", "part-00000003-00000004.parquet"}, files(t, dir, Visit)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	wasSetAside(t, dir, Visit, single(2), "PAR1")
	if got := len(files(t, dir, Metadata)); got != 2 {
		t.Errorf("%d parts of another table, want 2", got)
	}
}

// wasSetAside checks that a damaged part is kept, as it was, out of the way.
func wasSetAside(t *testing.T, dir, table string, s span, content string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, damagedDir, table, s.file()))
	if err != nil || string(got) != content {
		t.Errorf("the damaged part was not set aside: %q, %v", got, err)
	}
}
