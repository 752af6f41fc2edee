package dashboard

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler(http.NotFoundHandler()).ServeHTTP(w, r)
	return w
}

// TestPageIsWhole: everything that the page names is there, compressed or not as the client
// wants it, and is cached.
func TestPageIsWhole(t *testing.T) {
	res := get(t, "/")
	page := res.Body.Bytes()
	if res.Code != http.StatusOK || res.Header().Get("Content-Encoding") != "" || !bytes.Contains(page, []byte("<title>Valtrack</title>")) {
		t.Fatalf("/ is %d, %q", res.Code, page)
	}
	names := regexp.MustCompile(`(?:src|href)="\./(assets/[^"]+)"`).FindAllSubmatch(page, -1)
	if len(names) < 3 {
		t.Fatalf("the page names %d files: %s", len(names), page)
	}
	for _, m := range names {
		name := "/" + string(m[1])
		plain, packed := get(t, name), get(t, name, "Accept-Encoding", "br, gzip")
		if packed.Header().Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s is not compressed", name)
		}
		r, err := gzip.NewReader(packed.Body)
		if err != nil {
			t.Fatal(err)
		}
		unpacked, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(unpacked, plain.Body.Bytes()) || len(unpacked) == 0 {
			t.Errorf("%s: compressed and plain differ (%v)", name, err)
		}
		if !strings.Contains(packed.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s is cached as %q", name, packed.Header().Get("Cache-Control"))
		}
		if plain.Header().Get("ETag") == packed.Header().Get("ETag") {
			t.Errorf("%s: one tag for two contents", name)
		}
		if again := get(t, name, "If-None-Match", plain.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s asked for again: %d", name, again.Code)
		}
	}
}

// TestPolicy: the page may load from its own server only, and has nothing inline.
func TestPolicy(t *testing.T) {
	res := get(t, "/")
	got := res.Header().Get("Content-Security-Policy")
	for _, bad := range []string{"unsafe", "*", "http:", "https:", "data:"} {
		if strings.Contains(got, bad) || !strings.HasPrefix(got, "default-src 'none';") {
			t.Errorf("policy %q", got)
		}
	}
	page := res.Body.Bytes()
	if m := regexp.MustCompile(`(?i)<script(>| [^>]*>[^<])|<style|\son\w+=|\sstyle=|(src|href)="(https?:)?//`).Find(page); m != nil {
		t.Errorf("the page has %q", m)
	}
}

// TestSize: what a visitor loads is at most 130 KB.
func TestSize(t *testing.T) {
	sum := 0
	for _, f := range Files() {
		sum += len(f.gzip)
	}
	if sum > 130_000 {
		t.Errorf("the page has %d bytes compressed", sum)
	}
}

func TestUnknownFiles(t *testing.T) {
	for _, path := range []string{"/assets/", "/assets/no.js", "/files/index.html.gz", "/index.html.gz", "/assets/../dashboard.go"} {
		if res := get(t, path); res.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, res.Code)
		}
	}
}

func TestAcceptsGzip(t *testing.T) {
	for header, want := range map[string]bool{"": false, "gzip": true, "br, gzip;q=0.5": true, "gzip;q=0": false, "*": true, "identity": false, "gzip; q=1": true} {
		if acceptsGzip(header) != want {
			t.Errorf("%q: %v", header, !want)
		}
	}
}
