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

// Whatever happens to the file under its name, every write is in a file.
func TestAppendFileFollowsItsName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a[b.log")
	f := NewAppendFile(path, nil)
	defer f.Close()
	write := func(text string) {
		t.Helper()
		if err := errors.Join(f.Follow(), f.Append([]byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	want := func(path, text string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s has %q, %v; want %q", path, got, err, text)
		}
	}
	write("a")
	write("b")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("c")
	want(path+".1", "ab")
	want(path, "c")
	if err := errors.Join(os.Rename(path, path+".2"), os.WriteFile(path, nil, 0o644)); err != nil { // as logrotate's create
		t.Fatal(err)
	}
	write("d")
	want(path+".2", "c")
	want(path, "d")
	if err := os.Truncate(path, 0); err != nil { // as its copytruncate
		t.Fatal(err)
	}
	write("e")
	want(path, "e")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write("f")
	want(path, "f")
}
