package dataset

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A second fault while damaged parts are set aside leaves a directory in which ingest goes
// on, and the next start sets aside what is left.
func TestFaultsWhileSettingAside(t *testing.T) {
	crashAt := func(at string) func(*testing.T, *Writer) func() {
		return func(_ *testing.T, w *Writer) func() {
			w.crash = func(step string) error {
				if step == at {
					return errors.New("crash at " + step)
				}
				return nil
			}
			return func() { w.crash = nil }
		}
	}
	// A file in the place of a directory.
	inTheWay := func(path ...string) func(*testing.T, *Writer) func() {
		return func(t *testing.T, w *Writer) func() {
			path := filepath.Join(append([]string{w.dir}, path...)...)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
				t.Fatal(err)
			}
			return func() { remove(t, path) }
		}
	}
	for name, fault := range map[string]func(*testing.T, *Writer) (mend func()){
		"no directory for damaged parts":  inTheWay(damagedDir),
		"none for those of a table":       inTheWay(damagedDir, Visit),
		"the first cannot be moved":       crashAt("set aside " + Metadata),
		"the second cannot be moved":      crashAt("set aside " + Visit),
		"a crash after the first rename":  crashAt("keep aside " + Metadata),
		"a crash after the second rename": crashAt("keep aside " + Visit),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := open(t, dir)
			for i := range 4 {
				commitAll(t, w, 10*i, 10)
			}
			parts := []string{single(2).path(dir, Metadata), single(2).path(dir, Visit)}
			for _, path := range parts {
				if err := os.WriteFile(path, []byte("PAR1 is all that is left"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			mend := fault(t, w)
			if err := w.Recover(); err != nil {
				t.Fatalf("ingest stops: %v", err)
			}
			commitAll(t, w, 40, 10)
			mend()
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			w = open(t, dir)
			defer w.Close()
			commitAll(t, w, 50, 10)
			checkAside(t, dir, parts)
		})
	}
}

// checkAside: the damaged parts are set aside, and no event is missing.
func checkAside(t *testing.T, dir string, parts []string) {
	t.Helper()
	h := check(t, dir, nil)
	for _, table := range []string{Metadata, Visit} {
		if got := healthOf(h, table); len(got.SetAside) != 1 || len(got.Unreadable) > 0 || len(got.Holes) != 1 {
			t.Errorf("%s: set aside %v, unreadable %v, holes %v", table, got.SetAside, got.Unreadable, got.Holes)
		}
	}
	if h.Missing() != 0 {
		t.Errorf("%d events are missing", h.Missing())
	}
	for _, path := range parts {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
}
