package sentry

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T, dir string) Identity {
	t.Helper()
	id, err := LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestIdentityStaysAndBootsGrow(t *testing.T) {
	dir := t.TempDir()
	first := load(t, dir)
	last := first.Boot
	for range 3 {
		id := load(t, dir)
		if id.Boot <= last || id.ID != first.ID || !bytes.Equal(id.Key, first.Key) {
			t.Errorf("%+v, first was %+v, the last boot %d", id, first, last)
		}
		last = id.Boot
	}
	if len(first.Key) != 32 || first.ID == "" {
		t.Errorf("identity %+v", first)
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file mode %v, error %v", info.Mode(), err)
	}
	if other, err := LoadIdentity(t.TempDir()); err != nil || other.ID == first.ID || bytes.Equal(other.Key, first.Key) {
		t.Errorf("another directory gave the same identity, or error %v", err)
	}
}

// The ends of the newest boots are kept over restarts, each once.
func TestBootEndsAreRemembered(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for boot := range 20 {
		load(t, dir)
		end := fmt.Sprintf("s-%d-%d", boot+1, 10*boot+1)
		want = append(want, end)
		want = want[max(0, len(want)-maxBootEnds):]
		for _, key := range []string{"", end, end} { // a start without any, and starts without events after it
			got, err := RememberBootEnd(dir, key)
			if err != nil {
				t.Fatal(err)
			}
			if key != "" && !slices.Equal(got, want) {
				t.Errorf("boot %d: %v, want %v", boot, got, want)
			}
		}
	}
	s := &Sentry{cfg: Config{EarlierBootEnds: want}}
	told := map[string]int{}
	for range 2 * maxBootEnds {
		told[s.earlierBootEnd()]++
	}
	for _, end := range want {
		if told[end] != 2 {
			t.Errorf("%s is told %d times in %d events", end, told[end], 2*maxBootEnds)
		}
	}
	if (&Sentry{}).earlierBootEnd() != "" {
		t.Error("an end that nobody knows")
	}
}

// A restored backup, and a second sentry that starts with a copy of the directory.
func TestCopiesOfAnIdentityShareNoBoot(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	load(t, dir)
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	used := map[uint64]bool{}
	for range 5 {
		for _, d := range []string{dir, other} {
			id := load(t, d)
			if used[id.Boot] {
				t.Errorf("boot %d comes twice", id.Boot)
			}
			used[id.Boot] = true
		}
		backup, err := os.ReadFile(filepath.Join(other, identityFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, identityFile), backup, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Two starts from one stored boot within a millisecond, the clock right or behind.
func TestNextBoot(t *testing.T) {
	now := time.UnixMilli(1763800000000)
	for _, tt := range []struct {
		stored uint64
		now    time.Time
		from   uint64
	}{
		{0, now, 1763800000000 << bootBits},
		{7, now, 1763800000000 << bootBits},
		{1763800000000<<bootBits + 5, now, 1763800000000<<bootBits + 5},
		{1763800000000<<bootBits + 5, time.Unix(-1, 0), 1763800000000<<bootBits + 5},
	} {
		a, b := nextBoot(tt.stored, tt.now), nextBoot(tt.stored, tt.now)
		if a == b || min(a, b) <= tt.from || max(a, b) > tt.from+1<<bootBits {
			t.Errorf("after %d at %v: %d and %d, want two of the %d after %d", tt.stored, tt.now, a, b, 1<<bootBits, tt.from)
		}
	}
}

func TestDamagedIdentityIsAnErrorAndStays(t *testing.T) {
	tests := []struct{ name, file, content string }{
		{"short key", keyFile, "abcd\n"},
		{"no hex", keyFile, strings.Repeat("zz", 32)},
		{"zero key", keyFile, strings.Repeat("00", 32)},
		{"key above the order", keyFile, strings.Repeat("ff", 32)},
		{"empty key", keyFile, ""},
		{"no json", identityFile, "{"},
		{"no id", identityFile, `{"boot": 3}`},
		{"empty", identityFile, ""},
		{"boot beyond all", identityFile, `{"sentry_id": "A", "boot": 18446744073709551615}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, tt.file)
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadIdentity(dir)
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v does not name %s", err, path)
			}
			if after, _ := os.ReadFile(path); string(after) != tt.content {
				t.Errorf("the file became %q", after)
			}
		})
	}
}

func TestIdentityNeedsADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	if _, err := LoadIdentity(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v does not name %s", err, dir)
	}
}
