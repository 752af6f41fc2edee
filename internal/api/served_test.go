package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/tracker"
)

// lines are what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) has(all ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		n := 0
		for _, text := range all {
			if strings.Contains(line, text) {
				n++
			}
		}
		if n == len(all) {
			return true
		}
	}
	return false
}

// brokenWriter fails after so many bytes, as a connection does whose client has gone.
type brokenWriter struct {
	header http.Header
	left   int
}

func (b *brokenWriter) Header() http.Header { return b.header }
func (b *brokenWriter) WriteHeader(int)     {}
func (b *brokenWriter) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

// Answers that the client does not take, and those that fail, are counted and logged as such, and their
// slots are free again.
func TestAbortedAnswersAreCounted(t *testing.T) {
	s := newTestServer(t, 60)
	log := &lines{}
	s.cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ask := func(path string) (panicked any) {
		defer func() { panicked = recover() }()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("X-API-Key", s.key)
		s.handler.ServeHTTP(&brokenWriter{http.Header{}, 100}, r)
		return nil
	}
	for i, path := range []string{"/api/v1/nodes", "/api/v1/nodes?format=ndjson", "/validators", "/api/v1/datasets/metadata_events", "/api/v1/nodes?format=parquet"} {
		if p := ask(path); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
			t.Errorf("%s: %v", path, p)
		}
		if n := s.stats.snapshot().answers["aborted"]; n != uint64(i+1) || !log.has("path="+strings.Split(path, "?")[0], "aborted=true") {
			t.Errorf("%s: %d counted", path, n)
		}
	}
	if s.limits.exports.inUse()+s.limits.reads.inUse() != 0 {
		t.Error("slots are in use")
	}
	s.src.Ready = func() error { panic(errors.New("a mistake")) }
	if p := ask("/readyz"); p != http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
		t.Errorf("a mistake in a handler: %v", p)
	}
	if !log.has("a mistake", "level=ERROR", "path=/readyz", "served_test.go") || s.stats.snapshot().answers["aborted"] != 6 {
		t.Error("a mistake in a handler is not logged")
	}
}

// An export ends when its time is over, also for a client that reads a little at a time.
func TestExportsEnd(t *testing.T) {
	s := newTestServer(t, 60)
	a := answer{contentType: typeNDJSON, limit: 50 * time.Millisecond}
	a.stream = s.endless
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	began := time.Now()
	defer func() {
		if recover() != http.ErrAbortHandler || time.Since(began) > 10*time.Second { //nolint:errorlint // compared as net/http does
			t.Errorf("after %s", time.Since(began))
		}
	}()
	s.write(discard{http.Header{}}, r, a)
	t.Error("it has ended as if it were whole")
}

// The tracker of a half that was opened again is what is answered from, and its changes are found.
func TestAnotherTracker(t *testing.T) {
	first := newTestCrawl(t)
	now := time.Now()
	first.crawl(0, 20, now.Add(-3*time.Hour))
	current := first
	src := first.sources()
	src.State = func() *tracker.State { return current.tracker.State() }
	s := serverOf(t, first, src, Config{})
	_, cursor, _ := s.changed("")
	first.tracker.Close()
	second := newTestCrawl(t)
	second.crawl(0, 20, now.Add(-3*time.Hour))
	second.upgrade(0, 2, now.Add(-time.Hour), "v9.0.0")
	current = second
	s.views.update()
	if got := s.object("/api/v1/nodes/"+testPeer(0), false)["data"].(map[string]any)["client_release"]; got != "9.0.0" {
		t.Errorf("version %v", got)
	}
	if rows, _, _ := s.changed("?after=" + cursor); kinds(rows) != "moved moved upgraded upgraded" {
		t.Errorf("%q", fmt.Sprint(rows))
	}
}
