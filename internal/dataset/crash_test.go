package dataset

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var errKilled = errors.New("killed")

// eachStep runs a test for each step in data directories whose names are patterns to
// whoever expands them, one of them an invalid one.
func eachStep(t *testing.T, steps []string, test func(t *testing.T, step, dir string)) {
	t.Helper()
	for _, name := range []string{"a[b", "run[1]"} {
		for _, step := range steps {
			t.Run(name+" "+step, func(t *testing.T) { test(t, step, filepath.Join(t.TempDir(), name)) })
		}
	}
}

// steps lists every point of a commit at which a process can die.
func steps() (out []string) {
	for _, what := range []string{"finish ", "rename ", "sync "} {
		for _, table := range Tables() {
			out = append(out, what+table)
		}
	}
	return append(out, "committed")
}

// die leaves the directory as a killed process does: the kernel takes the lock,
// and nobody cleans up.
func die(w *Writer) {
	if w.open != nil {
		for _, p := range w.open.parts {
			p.abandon()
		}
	}
	w.lock.Close()
}

func counts(t *testing.T, dir string) map[string]int {
	t.Helper()
	return map[string]int{
		Discovery:         len(scan[DiscoveryRow](t, dir, Range{})),
		Metadata:          len(scan[MetadataRow](t, dir, Range{})),
		ValidatorMetadata: len(scan[ValidatorRow](t, dir, Range{})),
		Visit:             len(scan[VisitRow](t, dir, Range{})),
	}
}

func all(n int) map[string]int {
	return map[string]int{Discovery: n, Metadata: n, ValidatorMetadata: n, Visit: n}
}

// The rows of the segment that dies are brought again unless its keys are
// covered, as redelivery does: then every row is there once, wherever it died.
func TestKilledAtEveryStep(t *testing.T) { testEveryStep(t, die) }

// A consumer that is stopped after a commit failed closes its writer without a recovery.
func TestClosedAfterEachStepFailed(t *testing.T) {
	testEveryStep(t, func(w *Writer) {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func testEveryStep(t *testing.T, leave func(*Writer)) {
	first, second := Coverage{"s-1": {{1, 3}}}, Coverage{"s-1": {{4, 6}}}
	eachStep(t, steps(), func(t *testing.T, step, dir string) {
		w := open(t, dir)
		appendAll(t, w)
		if err := w.Commit(first); err != nil {
			t.Fatal(err)
		}
		appendAll(t, w)
		w.crash = func(s string) error {
			if s == step {
				return errKilled
			}
			return nil
		}
		if err := w.Commit(second); !errors.Is(err, errKilled) {
			t.Fatalf("commit: %v", err)
		}
		before := counts(t, dir) // what readers see while nobody recovers
		leave(w)

		w = open(t, dir)
		defer w.Close()
		if _, err := os.Stat(filepath.Join(dir, stagingDir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("staged files are still there: %v", err)
		}
		if d := cmp.Diff(before, counts(t, dir)); d != "" {
			t.Errorf("recovery changed what readers see (-before +after):\n%s", d)
		}
		if !w.Covered().Has("s-1", 4) {
			appendAll(t, w)
			if err := w.Commit(second); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(all(6), counts(t, dir)); d != "" {
			t.Errorf("rows (-want +got):\n%s", d)
		}
		if d := cmp.Diff(Coverage{"s-1": {{1, 6}}}, w.Covered()); d != "" {
			t.Errorf("covered (-want +got):\n%s", d)
		}
		if step != "rename "+Metadata { // once is enough for a slow check
			return
		}
		for table := range all(6) {
			if got := duckdb(t, Dir(dir, table), "--sql", "SELECT count(*)::INTEGER n FROM t")[0]["n"]; got != 6.0 {
				t.Errorf("DuckDB counts %v rows in %s", got, table)
			}
		}
	})
}

func TestRecoverAfterAFailedCommit(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	defer w.Close()
	appendAll(t, w)
	w.crash = func(s string) error {
		if s == "rename "+Visit {
			return errKilled
		}
		return nil
	}
	if err := w.Commit(Coverage{"s-1": {{1, 3}}}); err == nil {
		t.Fatal("commit did not fail")
	}
	w.crash = nil
	if err := w.Recover(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(all(0), counts(t, dir)); d != "" {
		t.Errorf("rows of the lost segment (-want +got):\n%s", d)
	}
	appendAll(t, w)
	if err := w.Commit(Coverage{"s-1": {{1, 3}}}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(all(3), counts(t, dir)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
}

// Rows that were never committed are gone after a kill, and nothing else is.
func TestKilledBeforeCommit(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	appendAll(t, w)
	if err := w.Commit(Coverage{}); err != nil {
		t.Fatal(err)
	}
	appendAll(t, w)
	die(w)
	w = open(t, dir)
	defer w.Close()
	if d := cmp.Diff(all(3), counts(t, dir)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	if w.Segment() != 2 {
		t.Errorf("next segment is %d, want 2", w.Segment())
	}
}
