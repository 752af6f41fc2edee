package dataset

import (
	"bytes"
	stdcmp "cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// damageWorld is a directory with a merged part, segments' parts and estimates.
func damageWorld(t *testing.T, dir string) {
	t.Helper()
	w, err := Open(dir, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c := &clock{noon}
	w.now = c.now
	for i := range 5 {
		if i == 3 {
			c.advance(time.Hour)
			if _, err := w.Compact(t.Context(), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 3 {
			if err := Append(w, EstimateRow{ID: fmt.Sprintf("16U%03d", n), Common: common(int64(1763800000000 + i))}); err != nil {
				t.Fatal(err)
			}
		}
		if err := commitRows(t, w, 20*i, 20); err != nil {
			t.Fatal(err)
		}
	}
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// Every byte of every footer and a sample of the others: each change is damage, for who
// reads the part, and nothing else.
func TestEveryFlipIsNoticed(t *testing.T) {
	dir := t.TempDir()
	damageWorld(t, dir)
	r := rand.New(rand.NewPCG(3, 1))
	flips, step := 0, 1
	if testing.Short() {
		step = 23
	}
	for _, table := range registry() {
		for _, s := range []span{{1, 3}, single(4)} {
			path := s.path(dir, table.name)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := table.verify(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			footer := len(data) - 8 - int(binary.LittleEndian.Uint32(data[len(data)-8:]))
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			for at := range data {
				if at < footer && r.IntN(50) != 0 || at >= footer && (at-footer)%step != 0 {
					continue
				}
				flips++
				if _, err := f.WriteAt([]byte{data[at] ^ 1<<r.IntN(8)}, int64(at)); err != nil {
					t.Fatal(err)
				}
				if err := table.verify(t.Context(), path); !errors.Is(err, ErrDamaged) {
					t.Errorf("byte %d of %d of %s: %v", at, len(data), path, err)
				}
				if _, err := f.WriteAt(data[at:at+1], int64(at)); err != nil {
					t.Fatal(err)
				}
			}
			f.Close()
		}
	}
	t.Logf("%d flips", flips)
}

// mutation changes a data directory; false when it had nothing to change.
type mutation struct {
	name  string
	apply func(r *rand.Rand, dir string) (what string, done bool)
}

func anyPart(r *rand.Rand, dir string) (table string, s span, path string) {
	for {
		table = Tables()[r.IntN(len(Tables()))]
		if all, err := spans(dir, table); err == nil && len(all) > 0 {
			s = all[r.IntN(len(all))]
			return table, s, s.path(dir, table)
		}
	}
}

// inPart changes the content of a part.
func inPart(name string, change func(r *rand.Rand, data []byte) []byte) mutation {
	return mutation{name, func(r *rand.Rand, dir string) (string, bool) {
		_, _, path := anyPart(r, dir)
		data, err := os.ReadFile(path)
		if err != nil {
			return "", false
		}
		changed := change(r, bytes.Clone(data))
		return path, !bytes.Equal(data, changed) && os.WriteFile(path, changed, 0o644) == nil
	}}
}

// onTwo does something with two different parts.
func onTwo(name string, do func(a, b string) error) mutation {
	return mutation{name, func(r *rand.Rand, dir string) (string, bool) {
		_, _, a := anyPart(r, dir)
		_, _, b := anyPart(r, dir)
		return a + " and " + b, a != b && do(a, b) == nil
	}}
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

func mutations() []mutation {
	return []mutation{
		inPart("one bit", func(r *rand.Rand, data []byte) []byte {
			data[r.IntN(len(data))] ^= 1 << r.IntN(8)
			return data
		}),
		inPart("a bit of the footer", func(r *rand.Rand, data []byte) []byte {
			n := int(binary.LittleEndian.Uint32(data[len(data)-8:])) + 8
			data[len(data)-1-r.IntN(n)] ^= 1 << r.IntN(8)
			return data
		}),
		inPart("seven bits", func(r *rand.Rand, data []byte) []byte {
			for range 7 {
				data[r.IntN(len(data))] ^= 1 << r.IntN(8)
			}
			return data
		}),
		inPart("a sector of zeros", func(r *rand.Rand, data []byte) []byte {
			at := r.IntN(len(data)) / 512 * 512
			clear(data[at:min(at+512, len(data))])
			return data
		}),
		inPart("random bytes", func(r *rand.Rand, data []byte) []byte {
			at := r.IntN(len(data))
			for i := at; i < min(at+1+r.IntN(64), len(data)); i++ {
				data[i] = byte(r.Uint32())
			}
			return data
		}),
		inPart("truncated", func(r *rand.Rand, data []byte) []byte { return data[:r.IntN(len(data))] }),
		inPart("emptied", func(*rand.Rand, []byte) []byte { return nil }),
		inPart("appended to", func(r *rand.Rand, data []byte) []byte { return append(data, data[:r.IntN(len(data))]...) }),
		onTwo("exchanged", func(a, b string) error {
			return errors.Join(os.Rename(a, a+".tmp"), os.Rename(b, a), os.Rename(a+".tmp", b))
		}),
		onTwo("copied over", copyFile),
		{"renamed", func(r *rand.Rand, dir string) (string, bool) {
			table, _, path := anyPart(r, dir)
			return path, os.Rename(path, single(uint64(6+r.IntN(3))).path(dir, table)) == nil
		}},
		{"copied to a new number", func(r *rand.Rand, dir string) (string, bool) {
			table, _, path := anyPart(r, dir)
			return path, copyFile(path, single(uint64(6+r.IntN(3))).path(dir, table)) == nil
		}},
		{"copied to a foreign name", func(r *rand.Rand, dir string) (string, bool) {
			table, _, path := anyPart(r, dir)
			return path, copyFile(path, filepath.Join(Dir(dir, table), "copy.parquet")) == nil
		}},
		{"deleted", func(r *rand.Rand, dir string) (string, bool) {
			_, _, path := anyPart(r, dir)
			return path, os.Remove(path) == nil
		}},
		{"a table deleted", func(r *rand.Rand, dir string) (string, bool) {
			path := Dir(dir, Tables()[r.IntN(len(Tables()))])
			return path, os.RemoveAll(path) == nil
		}},
	}
}

// Random damage, VALTRACK_DAMAGE times: check data names it, and a start, a merge and readers
// go on with the rest. No reader ever gets a row that was not written.
func TestRandomDamage(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	rounds, err := strconv.Atoi(stdcmp.Or(os.Getenv("VALTRACK_DAMAGE"), "60"))
	if err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(t.TempDir(), "data")
	damageWorld(t, whole)
	if h := check(t, whole, nil); !h.OK() || h.MissingRows() > 0 || h.Missing() > 0 {
		t.Fatalf("whole: %+v", h)
	}
	written := rowSet(t, whole)
	made := map[string]int{}
	all := mutations()
	for round := range rounds {
		r := rand.New(rand.NewPCG(7, uint64(round)))
		m := all[round%len(all)]
		dir := copyDir(t, whole)
		what, done := m.apply(r, dir)
		if !done {
			continue
		}
		made[m.name]++
		name := fmt.Sprintf("round %d, %s: %s", round, m.name, what)
		if h := check(t, dir, nil); h.OK() && h.Missing() == 0 && !slices.ContainsFunc(h.Tables, func(t TableHealth) bool { return len(t.Holes) > 0 }) {
			t.Errorf("%s: unnoticed", name)
		}
		onlyWritten(t, name+" before a start", dir, written)
		w := open(t, dir)
		w.now = func() time.Time { return noon.Add(48 * time.Hour) }
		if _, err := w.Migrate(t.Context()); err != nil {
			t.Errorf("%s: migrate: %v", name, err)
		}
		if left := damagedFooters(t, dir); len(left) > 0 {
			t.Errorf("%s: still in place after a start: %v", name, left)
		}
		if _, err := w.Compact(t.Context(), time.Hour); err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: compact: %v", name, err)
		}
		if err := commitRows(t, w, 500, 1); err != nil {
			t.Errorf("%s: commit: %v", name, err)
		}
		if err := errors.Join(w.Close(), os.RemoveAll(filepath.Join(dir, compactingDir))); err != nil {
			t.Error(err)
		}
		onlyWritten(t, name+" after a merge", dir, written)
		os.RemoveAll(dir)
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		t.Logf("%4d times noticed: %s", made[name], name)
	}
}

// damagedFooters are the parts with a damaged footer that are still in the datasets.
func damagedFooters(t *testing.T, dir string) (paths []string) {
	t.Helper()
	for _, table := range registry() {
		all, err := spans(dir, table.name)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if _, err := table.readFooter(s.path(dir, table.name)); errors.Is(err, ErrDamaged) {
				paths = append(paths, s.path(dir, table.name))
			}
		}
	}
	return paths
}

// A start sets aside the parts of any table whose footer is damaged, and goes on: they lack
// no columns, and are no reason for an error.
func TestStartSetsAsideDamagedFooters(t *testing.T) {
	for _, name := range Tables() {
		for _, s := range []span{{1, 3}, single(4)} {
			t.Run(name+" "+s.String(), func(t *testing.T) {
				dir := t.TempDir()
				damageWorld(t, dir)
				path := s.path(dir, name)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				cut := data[:len(data)-10]
				if err := os.WriteFile(path, cut, 0o644); err != nil {
					t.Fatal(err)
				}
				var log bytes.Buffer
				w, err := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
				if err != nil {
					t.Fatal(err)
				}
				if done, err := w.Migrate(t.Context()); err != nil || done != (Migrated{}) {
					t.Errorf("migrate: %+v, %v", done, err)
				}
				if err := commitRows(t, w, 500, 1); err != nil {
					t.Error(err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				wasSetAside(t, dir, name, s, string(cut))
				if text := log.String(); strings.Count(text, "a damaged part was set aside") != 1 || !strings.Contains(text, path) {
					t.Errorf("log: %s", text)
				}
			})
		}
	}
}

func rowText(table string, r Row) string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return table + string(text)
}

// rowSet counts the rows of each table, by their content.
func rowSet(t *testing.T, dir string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, table := range Tables() {
		if err := ScanTable(t.Context(), dir, table, Range{}, func(r Row) error {
			out[rowText(table, r)]++
			return nil
		}); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	}
	return out
}

// onlyWritten checks that what readers get was written, and no more often.
func onlyWritten(t *testing.T, name, dir string, written map[string]int) {
	t.Helper()
	wrong := 0
	for text, n := range rowSet(t, dir) {
		if n > written[text] && !strings.Contains(text, `"1763800000500"`) && !strings.Contains(text, `1763800000500`) {
			if wrong++; wrong == 1 {
				t.Errorf("%s: %d of %.300s", name, n, text)
			}
		}
	}
	if wrong > 1 {
		t.Errorf("%s: %d rows that were not written", name, wrong)
	}
}

// Without parts of metadata_events the keys are those of the other tables: what was missing
// before a damage is missing after it, and nothing else.
func TestStartWithDamagedMetadata(t *testing.T) {
	for _, s := range []span{{1, 3}, single(4), single(5)} {
		t.Run(s.String(), func(t *testing.T) {
			dir := t.TempDir()
			damageWorld(t, dir)
			path := s.path(dir, Metadata)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.LastIndex(data, []byte(`"s-1":[[`)) + 9
			data[at] ^= 1 // a digit of the keys
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := Inspect(dir); err != nil {
				t.Errorf("inspect: %v", err)
			}
			for range 2 {
				w := open(t, dir)
				if d := cmp.Diff(Coverage{"s-1": {{0, 99}}}, w.Covered()); d != "" {
					t.Errorf("covered (-want +got):\n%s", d)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
			wasSetAside(t, dir, Metadata, s, string(data))
			h := check(t, dir, nil)
			m := healthOf(h, Metadata)
			lost := int64(20 * (s.last - s.first + 1))
			if len(m.SetAside) != 1 || h.OK() || h.Missing() != 0 || len(m.Holes) != 1 || m.Holes[0].Rows == nil || *m.Holes[0].Rows != lost || h.MissingRows() != uint64(lost) {
				t.Errorf("missing %d, %d rows of %d: %+v", h.Missing(), h.MissingRows(), lost, m)
			}
			if got := NewSurvey(dir).Tables()[len(Tables())-1].SetAside; got != 1 {
				t.Errorf("the survey counts %d", got)
			}
		})
	}
}

// What does not say that the content is damaged moves nothing.
func TestOnlyDamageIsSetAside(t *testing.T) {
	w, c, dir := committedTens(t, 3)
	path := single(2).path(dir, Visit)
	// A link to itself cannot be opened by anybody, as a file without permission by most.
	if err := errors.Join(os.Remove(path), os.Symlink(path, path)); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	if _, err := w.Compact(t.Context(), time.Hour); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("compact: %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

// A merge that has lost or gained rows is refused.
func TestMergeRefusesAnotherNumberOfRows(t *testing.T) {
	dir := t.TempDir()
	damageWorld(t, dir)
	for _, claimed := range []int64{19, 21} {
		in := []source{{path: single(4).path(dir, Visit), rows: claimed}, {path: single(5).path(dir, Visit), rows: 20}}
		if _, err := mergeRows[VisitRow](t.Context(), t.TempDir(), in, footer{}); err == nil || !strings.Contains(err.Error(), in[0].path) {
			t.Errorf("%d rows claimed: %v", claimed, err)
		}
	}
}

// A start says what is known: that parts are of two writers only when both can be read.
func TestDamagedPartThatWasMerged(t *testing.T) {
	for _, damaged := range []span{{1, 2}, single(2)} {
		w, c, dir := committedTens(t, 2)
		copied := copyDir(t, dir)
		c.advance(time.Hour)
		compact(t, w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := copyFile(single(2).path(copied, Visit), single(2).path(dir, Visit)); err != nil {
			t.Fatal(err)
		}
		path := damaged.path(dir, Visit)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[100] ^= 1 // of a page
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		again, err := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		if text := log.String(); strings.Contains(text, "two consumers") || !strings.Contains(text, "one of the two cannot be read") || !strings.Contains(text, path) {
			t.Errorf("%v is damaged: %s", damaged, text)
		}
		if _, err := os.Stat(single(2).path(dir, Visit)); err != nil {
			t.Error(err)
		}
	}
}

// Nobody reads the rows of a part that is known to be damaged.
func TestRowsOfDamagedPartsAreNotRead(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	for range 2 {
		commitAll(t, w, 0, 10) // each row twice
	}
	whole := scan[MetadataRow](t, dir, Range{})
	path := single(2).path(dir, Metadata)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[pagesEnd(t, path)] ^= 1 // between the pages and the footer: all rows can be decoded
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Purge(t.Context(), func(string) bool { return false }); !errors.Is(err, ErrDamaged) {
		t.Fatalf("it is not damaged: %v", err)
	}
	rows := 0
	if err := Handshakes(t.Context(), dir, 9, func(string, int64) { rows++ }); err != nil || rows != 10 {
		t.Errorf("%d handshakes, %v", rows, err)
	}
	parts, err := openTable(dir, Metadata)
	if err != nil {
		t.Fatal(err)
	}
	defer parts.dir.Close()
	c := rowCheck[MetadataRow]{parts: parts, bad: []span{single(2)}, clockOff: clockOffOf[MetadataRow](), seed: maphash.MakeSeed(), repeated: map[uint64]bool{}}
	for _, r := range whole {
		c.repeated[maphash.Comparable(c.seed, r.key())] = true
	}
	if err := c.countDuplicates(t.Context(), []partInfo{{span: single(1)}, {span: single(2)}}); err != nil || c.DuplicateRows != 0 {
		t.Errorf("%d duplicates, %v", c.DuplicateRows, err)
	}
}

// Reading a part costs what its rows cost, not what a batch does: parquet-go looks for each
// row that is asked for in each column.
func TestSmallPartsAreReadQuickly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "part")
	out, err := CreateFile[VisitRow](path)
	if err == nil {
		err = out.Write(visitRows()[0])
	}
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	allocations := testing.AllocsPerRun(5, func() {
		if err := eachRow(t.Context(), path, func(VisitRow) error { return nil }); err != nil {
			t.Error(err)
		}
	})
	if allocations > 10*writeBatch {
		t.Errorf("%v allocations for one row", allocations)
	}
}
