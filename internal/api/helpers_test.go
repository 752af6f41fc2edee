package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chainbound/valtrack/internal/tracker"
)

func noState() *tracker.State { return nil }

func gunzip(t testing.TB, data []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pipeWriter passes on what a handler writes while it runs.
type pipeWriter struct {
	header http.Header
	reader *io.PipeReader
	writer *io.PipeWriter
}

func newPipeRequest(ctx context.Context, lastID string) (*http.Request, *pipeWriter) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/events", nil)
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	w := &pipeWriter{header: http.Header{}}
	w.reader, w.writer = io.Pipe()
	return r, w
}

func (p *pipeWriter) Header() http.Header         { return p.header }
func (p *pipeWriter) Write(b []byte) (int, error) { return p.writer.Write(b) }
func (p *pipeWriter) WriteHeader(int)             {}
func (p *pipeWriter) FlushError() error           { return nil }
func (p *pipeWriter) Flush()                      {}
func (p *pipeWriter) close()                      { p.writer.Close() }

// endless writes until it cannot.
func (s *Server) endless(_ context.Context, w io.Writer) error {
	for {
		if _, err := w.Write([]byte("x")); err != nil {
			return err
		}
	}
}
