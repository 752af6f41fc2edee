package tracker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A member of the group that may read a data directory reads it, whether a consumer runs, was
// stopped or was killed. What it may not read is no damage.
func TestReadWithoutWriting(t *testing.T) {
	dir := openDir(t)
	now := time.Now()
	tr := opened(t, dir, &now)
	for _, e := range newCrawl(1).events(5, 3, now.Add(-time.Hour), 10*time.Minute) {
		tr.Add(e)
	}
	flush(t, tr, 7)
	chmod := func(dir string, mode, files os.FileMode) {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.Chmod(name, files); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	killed := filepath.Join(openDir(t), "killed")
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(openDir(t), "torn") // a copy without the file that a reader cannot make
	if err := os.CopyFS(torn, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(torn, File+"-shm")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, killed, torn} {
		chmod(d, 0o555, 0o444)
		t.Cleanup(func() { chmod(d, 0o755, 0o644) })
	}
	asOther(t, func() {
		if _, err := os.Stat(dir); err != nil {
			t.Skipf("other users cannot enter the directory of tests: %v", err)
		}
		for name, d := range map[string]string{"running": dir, "killed": killed} {
			if s, err := Read(t.Context(), d); err != nil || len(s.peers) == 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := Read(t.Context(), torn); errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "run the command as the user that writes there") {
			t.Errorf("torn: %v", err)
		}
	})
	chmod(dir, 0o755, 0o644)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	chmod(dir, 0o555, 0o444)
	asOther(t, func() {
		if s, err := Read(t.Context(), dir); err != nil || len(s.peers) == 0 {
			t.Errorf("stopped: %v", err)
		}
	})
	chmod(dir, 0o555, 0)
	asOther(t, func() {
		if _, err := Read(t.Context(), dir); errors.Is(err, ErrDamaged) || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a file that may not be read: %v", err)
		}
	})
}

// openDir is a directory that others may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// asOther calls f as a user that may not write everything, as root may.
func asOther(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	runtime.LockOSThread() // only its file system user is changed
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setfsuid(0); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}
