package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A power cut may leave NUL bytes in a state file: every reader takes them for nothing.
func TestStateFilesWithNULBytes(t *testing.T) {
	for content, durable := range map[string]string{
		"":                           "",
		"\x00\x00\x00":               "",
		"0123456789abcdef\n":         "consumer-0123456789abcdef",
		"0123456789abcdef\n\x00\x00": "consumer-0123456789abcdef",
		"\x00 \n":                    "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, consumerIDFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := KnownDurable("", dir); got != durable {
			t.Errorf("%q: known durable %q, want %q", content, got, durable)
		}
		if id, err := storedConsumerID(dir); err != nil || id != strings.TrimPrefix(durable, durablePrefix) {
			t.Errorf("%q: stored id %q, %v", content, id, err)
		}
	}
	for content, name := range map[string]string{"\x00\x00": "", "{\"name\":\"hoodi\"}\n\x00\x00\x00": "hoodi"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, networkFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if o, ok, err := readOwner(dir); err != nil || ok != (name != "") || o.Name != name {
			t.Errorf("%q: owner %+v, %v, %v", content, o, ok, err)
		}
	}
}
