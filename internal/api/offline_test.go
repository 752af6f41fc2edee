package api

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/site"
)

// TestSiteHasNoAddress: no file of a static site has an address, a record, or a host name.
func TestSiteHasNoAddress(t *testing.T) {
	c := newTestCrawl(t)
	c.crawl(0, 60, time.Now().Add(-time.Hour))
	c.crawl(0, 60, time.Now().Add(-time.Minute))
	c.tracker.Hour()
	src := c.sources()
	src.Own = func() bool { return false } // as of a directory that a consumer writes to
	handler, err := Handler(src, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "site")
	if _, err := site.Write(t.Context(), dir, site.Handler(handler), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(c.dir, ChangesFile)); err == nil {
		t.Error("the list of changes of the directory was written")
	}
	secret := regexp.MustCompile(`\b45\.\d+\.\d+\.\d+|/ip[46]/|enr:|"(ip|enr|multiaddr|hostname|port)"`)
	nodes := false
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.Contains(path, "/assets/") { // those are the same for all
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".gz") {
			if content, err = unzip(content); err != nil {
				return err
			}
		}
		nodes = nodes || bytes.Contains(content, []byte(testPeer(1)))
		if m := secret.Find(content); m != nil {
			t.Errorf("%s has %q", path, m)
		}
		if bytes.Contains(content, fmt.Appendf(nil, "%0200d", 1)) {
			t.Errorf("%s has a node record", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !nodes {
		t.Error("no file has the nodes")
	}
}

func unzip(content []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
