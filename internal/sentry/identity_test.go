package sentry

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentityStaysAndBootsCount(t *testing.T) {
	dir := t.TempDir()
	var first Identity
	for boot := uint64(1); boot <= 3; boot++ {
		id, err := LoadIdentity(dir)
		if err != nil {
			t.Fatal(err)
		}
		if boot == 1 {
			first = id
		}
		if id.Boot != boot || id.ID != first.ID || !bytes.Equal(id.Key, first.Key) {
			t.Errorf("boot %d: %+v, first was %+v", boot, id, first)
		}
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
