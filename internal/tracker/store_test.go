package tracker

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What is loaded is what was written, estimates too.
func TestReopen(t *testing.T) {
	dir, now := t.TempDir(), start.Add(30*time.Hour)
	tr := opened(t, dir, &now)
	for _, e := range newCrawl(1).events(20, 6, start.Add(time.Hour), 4*time.Hour) {
		tr.Add(e)
	}
	flush(t, tr, 3)
	want := state(t, tr)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	again := opened(t, dir, &now)
	if diff := gocmp.Diff(want, state(t, again), cmpopts.IgnoreUnexported(Peer{}), cmpopts.EquateEmpty(), cmpopts.EquateApprox(1e-12, 0)); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if p := again.State().Peer(peerID(0)); p.Estimate == nil || p.Estimate.Mean == 0 || p.Estimate.EpochsWatched == 0 {
		t.Errorf("estimate %+v", p.Estimate)
	}
	if again.learner.learned.At == 0 || len(again.learner.learned.Versions) != 5 {
		t.Errorf("learned %+v", again.learner.learned)
	}
}

// An abandoned tracker writes nothing: the database may be another process's by now.
func TestAbandon(t *testing.T) {
	dir, now := t.TempDir(), start.Add(30*time.Hour)
	tr := opened(t, dir, &now)
	for _, e := range newCrawl(1).events(5, 6, start.Add(time.Hour), 4*time.Hour) {
		tr.Add(e)
	}
	tr.Apply(3)
	if err := tr.Abandon(); err != nil {
		t.Fatal(err)
	}
	again := opened(t, dir, &now)
	if n := again.State().Len(); n != 0 {
		t.Errorf("%d peers were written", n)
	}
	if applied, ok := again.Applied(); ok {
		t.Errorf("segment %d was written", applied)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestUnusableDatabases(t *testing.T) {
	now := start
	for name, test := range map[string]struct {
		spoil func(t *testing.T, path string)
		want  error
	}{
		"of a later version": {func(t *testing.T, path string) {
			tr := opened(t, filepath.Dir(path), &now)
			if _, err := tr.store.db.Exec("PRAGMA user_version = 99"); err != nil {
				t.Fatal(err)
			}
		}, ErrNewer},
		"not a database": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, make([]byte, 8192), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("this is a text file of more than a hundred bytes, which is what the head of a database takes at the least, so it is read"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		"a peer is damaged": {func(t *testing.T, path string) {
			tr := opened(t, filepath.Dir(path), &now)
			if _, err := tr.store.db.Exec("INSERT INTO peers VALUES ('x', 1, '{', x'')"); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		"statistics are damaged": {func(t *testing.T, path string) {
			tr := opened(t, filepath.Dir(path), &now)
			if _, err := tr.store.db.Exec("INSERT INTO peers VALUES ('x', 1, '{}', x'ff')"); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		"cut in half": {func(t *testing.T, path string) {
			tr := opened(t, filepath.Dir(path), &now)
			for _, e := range newCrawl(1).events(200, 2, start, time.Hour) {
				tr.Add(e)
			}
			flush(t, tr, 0)
			if err := tr.Close(); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, info.Size()/2); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.spoil(t, filepath.Join(dir, File))
			if _, err := Open(t.Context(), config(dir)); !errors.Is(err, test.want) {
				t.Errorf("Open: %v", err)
			}
			if _, err := Read(t.Context(), dir); !errors.Is(err, test.want) {
				t.Errorf("Read: %v", err)
			}
		})
	}
	if _, err := Read(t.Context(), t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("an empty directory: %v", err)
	}
}

// A rebuilt database takes the place of the old one, and keeps the hours before its own.
func TestReplace(t *testing.T) {
	dir, now := t.TempDir(), start.Add(30*time.Hour)
	tr := opened(t, dir, &now)
	all := newCrawl(1).events(5, 4, start.Add(time.Hour), 5*time.Hour)
	for _, e := range all {
		tr.Add(e)
	}
	flush(t, tr, 0)
	tr.Hour()
	flush(t, tr, 1)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := ReadHistory(t.Context(), dir, 0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := Create(t.Context(), config(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all[len(all)/2:] { // retention took the rest
		fresh.Add(e)
	}
	flush(t, fresh, 9)
	for _, step := range []error{fresh.KeepHistory(t.Context()), fresh.Recompute(t.Context()), fresh.Replace()} {
		if step != nil {
			t.Fatal(step)
		}
	}
	got, err := ReadHistory(t.Context(), dir, 0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Totals) != 1 || len(got.Counts) != len(want.Counts) || got.Counts[0].Counts[CountHandshakes] != want.Counts[0].Counts[CountHandshakes] {
		t.Errorf("history %+v, want %+v", got, want)
	}
	v, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if *v.Applied != 9 || v.Peer(peerID(0)).Estimate == nil {
		t.Errorf("applied %d, peer %+v", *v.Applied, v.Peer(peerID(0)))
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*.new*")); len(names) > 0 {
		t.Errorf("left %v behind", names)
	}
}

// A process that was killed leaves a log next to the database: it is not the new one's,
// and when the replacement fails the old database has it.
func TestReplaceWithLog(t *testing.T) {
	dir, now := t.TempDir(), start.Add(30*time.Hour)
	tr := opened(t, dir, &now)
	for _, e := range newCrawl(1).events(5, 1, start.Add(time.Hour), 0) {
		tr.Add(e)
	}
	flush(t, tr, 0)
	left := map[string][]byte{} // as a kill leaves it
	for _, name := range []string{File, File + "-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		left[name] = data
	}
	killed := t.TempDir()
	for name, data := range left {
		if err := os.WriteFile(filepath.Join(killed, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fresh, err := Create(t.Context(), config(killed))
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.store.db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := removeFile(filepath.Join(killed, rebuilt)); err != nil { // so that the rename fails
		t.Fatal(err)
	}
	if err := fresh.replace(); err == nil {
		t.Fatal("replaced by nothing")
	}
	v, err := Read(t.Context(), killed)
	if err != nil || len(v.peers) != 5 {
		t.Errorf("the old database after that: %v", err)
	}
}

// What is learned is written when it has changed.
func TestLearnedIsWrittenOnce(t *testing.T) {
	now := start.Add(10 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	c := newCrawl(1)
	for _, e := range c.events(3, 1, start.Add(time.Hour), 0) {
		tr.Add(e)
	}
	flush(t, tr, 0)
	if _, err := tr.store.db.Exec("UPDATE meta SET value = '{}' WHERE key = 'learned'"); err != nil {
		t.Fatal(err)
	}
	learned := func() (text string) {
		if err := tr.store.db.QueryRow("SELECT value FROM meta WHERE key = 'learned'").Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	flush(t, tr, 1)
	if got := learned(); got != "{}" {
		t.Errorf("written again: %s", got)
	}
	if err := tr.Recompute(t.Context()); err != nil {
		t.Fatal(err)
	}
	if learned() == "{}" {
		t.Error("not written")
	}
}

// Check finds what Open would refuse, and leaves the file as it is.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	if err := Check(dir, "mainnet"); err != nil {
		t.Errorf("without a database: %v", err)
	}
	unpack(t, filepath.Join("testdata", "tracker-v1.db.gz"), filepath.Join(dir, File))
	for network, want := range map[string]error{"devnet": nil, "": nil, "mainnet": ErrOtherNetwork} {
		if err := Check(dir, network); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", network, err, want)
		}
	}
	if version := storedSchema(t, dir); version != 1 {
		t.Errorf("Check has raised the schema to %d", version)
	}
	db, err := sql.Open("sqlite", source(filepath.Join(dir, File), "rw"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), fmt.Sprint("PRAGMA user_version = ", schemaVersion+1))
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if err := Check(dir, "devnet"); !errors.Is(err, ErrNewer) {
		t.Errorf("of a later version: %v", err)
	}
}
