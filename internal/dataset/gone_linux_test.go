package dataset

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The volume of the data directory is unmounted while a writer runs: nothing is written
// where its mount point was, and nothing is reported as stored.
func TestVolumeThatIsUnmounted(t *testing.T) {
	dir := t.TempDir()
	switch err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); {
	case errors.Is(err, syscall.EPERM):
		t.Skipf("cannot mount a small disk: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(unmount)
	w := open(t, dir)
	for range 3 {
		if err := w.Commit(nil); err != nil {
			t.Fatal(err)
		}
	}
	unmount()
	for name, do := range map[string]func() error{
		"check":   w.Check,
		"commit":  func() error { return w.Commit(nil) },
		"recover": w.Recover,
		"swap":    func() error { return w.swap(commitTable, []span{single(0)}) },
		"merge":   func() error { _, err := w.Compact(t.Context(), time.Nanosecond); return err },
		"retain":  func() error { _, err := w.Retain(t.Context(), time.Now().Add(time.Hour)); return err },
		"append":  func() error { return Append(w, visitRows()[0]) },
	} {
		if err := do(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("below the mount point: %v, %v", entries, err)
	}
}

// A table that goes while a writer runs is not made again, as if it were a new one.
func TestTableThatGoes(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	if err := w.Commit(nil); err != nil {
		t.Fatal(err)
	}
	gone := Dir(dir, Tables()[0])
	if err := os.Rename(gone, filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if err := w.Recover(); err == nil {
		t.Error("recovered without a table")
	}
	if _, err := os.Stat(gone); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the table: %v", err)
	}
	if err := os.Rename(filepath.Join(dir, "elsewhere"), gone); err != nil {
		t.Fatal(err)
	}
	if err := w.Recover(); err != nil {
		t.Error(err)
	}
}
