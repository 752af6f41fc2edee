package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed files
var embedded embed.FS

// Policy lets the page load its own files and ask its own server, and nothing else.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// forever is for files that have the hash of their content in their name.
const forever = "public, max-age=31536000, immutable"

const (
	index      = "index.html"
	assets     = "assets/"
	compressed = ".gz"
)

// File is one file of the page.
type File struct {
	Name string // such as assets/index-1a2b3c.js
	gzip []byte
	etag string
}

// Open is the content of the file.
func (f File) Open() ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(f.gzip))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return io.ReadAll(r)
}

// Files are all files of the page.
func Files() []File {
	var list []File
	err := fs.WalkDir(embedded, "files", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		name = strings.TrimSuffix(strings.TrimPrefix(name, "files/"), compressed)
		list = append(list, File{Name: name, gzip: b, etag: hex.EncodeToString(sum[:8])})
		return nil
	})
	if err != nil {
		panic(err) // of files in the program
	}
	return list
}

// Handler serves the page at / and its files at /assets/, and leaves other paths to missing.
func Handler(missing http.Handler) http.Handler {
	byPath := map[string]File{}
	for _, f := range Files() {
		byPath["/"+f.Name] = f
	}
	byPath["/"] = byPath["/"+index]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := byPath[r.URL.Path]
		if !ok {
			missing.ServeHTTP(w, r)
			return
		}
		f.serve(w, r)
	})
}

func (f File) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(f.Name, assets) {
		h.Set("Cache-Control", forever)
	}
	h.Set("Content-Type", contentType(f.Name))
	h.Set("Vary", "Accept-Encoding")
	tag, body := f.etag, f.gzip
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		tag += "-gzip"
	} else {
		var err error
		if body, err = f.Open(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	tag = strconv.Quote(tag)
	h.Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body) //nolint:errcheck // the client has gone
	}
}

// contentType does not depend on the machine's tables for what the page has.
func contentType(name string) string {
	switch ext := path.Ext(name); ext {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".json":
		return "application/json"
	case ".svg":
		return "image/svg+xml"
	default:
		return mime.TypeByExtension(ext)
	}
}

// acceptsGzip reports whether a header of accepted encodings allows gzip.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name = strings.TrimSpace(name); name != "gzip" && name != "*" {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
		return weight == "" || err != nil || q > 0
	}
	return false
}
