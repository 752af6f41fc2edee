package mirror

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/mirror/mirrortest"
)

const day = 24 * time.Hour

// The copy has what was stored, before and after merges of hours and days, and what local
// retention has removed.
func TestCopyHasWhatWasStored(t *testing.T) {
	w := newWorld(t)
	w.life(0, commit(1, 10, 3))
	w.now = epoch.Add(3*time.Hour + settle)
	w.round()
	w.equal(contents(t, w.cfg.DataDir))
	before := len(w.copy().Parts)

	w.life(3*time.Hour, commit(31, 5, 1))
	w.life(day+time.Hour, merge)
	w.round()
	all := contents(t, w.cfg.DataDir)
	w.equal(all)
	if after := len(w.copy().Parts); after >= before {
		t.Errorf("the manifest has %d parts after a merge, %d before", after, before)
	}

	w.life(3*day, commit(36, 5, 1))
	w.life(4*day, func(d *dataset.Writer) error {
		if _, err := d.Retain(t.Context(), epoch.Add(2*day)); err != nil {
			return err
		}
		return commit(41, 5, 1)(d)
	})
	w.now = w.now.Add(2 * time.Hour)
	w.round()
	local, copied := contents(t, w.cfg.DataDir), contents(t, w.restored())
	for table, f := range copied {
		if want := local[table].Rows + all[table].Rows; table != "estimates" && f.Rows != want {
			t.Errorf("the copy has %d rows of %s, %d were stored", f.Rows, table, want)
		}
	}
}

// The parts of a period that has not passed are not copied, and nothing is sent twice.
func TestOnlyFinishedParts(t *testing.T) {
	w := newWorld(t)
	w.life(0, commit(1, 10, 2))
	w.now = epoch.Add(time.Hour + settle/2)
	w.round()
	if n := len(w.copy().Parts); n != 0 {
		t.Errorf("%d parts were copied before they could be merged", n)
	}
	w.now = epoch.Add(2*time.Hour + settle)
	w.round()
	generation := w.copy().Generation
	m := w.mirror()
	if err := m.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := m.Stats(); s.Uploaded != 0 || s.Generation != generation || s.Parts == 0 || s.Pending != 0 {
		t.Errorf("another round without news: %+v, generation %d before", s, generation)
	}
}

var errKilled = errors.New("killed")

