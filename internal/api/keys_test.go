package api

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	full, fullLine, err := NewKey("ops", ScopeFull)
	if err != nil {
		t.Fatal(err)
	}
	public, publicLine, _ := NewKey("site", ScopePublic)
	revoked, revokedLine, _ := NewKey("old", ScopeFull)
	path := filepath.Join(t.TempDir(), "keys")
	write := func(lines ...string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# keys", fullLine, "", publicLine, revokedLine+" revoked")
	var warned []error
	ring, err := openKeys(path, func(err error) { warned = append(warned, err) })
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name string, values ...string) (caller, *problem) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for _, v := range values {
			r.Header.Add(name, v)
		}
		return ring.caller(r)
	}
	for _, c := range []struct {
		name, header, value string
		want                caller
		refused             string
	}{
		{"none", "Accept", "x", caller{}, ""},
		{"full", "X-API-Key", full, caller{"ops", true}, ""},
		{"bearer", "Authorization", "bearer " + full, caller{"ops", true}, ""},
		{"public", "X-API-Key", public, caller{"site", false}, ""},
		{"revoked", "X-API-Key", revoked, caller{}, "was revoked"},
		{"wrong", "X-API-Key", full + "x", caller{}, "unknown key"},
		{"the hash itself", "X-API-Key", strings.Fields(fullLine)[0], caller{}, "unknown key"},
		{"empty", "X-API-Key", "", caller{}, "empty"},
		{"huge", "X-API-Key", strings.Repeat("k", 10_000), caller{}, "longer"},
		{"binary", "X-API-Key", "\x00\xff\xfe", caller{}, "unknown key"},
		{"basic", "Authorization", "Basic eDp5", caller{}, "want Bearer"},
		{"empty bearer", "Authorization", "Bearer ", caller{}, "empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, p := ask(c.header, c.value)
			if got != c.want || (p == nil) != (c.refused == "") || p != nil && (p.Status != 401 || !strings.Contains(p.Detail, c.refused)) {
				t.Errorf("got %+v, %+v", got, p)
			}
		})
	}

	write(publicLine) // the key ops is gone
	ring.look()
	ring.look()
	if _, p := ask("X-API-Key", full); p == nil {
		t.Error("a key that was removed is still valid")
	}
	write("nonsense")
	for range 3 {
		ring.look()
	}
	if got, p := ask("X-API-Key", public); p != nil || got.name != "site" {
		t.Errorf("a mistake in the file: %+v, %v", got, p)
	}
	if len(warned) != 2 || warned[0] != nil || warned[1] == nil || !strings.Contains(warned[1].Error(), "line 1") {
		t.Errorf("warned %v", warned)
	}
	os.Remove(path)
	ring.look()
	ring.look()
	if _, p := ask("X-API-Key", public); p != nil {
		t.Error("a file that is away for a moment locks everybody out")
	}
}

func TestKeysFilesThatAreRefused(t *testing.T) {
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte("k")))
	for text, want := range map[string]string{
		hash:                                   "line 1: ",
		"zz name":                              `"zz": want the SHA-256`,
		hash[:62] + " name":                    "want the SHA-256",
		"\n" + hash + " a admin":               `line 2: "admin" of key "a"`,
		hash + " a\n" + hash + " b":            `"b" is that of "a"`,
		strings.Repeat("# x\n", keysFileMax/4): "",
		strings.Repeat("#", keysFileMax+1):     "larger than",
	} {
		_, err := parseKeys(strings.NewReader(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

// A path that is no file is refused at once, and not waited for.
func TestKeysOfNoFile(t *testing.T) {
	for _, path := range []string{t.TempDir(), os.DevNull, filepath.Join(t.TempDir(), "missing")} {
		if _, err := openKeys(path, func(error) {}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	_, line, _ := NewKey("ops", ScopeFull)
	f.Add(line + "\n# x\n" + line[:10])
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parseKeys(strings.NewReader(text))
		for _, k := range keys {
			if err != nil || k.name == "" || k.scope != ScopeFull && k.scope != ScopePublic {
				t.Fatalf("%+v, %v", k, err)
			}
		}
	})
}
