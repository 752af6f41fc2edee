package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// A data directory that its user may not enter is not one without datasets.
func TestDataDirectoryOfAnotherUser(t *testing.T) {
	for name, mode := range map[string]os.FileMode{"nothing": 0, "names only": 0o444} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "metadata_events.parquet"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(dir, 0o755) })
		for _, command := range []string{"report", "check data", "export nodes --out -", "rebuild"} {
			var out, log bytes.Buffer
			args := append([]string{"valtrack"}, strings.Fields(command)...)
			err := asNobody(t, func() error { return Main(t.Context(), append(args, "--data-dir", dir), &out, &log) })
			if ExitCode(err) != exitUsage || !strings.Contains(err.Error(), "permission denied; run the command as the user that writes there, as in 'runuser -u valtrack -- valtrack ") {
				t.Errorf("%s: %s: %v\n%s", name, command, err, &out)
			}
		}
	}
}

// asNobody calls f, on this thread, as a user whom permissions bind, unlike root.
func asNobody(t *testing.T, f func() error) error {
	t.Helper()
	if os.Geteuid() == 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		const nobody = 65534
		if err := syscall.Setfsuid(nobody); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := syscall.Setfsuid(0); err != nil {
				t.Fatal(err)
			}
		}()
	}
	return f()
}
