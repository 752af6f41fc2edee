package diskio

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAppendFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	f := NewAppendFile(filepath.Join(dir, "x.log"), nil)
	defer f.Close()
	if err := f.Append([]byte("a")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("append without a directory: %v", err)
	}
	if err := f.Append([]byte("b")); err != nil { // behind what is held
		t.Error(err)
	}
	if err := f.WriteHeld(); err == nil || string(f.Held()) != "ab" || f.NeedsSync() {
		t.Errorf("error %v, %q is held, needs sync %t", err, f.Held(), f.NeedsSync())
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.WriteHeld(), f.Append([]byte("c"))); err != nil || len(f.Held()) > 0 || !f.NeedsSync() {
		t.Errorf("error %v, %q is held, needs sync %t", err, f.Held(), f.NeedsSync())
	}
	if err := f.Unsynced().Sync(); err != nil || f.Unsynced() != nil {
		t.Errorf("sync %v, or there is more to sync", err)
	}
	if err := errors.Join(f.Close(), f.Close(), f.Append([]byte("d"))); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(f.Path()); err != nil || string(text) != "abcd" {
		t.Errorf("the file has %q, error %v", text, err)
	}
}
