package diskio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

func TestReplaceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	for _, content := range []string{"first\n", "second, and longer\n", ""} {
		if err := ReplaceFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("got %q, %v; want %q", got, err, content)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary file is still there: %v", err)
	}
}

// A replacement that fails leaves what was there, and nothing else.
func TestReplaceFileFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := os.MkdirAll(filepath.Join(path, "a directory cannot be replaced"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := ReplaceFile(path, []byte("x"), 0o644)
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v; want the directory alone", entries, err)
	}
}

// A sentry and a consumer that start together write one file of their directory: each succeeds, and
// what stays is what one of them wrote. A killed process may have left a temporary file.
func TestReplaceFileOfTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path+".tmp", []byte(strings.Repeat("left by a killed process ", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	contents := []string{"short", strings.Repeat("long ", 1000)}
	var g errgroup.Group
	for _, content := range contents {
		g.Go(func() error {
			for range 50 {
				if err := ReplaceFile(path, []byte(content), 0o644); err != nil {
					return err
				}
				if got, err := os.ReadFile(path); err != nil || !slices.Contains(contents, string(got)) {
					return fmt.Errorf("read %d bytes, %w", len(got), err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary file is still there: %v", err)
	}
}

func TestSyncDirMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	if err := SyncDir(dir); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want that %s does not exist", err, dir)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dataset.lock")
	if err := CheckLock(path); err != nil {
		t.Errorf("a missing file counts as locked: %v", err)
	}
	l, err := TakeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = TakeLock(path)
	for name, err := range map[string]error{"TakeLock": err, "CheckLock": CheckLock(path)} {
		var held *LockedError
		if !errors.As(err, &held) || held.PID != os.Getpid() || held.Path != path {
			t.Errorf("%s: got %v, want that process %d holds %s", name, err, os.Getpid(), path)
		}
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := CheckLock(path); err != nil {
		t.Errorf("locked after Close: %v", err)
	}
	again, err := TakeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestLockOfADirectoryThatHasGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run[1]")
	path := filepath.Join(dir, "dataset.lock")
	for name, lose := range map[string]func() error{
		"removed":  func() error { return os.RemoveAll(dir) },
		"moved":    func() error { return os.Rename(dir, dir+" moved") },
		"replaced": func() error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o644)) },
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := TakeLock(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Check(); err != nil {
			t.Errorf("%s: before that: %v", name, err)
		}
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		if err := l.Check(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one that names %s", name, err, path)
		}
		l.Close()
		if err := l.Check(); err != nil {
			t.Errorf("%s: after Close: %v", name, err)
		}
	}
}

func TestLockUnwritable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "x.lock")
	if _, err := TakeLock(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func readAll(text string, limit int) (lines []Line) {
	for l := NewLineReader(strings.NewReader(text), limit); l.Next(); {
		line := l.Line()
		line.Text = slices.Clone(line.Text)
		lines = append(lines, line)
	}
	return lines
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 200_000) // beyond any buffer
	for name, c := range map[string]struct {
		text  string
		limit int
		want  []Line
	}{
		"empty":    {"", 10, nil},
		"whole":    {"a\n\nbc\n", 10, []Line{{1, []byte("a"), 2, false, false}, {2, []byte{}, 1, false, false}, {3, []byte("bc"), 3, false, false}}},
		"torn":     {"a\nbc", 10, []Line{{1, []byte("a"), 2, false, false}, {2, []byte("bc"), 2, false, true}}},
		"at limit": {"abc\nabcd\n", 3, []Line{{1, []byte("abc"), 4, false, false}, {2, []byte("abc"), 5, true, false}}},
		"long":     {long + "\nb\n", 3, []Line{{1, []byte("xxx"), 200_001, true, false}, {2, []byte("b"), 2, false, false}}},
		"long end": {long, 3, []Line{{1, []byte("xxx"), 200_000, true, true}}},
	} {
		got := readAll(c.text, c.limit)
		if !slices.EqualFunc(got, c.want, func(a, b Line) bool {
			return string(a.Text) == string(b.Text) && a.Number == b.Number && a.Size == b.Size && a.TooLong == b.TooLong && a.Torn == b.Torn
		}) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

// brokenReader fails after some lines.
type brokenReader struct{ text string }

var errBroken = errors.New("broken disk")

func (b *brokenReader) Read(p []byte) (int, error) {
	if b.text == "" {
		return 0, errBroken
	}
	n := copy(p, b.text)
	b.text = b.text[n:]
	return n, nil
}

func TestLinesUnreadable(t *testing.T) {
	l := NewLineReader(&brokenReader{"a\nhalf a line"}, 100)
	if !l.Next() || string(l.Line().Text) != "a" {
		t.Fatalf("got %+v", l.Line())
	}
	if l.Next() || !errors.Is(l.Err(), errBroken) {
		t.Errorf("got %+v, %v; want the read error", l.Line(), l.Err())
	}
}

func FuzzLines(f *testing.F) {
	f.Add("a\nb", 1)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit &= 0xff
		size := int64(0)
		for i, line := range readAll(text, limit) {
			size += line.Size
			if line.Number != i+1 || len(line.Text) > limit || strings.ContainsRune(string(line.Text), '\n') {
				t.Fatalf("line %+v", line)
			}
		}
		if size != int64(len(text)) {
			t.Fatalf("%d bytes in lines, %d in the file", size, len(text))
		}
	})
}

func TestFree(t *testing.T) {
	if free, err := Free(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("%d bytes, %v", free, err)
	}
	if _, err := Free(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}
