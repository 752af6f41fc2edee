package dataset

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/diskio/diskiotest"
)

// A merge that the disk has no room for leaves the datasets as they were, takes no room
// and no file, and is made when there is room.
func TestCompactOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	switch err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); {
	case errors.Is(err, syscall.EPERM): // no root, or a container that may not
		t.Skipf("cannot mount a small disk: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	c := &clock{at: noon}
	w := openAt(t, dir, c)
	const n = 2000
	commitAll(t, w, 0, n)
	commitAll(t, w, n, n)
	c.advance(2 * time.Hour)

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, 8<<10) // for directories and the first bytes
	full := func() {
		if _, err := w.Compact(t.Context(), time.Hour); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("error %v, want no space left", err)
		}
	}
	full() // it may merge the table that has no rows
	handles, free := openHandles(t), room(t, dir)
	for range 3 {
		full()
	}
	if got := openHandles(t); got > handles {
		t.Errorf("%d files open, %d after the first try", got, handles)
	}
	if got := room(t, dir); got < free {
		t.Errorf("%d bytes free, %d after the first try", got, free)
	}
	everyTable(t, dir, upTo(2*n))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if m := compact(t, w); m.Into == 0 {
		t.Error("nothing was merged when there was room")
	}
	everyTable(t, dir, upTo(2*n))
}

// The disk has no room for the directory of damaged parts: the start may fail, the one that
// has room goes on.
func TestSetAsideOnAFullDisk(t *testing.T) {
	dir := diskiotest.Mount(t, "16m")
	w := open(t, dir)
	for i := range 4 {
		commitAll(t, w, 10*i, 10)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	parts := []string{single(2).path(dir, Metadata), single(2).path(dir, Visit)}
	for _, path := range parts {
		if err := os.WriteFile(path, []byte("PAR1 is all that is left"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ballast := filepath.Join(dir, "ballast")
	diskiotest.Fill(t, ballast)
	if w, err := Open(dir, discardLog()); err == nil {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	remove(t, ballast)
	w = open(t, dir)
	defer w.Close()
	commitAll(t, w, 40, 10)
	checkAside(t, dir, parts)
}

// A migration looks whether there is room before it writes: where there is none for any
// part it changes nothing and says what is needed, where there is some for one part after
// the other it replaces them so, and where there is enough all at once.
func TestMigrateWithLittleRoom(t *testing.T) {
	earlier := earlierDir(t)
	want := everyRow(t, earlier)
	table, err := lookup(ValidatorMetadata)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		leave    func(all, largest, growth int) int
		err      error
		replaced func(parts int) int // how often the table's directory is
	}{
		{"for no part", func(_, largest, growth int) int { return largest + growth - 16<<10 }, ErrNoRoom, func(int) int { return 0 }},
		{"for one after the other", func(all, _, _ int) int { return all - 8<<10 }, nil, func(parts int) int { return parts }},
		{"for all", func(all, _, _ int) int { return all + 64<<10 }, nil, func(int) int { return 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := diskiotest.Mount(t, "32m")
			if err := os.CopyFS(dir, os.DirFS(earlier)); err != nil {
				t.Fatal(err)
			}
			w := openAt(t, dir, &clock{noon.Add(2 * time.Hour)})
			defer w.Close()
			parts, err := w.olderParts(t.Context(), table)
			if err != nil || len(parts) < 3 {
				t.Fatalf("%d parts, %v", len(parts), err)
			}
			all, largest, growth := 0, 0, 0
			for _, p := range parts {
				info, err := os.Stat(p.path(dir, table.name))
				if err != nil {
					t.Fatal(err)
				}
				larger := int(info.Size())/8 + columnRoom
				all, largest, growth = all+int(info.Size())+larger, max(largest, int(info.Size())), growth+larger
			}
			exchanges := 0
			w.crash = func(step string) error {
				if step == "exchange "+ValidatorMetadata {
					exchanges++
				}
				return nil
			}
			ballast := filepath.Join(dir, "ballast")
			fill(t, ballast, c.leave(all, largest, growth))
			free := room(t, dir)
			_, err = w.Migrate(t.Context())
			if !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if want := c.replaced(len(parts)); exchanges != want {
				t.Errorf("the directory was replaced %d times, want %d", exchanges, want)
			}
			if err != nil {
				if !strings.Contains(err.Error(), Dir(dir, ValidatorMetadata)) || !strings.Contains(err.Error(), "MiB are needed") || room(t, dir) < free {
					t.Errorf("%v; %d bytes free, %d before", err, room(t, dir), free)
				}
				if uniform(t, dir, ValidatorMetadata) {
					t.Error("parts have places")
				}
				remove(t, ballast)
				if _, err := w.Migrate(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if !uniform(t, dir, ValidatorMetadata) || !uniform(t, dir, PeerEstimates) {
				t.Error("parts have no places")
			}
			if d := cmp.Diff(want, everyRow(t, dir)); d != "" {
				t.Errorf("rows (-before +after):\n%s", d)
			}
		})
	}
}

// fill writes a file that leaves so many bytes of its disk.
func fill(t *testing.T, path string, leave int) {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, room(t, filepath.Dir(path))-leave), 0o644); err != nil {
		t.Fatal(err)
	}
}

func room(t *testing.T, dir string) int {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int(s.Bavail) * int(s.Bsize)
}

func openHandles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
