package api

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
)

// benchServer has VALTRACK_BENCH_NODES nodes, 10,000 unless that is set.
func benchServer(b *testing.B) *testServer {
	b.Helper()
	nodes, err := strconv.Atoi(os.Getenv("VALTRACK_BENCH_NODES"))
	if err != nil {
		nodes = 10_000
	}
	return newTestServer(b, nodes)
}

// discard takes an answer.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return io.Discard.Write(b) }
func (d discard) WriteHeader(int)             {}

func BenchmarkAnswers(b *testing.B) {
	s := benchServer(b)
	for _, path := range []string{
		"/api/v1/summary", "/api/v1/nodes?limit=100", "/api/v1/nodes?limit=100&client=lighthouse&sort=-validators", "/api/v1/nodes?limit=100&q=16Uiu2HAm00000",
		"/api/v1/nodes/" + testPeer(77), "/api/v1/clients", "/api/v1/nodes?format=ndjson", "/api/v1/nodes?format=csv", "/validators",
	} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				s.handler.ServeHTTP(discard{http.Header{}}, r)
			}
		})
	}
}

// BenchmarkView builds a view with four orders in use.
func BenchmarkView(b *testing.B) {
	s := benchServer(b)
	last := s.views.current.Load()
	for _, sort := range []string{"id", "-validators", "client", "-last_seen"} {
		if rec := s.get(fmt.Sprintf("/api/v1/nodes?limit=1&sort=%s", sort), false); rec.Code != http.StatusOK {
			b.Fatal(rec.Body)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		newView(&s.src, last.state, last)
	}
}