// steps lists the steps of a round of a new process.
func (w *world) steps(do func(crash func(string) error) error) (names []string) {
	w.t.Helper()
	err := do(func(step string) error { names = append(names, step); return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

// A process may die at any step: the copy is as before or complete, and the next process
// completes it, also in a directory that was restored and writes to its copy for the first time.
func TestKilledWhileMirroring(t *testing.T) {
	if testing.Short() {
		t.Skip("a world for each step")
	}
	for _, name := range []string{"own", "restored"} {
		t.Run(name, func(t *testing.T) { killedAtEachStep(t, name == "restored") })
	}
}

func killedAtEachStep(t *testing.T, restored bool) {
	steps := 1
	for n := 0; n < steps; n++ {
		w := newWorld(t)
		w.life(0, commit(1, 4, 2))
		w.now = epoch.Add(2*time.Hour + settle)
		w.round()
		if restored {
			w.cfg.DataDir = w.restored()
		}
		before := contents(t, w.cfg.DataDir)
		w.life(2*time.Hour, commit(9, 4, 2))
		w.life(day+time.Hour, merge)
		after := contents(t, w.cfg.DataDir)

		m, count := w.mirror(), 0
		m.crash = func(string) error {
			if count++; count == n+1 {
				return errKilled
			}
			return nil
		}
		err := m.Round(t.Context())
		if n == 0 { // how many there are
			all := w.steps(func(crash func(string) error) error {
				m := w.mirror()
				m.crash = crash
				return m.Round(t.Context())
			})
			steps = len(all) + 1
			if !slices.Contains(all, "mirror manifest") || !slices.Contains(all, "mirror verify") {
				t.Fatalf("steps: %q", all)
			}
		} else if n < steps-1 && !errors.Is(err, errKilled) {
			t.Fatalf("step %d: %v", n, err)
		}
		got := contents(t, w.restored())
		if !equalFigures(got, before) && !equalFigures(got, after) {
			t.Errorf("step %d: the copy has %v: neither what was there before, %v, nor after, %v", n, got, before, after)
		}
		w.now = w.now.Add(time.Hour)
		w.round()
		w.equal(after)
		w.now = w.now.Add(grace + time.Hour)
		m = w.mirror()
		m.swept = time.Time{}
		if err := m.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := len(w.objects()), len(w.copy().Parts)+2; got != want {
			t.Errorf("step %d: %d objects after the grace time, the manifest lists %d: %q", n, got, want, w.objects())
		}
		w.equal(after)
		w.server.Kill()
	}
}

func equalFigures(a, b map[string]figures) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// While the store is down a round fails and changes nothing; then it goes on.
func TestStoreIsDown(t *testing.T) {
	w := newWorld(t)
	w.life(0, commit(1, 4, 2))
	w.now = epoch.Add(2*time.Hour + settle)
	w.server.Kill()
	m := w.mirror()
	if err := m.Round(t.Context()); err == nil || strings.Contains(err.Error(), mirrortest.Secret) {
		t.Fatalf("round without a store: %v", err)
	}
	if s := m.Stats(); s.Failures != 1 || s.Err == nil || !s.LastRound.IsZero() {
		t.Errorf("stats of a failed round: %+v", s)
	}
	if err := w.server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := m.Stats(); s.Err != nil || s.LastRound.IsZero() {
		t.Errorf("stats of a round: %+v", s)
	}
	w.equal(contents(t, w.cfg.DataDir))
}

// What a merge has replaced stays for the grace time, and is deleted only while the clocks
// agree.
func TestReplacedPartsStayForAWhile(t *testing.T) {
	w := newWorld(t)
	w.life(0, commit(1, 4, 2))
	w.now = epoch.Add(2*time.Hour + settle)
	w.round()
	old := w.copy().Parts
	w.life(day+time.Hour, merge)
	w.round()
	w.now = w.now.Add(grace - time.Minute)
	w.round()
	for _, e := range old {
		if !slices.Contains(w.objects(), e.Name) {
			t.Errorf("%s was deleted before the grace time", e.Name)
		}
	}
	w.now = w.now.Add(time.Hour)
	w.shift = -2 * time.Hour
	w.round()
	if !slices.Contains(w.objects(), old[0].Name) {
		t.Error("an object was deleted although the clocks differ")
	}
	w.shift = 0
	w.round()
	for _, e := range old {
		if slices.Contains(w.objects(), e.Name) {
			t.Errorf("%s was not deleted after the grace time", e.Name)
		}
	}
	w.equal(contents(t, w.cfg.DataDir))
}

// A round may take longer than the grace time, and fail: until its manifest is stored, what the one
// before lists stays, and for the grace time after that.
func TestSlowRound(t *testing.T) {
	for _, slow := range []string{"mirror upload", "mirror verify"} {
		t.Run(slow, func(t *testing.T) {
			w := newWorld(t)
			w.life(0, commit(1, 4, 2))
			w.now = epoch.Add(2*time.Hour + settle)
			w.round()
			old := w.copy().names()
			w.life(day+time.Hour, merge)
			missing := func(when string) {
				t.Helper()
				for name := range old {
					if !slices.Contains(w.objects(), name) {
						t.Errorf("%s: %s was deleted", when, name)
					}
				}
			}
			m, done := w.mirror(), false
			m.crash = func(step string) error {
				if step == slow && !done {
					done = true
					w.now = w.now.Add(grace + time.Hour)
				}
				if step == "mirror manifest" {
					missing("before the manifest")
				}
				return nil
			}
			if err := m.Round(t.Context()); err != nil || !done {
				t.Fatal(err, done)
			}
			w.now = w.now.Add(grace - 2*time.Hour)
			w.round()
			missing("before the grace time")
		})
	}
}

// The retention of the copy is its own: it removes what the datasets keep, once, and the
// restored directory knows that it was removed.
func TestRetentionOfTheCopy(t *testing.T) {
	w := newWorld(t)
	w.life(0, commit(1, 4, 3))
	w.life(5*day, commit(13, 4, 1))
	w.now = w.now.Add(2 * time.Hour)
	w.round()
	w.cfg.Retention = day
	w.round()
	parts := w.copy().Parts
	if len(parts) != len(dataset.Tables()) {
		t.Errorf("%d parts after retention, want the newest of each table", len(parts))
	}
	w.round()
	if n := len(w.copy().Parts); n != len(parts) {
		t.Errorf("%d parts after another round, %d before", n, len(parts))
	}
	if f := contents(t, w.restored())[dataset.Metadata]; f.Rows != 4 {
		t.Errorf("%d rows restored, want 4", f.Rows)
	}
	if f := contents(t, w.cfg.DataDir)[dataset.Metadata]; f.Rows != 16 {
		t.Errorf("the datasets have %d rows, want 16", f.Rows)
	}
}

// A directory writes only to its own copy: not to another's, nor as an older copy of itself. A
// restored one goes on with the copy it was made of.
func TestOneWriterPerCopy(t *testing.T) {
	w := newWorld(t)
	w.life(0, commit(1, 4, 2))
	w.now = epoch.Add(3 * time.Hour)
	w.round()
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(w.cfg.DataDir)); err != nil {
		t.Fatal(err)
	}
	w.life(3*time.Hour, commit(9, 4, 1))
	w.now = epoch.Add(5 * time.Hour)
	restored := w.restored()
	w.round()
	late := w.restored()

	own := w.cfg.DataDir
	for dir, want := range map[string]string{older: "older copy", restored: "another data directory"} {
		w.cfg.DataDir = dir
		if err := w.mirror().Round(t.Context()); !Refused(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
	w.cfg.DataDir = late
	w.life(5*time.Hour, commit(13, 4, 1))
	w.now = epoch.Add(7 * time.Hour)
	w.round()
	w.equal(contents(t, late))
	w.cfg.DataDir = own
	if err := w.mirror().Round(t.Context()); !Refused(err) {
		t.Errorf("the directory that the copy was taken over from: %v", err)
	}
	w.cfg.DataDir, w.cfg.Network = late, "mainnet"
	if err := w.mirror().Round(t.Context()); !Refused(err) || !strings.Contains(err.Error(), "mainnet") {
		t.Errorf("another network: %v", err)
	}
}

// A part that is damaged here does not replace the good one in the copy, and does not keep
// others from being copied.
func TestDamagedPartIsNotCopied(t *testing.T) {
	w := newWorld(t)
	w.life(0, commit(1, 40, 2))
	w.now = epoch.Add(3 * time.Hour)
	w.round()
	want := contents(t, w.cfg.DataDir)
	w.life(3*time.Hour, commit(81, 40, 1))
	w.now = epoch.Add(5 * time.Hour)
	for _, file := range []string{"part-00000001.parquet", "part-00000003.parquet"} {
		path := filepath.Join(dataset.Dir(w.cfg.DataDir, dataset.Visit), file)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/3] ^= 1
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.mirror().Round(t.Context()); !errors.Is(err, dataset.ErrDamaged) {
		t.Fatalf("round with a damaged part: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	if _, err := w.copy().Restore(t.Context(), dir, w.cfg.Log); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, table := range dataset.Tables() {
		if err := dataset.ScanTable(t.Context(), dir, table, dataset.Range{}, func(dataset.Row) error { count[table]++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if count[dataset.Visit] != want[dataset.Visit].Rows || count[dataset.Metadata] != 120 {
		t.Errorf("restored rows: %v, want 80 visits and 120 handshakes", count)
	}
}

// A restore that is interrupted at any step goes on, also with a newer manifest; until it is
// complete the directory has no datasets.
func TestInterruptedRestore(t *testing.T) {
	w := newWorld(t)
	w.life(0, commit(1, 4, 2))
	w.now = epoch.Add(3 * time.Hour)
	w.round()
	all := w.steps(func(crash func(string) error) error {
		c := w.copy()
		c.crash = crash
		_, err := c.Restore(t.Context(), filepath.Join(t.TempDir(), "d"), w.cfg.Log)
		return err
	})
	dirs := make([]string, len(all))
	for n := range all {
		dirs[n] = filepath.Join(t.TempDir(), "restored")
		c, count := w.copy(), 0
		c.crash = func(string) error {
			if count++; count == n+1 {
				return errKilled
			}
			return nil
		}
		if _, err := c.Restore(t.Context(), dirs[n], w.cfg.Log); !errors.Is(err, errKilled) {
			t.Fatalf("step %q: %v", all[n], err)
		}
		if _, err := os.Stat(filepath.Join(dirs[n], RestoringDir)); err != nil {
			t.Errorf("killed before step %q, nothing says so: %v", all[n], err)
		}
	}
	w.life(day+time.Hour, merge)
	w.round()
	want := contents(t, w.cfg.DataDir)
	for n, dir := range dirs {
		if _, err := w.copy().Restore(t.Context(), dir, w.cfg.Log); err != nil {
			t.Fatalf("after step %q: %v", all[n], err)
		}
		if got := contents(t, dir); !equalFigures(got, want) {
			t.Errorf("after step %q: %v, want %v", all[n], got, want)
		}
	}
	if _, err := w.copy().Restore(t.Context(), dirs[0], w.cfg.Log); !errors.Is(err, ErrOccupied) {
		t.Errorf("restore over datasets: %v", err)
	}
}

// A restore over datasets changes nothing, also when it is killed and repeated.
func TestRestoreLeavesOtherDatasets(t *testing.T) {
	w := newWorld(t)
	w.life(0, commit(1, 4, 1))
	w.now = epoch.Add(3 * time.Hour)
	w.round()
	w.cfg.DataDir = filepath.Join(t.TempDir(), "occupied")
	w.life(3*time.Hour, commit(1, 8, 2))
	want := contents(t, w.cfg.DataDir)
	for range 2 {
		c := w.copy()
		c.crash = func(step string) error { return fmt.Errorf("%w before %s", errKilled, step) }
		if _, err := c.Restore(t.Context(), w.cfg.DataDir, w.cfg.Log); !errors.Is(err, ErrOccupied) {
			t.Errorf("restore over datasets: %v", err)
		}
		if _, err := os.Stat(filepath.Join(w.cfg.DataDir, RestoringDir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("there is a %s in a directory with datasets: %v", RestoringDir, err)
		}
	}
	if got := contents(t, w.cfg.DataDir); !equalFigures(got, want) {
		t.Errorf("datasets after a restore that was refused: %v, want %v", got, want)
	}
}

// An object that was changed in the store is noticed by a restore.
func TestRestoreNoticesDamage(t *testing.T) {
	w := newWorld(t)
	w.life(0, commit(1, 4, 1))
	w.now = epoch.Add(3 * time.Hour)
	w.round()
	part, s := w.copy().Parts[0], w.mirror().store
	var object bytes.Buffer
	if err := s.get(t.Context(), part.Name, part.Object.Bytes, &object); err != nil {
		t.Fatal(err)
	}
	data := object.Bytes()
	data[len(data)/2] ^= 1
	if err := s.put(t.Context(), part.Name, bytes.NewReader(data), part.Object.Bytes, sha256.Sum256(data)); err != nil {
		t.Fatal(err)
	}
	_, err := w.copy().Restore(t.Context(), filepath.Join(t.TempDir(), "d"), w.cfg.Log)
	if err == nil || !strings.Contains(err.Error(), "differs from what the manifest says") {
		t.Errorf("restore of a damaged copy: %v", err)
	}
}

// What a copy lacks is noticed before a restore writes anything.
func TestCheckOfACopyThatIsNotWhole(t *testing.T) {
	w := newWorld(t)
	w.life(0, commit(1, 4, 2))
	w.now = epoch.Add(3 * time.Hour)
	w.round()
	c := w.copy()
	if err := c.Check(t.Context()); err != nil {
		t.Errorf("a whole copy: %v", err)
	}
	s, part := w.mirror().store, c.Parts[0]
	fails := func(want string) {
		t.Helper()
		if err := c.Check(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	put := func(name, text string) {
		t.Helper()
		if err := s.put(t.Context(), name, strings.NewReader(text), int64(len(text)), sha256.Sum256([]byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	put(part.Name, "short")
	fails(fmt.Sprintf("1 of %d objects are not as its manifest says, nothing was restored; the first: %s has 5 bytes", len(c.Parts)+1, part.Name))
	if err := s.remove(t.Context(), part.Name); err != nil {
		t.Fatal(err)
	}
	fails(part.Name + " is missing")
	c.Parts = c.Parts[1:]
	put(c.Known.Name, strings.Repeat("x", int(c.Known.Bytes)))
	fails(c.Known.Name + " in " + c.store.at.String() + " is damaged")
}

// A server whose certificate nobody known has signed gets nothing.
func TestCertificateIsVerified(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	at, err := ParseLocation(s.URL + "/bucket")
	if err != nil {
		t.Fatal(err)
	}
	w.cfg.Location = at
	if err := w.mirror().Round(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of an unknown authority: %v", err)
	}
}
