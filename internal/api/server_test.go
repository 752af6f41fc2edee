package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/chainbound/valtrack/internal/dataset"
)

// listening runs a server at an address until the test ends.
func listening(t *testing.T, cfg Config) (*testServer, string) {
	t.Helper()
	c := newTestCrawl(t)
	c.crawl(0, 60, time.Now().Add(-time.Hour))
	s := boundServer(t, c, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, c.sources()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if cfg.Certificate != "" {
		return s, s.Addr()
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if resp, _ := get(t, "http://"+s.Addr()+"/api/v1/summary", nil); resp.StatusCode == http.StatusOK {
			return s, s.Addr()
		}
		if time.Now().After(deadline) {
			t.Fatal("no view")
		}
	}
}

// got is an answer that was read.
type got struct {
	StatusCode int
	Header     http.Header
}

func get(t testing.TB, url string, header http.Header) (got, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got{resp.StatusCode, resp.Header}, body
}

func TestCompression(t *testing.T) {
	_, addr := listening(t, Config{})
	for _, path := range []string{"/api/v1/nodes", "/api/v1/nodes?format=csv", "/openapi.json"} {
		_, plain := get(t, "http://"+addr+path, nil)
		resp, gzipped := get(t, "http://"+addr+path, http.Header{"Accept-Encoding": {"gzip"}})
		if resp.Header.Get("Content-Encoding") != "gzip" || len(gzipped) >= len(plain) || path == "/openapi.json" && gunzip(t, gzipped) != string(plain) {
			t.Errorf("%s: gzip: %d of %d bytes, %v", path, len(gzipped), len(plain), resp.Header)
		}
		resp, small := get(t, "http://"+addr+path, http.Header{"Accept-Encoding": {"zstd"}})
		r, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := r.DecodeAll(small, nil)
		r.Close()
		if err != nil || resp.Header.Get("Content-Encoding") != "zstd" || path == "/openapi.json" && !bytes.Equal(text, plain) {
			t.Errorf("%s: zstd: %v, %v", path, err, resp.Header)
		}
	}
}

// A file of a dataset is served whole and in ranges, exactly as it is on disk.
func TestRangesOfAPart(t *testing.T) {
	s, addr := listening(t, Config{})
	url := "http://" + addr + "/api/v1/datasets/metadata_events/part-00000000.parquet"
	want, err := os.ReadFile(filepath.Join(dataset.Dir(s.crawl.dir, dataset.Metadata), "part-00000000.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	key := func(name, value string) http.Header {
		return http.Header{"X-Api-Key": {s.key}, name: {value}}
	}
	if resp, body := get(t, url, key("Accept", "*/*")); resp.StatusCode != http.StatusOK || !bytes.Equal(body, want) {
		t.Errorf("whole: %d, %d of %d bytes", resp.StatusCode, len(body), len(want))
	}
	if resp, body := get(t, url, key("Range", "bytes=4-99")); resp.StatusCode != http.StatusPartialContent || !bytes.Equal(body, want[4:100]) {
		t.Errorf("range: %d, %d bytes", resp.StatusCode, len(body))
	}
	if resp, _ := get(t, url, key("Range", "bytes=99999999-")); resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("beyond the end: %d", resp.StatusCode)
	}
	for _, name := range []string{"..%2f..%2ftracker.db", "part-00000000.parquet%00", "part-99999999.parquet"} {
		if resp, body := get(t, "http://"+addr+"/api/v1/datasets/metadata_events/"+name, key("Accept", "*/*")); resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %.100s", name, resp.StatusCode, body)
		}
	}
}

// A stream begins with the summary, and has one for each view, with what changed.
func TestEventStream(t *testing.T) {
	s, addr := listening(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	next := func() string {
		for lines.Scan() {
			if lines.Text() != "" {
				return lines.Text()
			}
		}
		t.Fatal("the stream has ended")
		return ""
	}
	if got := next(); resp.Header.Get("Content-Type") != typeEvents || got != "event: summary" {
		t.Fatalf("%v: %s", resp.Header, got)
	}
	next()
	s.crawl.visit(0, time.Now(), "45.9.9.9", "Lighthouse/v9.0.0/x86_64-linux") // another address and release
	s.crawl.commit()
	var kinds []string
	for len(kinds) < 3 {
		line := next()
		t.Logf("%.80s", line)
		switch {
		case strings.HasPrefix(line, "event: "):
			kinds = append(kinds, line[7:])
		case strings.Contains(line, "45.9"):
			t.Errorf("an address without a key: %s", line)
		}
	}
	if got := strings.Join(kinds, " "); got != "summary change change" {
		t.Errorf("events %s", got)
	}
	_, body := get(t, "http://"+addr+"/api/v1/changes", http.Header{"X-Api-Key": {s.key}})
	var all struct{ Data []map[string]any }
	if err := json.Unmarshal(body, &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range all.Data {
		if c["kind"] == "moved" && (c["from"] != "45.1.0.0" || c["to"] != "45.9.9.9") || c["kind"] == "upgraded" && (c["from"] != "8.0.1" || c["to"] != "9.0.0") {
			t.Errorf("%v", c)
		}
	}
	if len(all.Data) != 2 {
		t.Errorf("changes %v", all.Data)
	}
}

// Streams beyond the bound are refused with the time to wait; those that end make room.
func TestStreamsAreBounded(t *testing.T) {
	s := newTestServer(t, 10)
	s.limits.streams = newSlots("event streams", 1, 1, 0)
	take(t, s.limits.streams, 1)
	if rec := s.get("/api/v1/events", false); rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	take(t, s.limits.exports, maxExports)
	if rec := s.get("/api/v1/nodes?format=csv", false); rec.Code != 503 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := s.get("/api/v1/nodes", false); rec.Code != 200 {
		t.Errorf("pages during exports: %d", rec.Code)
	}
}

// take takes slots for clients of as many networks.
func take(t *testing.T, s *slots, n int) {
	t.Helper()
	for i := range n {
		if _, p := s.acquire(t.Context(), client{addr: netip.AddrFrom4([4]byte{198, 51, byte(i), 1})}); p != nil {
			t.Fatal(p)
		}
	}
}

// Clients that go away in the middle of an export, or never read, leave nothing behind.
func TestClientsThatGoAway(t *testing.T) {
	s, addr := listening(t, Config{})
	before := runtime.NumGoroutine()
	for i := range 100 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		path := []string{"/api/v1/nodes?format=ndjson", "/api/v1/events", "/api/v1/nodes?format=parquet", "/api/v1/datasets/metadata_events"}[i%4]
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\n\r\n", path, s.key)
		if i%2 == 0 {
			conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			io.CopyN(io.Discard, conn, 10)
		}
		conn.Close()
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		busy := s.limits.exports.inUse() + s.limits.reads.inUse() + s.limits.streams.inUse()
		if now := runtime.NumGoroutine(); busy == 0 && now <= before+5 {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%d slots in use, %d goroutines, %d before", busy, now, before)
		}
	}
}

func TestHugeHeader(t *testing.T) {
	_, addr := listening(t, Config{})
	resp, _ := get(t, "http://"+addr+"/api/v1/summary", http.Header{"X-Api-Key": {strings.Repeat("k", 100_000)}})
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d", resp.StatusCode)
	}
}

// One address, an IPv6 /64 or a key has its rate; others are not affected.
func TestRateLimits(t *testing.T) {
	l := newLimits(2)
	count := func(key, addr string) (n int) {
		for l.allow(client{key, netip.MustParseAddr(addr)}) == nil {
			if n++; n > 1000 {
				t.Fatal("no limit")
			}
		}
		return n
	}
	if n := count("", "192.0.2.1"); n != 2*burstSeconds {
		t.Errorf("%d requests of an address", n)
	}
	if n := count("ops", "192.0.2.1"); n != 2*keyFactor*burstSeconds {
		t.Errorf("%d requests with a key", n)
	}
	count("", "2001:db8::1")
	if n := count("", "2001:db8::2"); n > 1 {
		t.Errorf("%d requests of the same /64", n)
	}
	if n := count("", "192.0.2.2"); n != 2*burstSeconds {
		t.Errorf("%d requests of another address", n)
	}
	if p := l.allow(client{addr: netip.MustParseAddr("192.0.2.1")}); p.Status != 429 || p.retryAfter < 1 {
		t.Errorf("%+v", p)
	}
	if newLimits(0).allow(client{}) != nil {
		t.Error("0 is a limit")
	}
}

// X-Forwarded-For is believed of trusted proxies alone, from the right.
func TestClientAddr(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		peer, forwarded, want string
	}{
		{"192.0.2.1:5", "198.51.100.1", "192.0.2.1"},
		{"10.0.0.1:5", "198.51.100.1", "198.51.100.1"},
		{"10.0.0.1:5", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"},
		{"[::ffff:10.0.0.1]:5", "198.51.100.1", "198.51.100.1"},
		{"10.0.0.1:5", "nonsense", "10.0.0.1"},
		{"10.0.0.1:5", "", "10.0.0.1"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": {c.forwarded}}}
		if got := clientAddr(r, proxies); got.String() != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestOrigins(t *testing.T) {
	c := newTestCrawl(t)
	s := serverOf(t, c, c.sources(), Config{Origins: []string{"https://a.example"}})
	for origin, want := range map[string]string{"https://a.example": "https://a.example", "https://b.example": "", "": ""} {
		rec := s.ask(http.MethodGet, "/api/v1/summary", http.Header{"Origin": {origin}})
		if got := rec.Header().Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: %q", origin, got)
		}
		if rec := s.ask(http.MethodOptions, "/api/v1/summary", http.Header{"Origin": {origin}}); rec.Code != 204 || rec.Header().Get("Access-Control-Allow-Origin") != want {
			t.Errorf("before a request of %s: %d %v", origin, rec.Code, rec.Header())
		}
	}
	s = serverOf(t, c, c.sources(), Config{})
	if rec := s.ask(http.MethodGet, "/api/v1/summary", http.Header{"Origin": {"https://a.example"}}); rec.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("allowed by default")
	}
}

func TestMethods(t *testing.T) {
	s := newTestServer(t, 10)
	if rec := s.ask(http.MethodPost, "/api/v1/summary", http.Header{}); rec.Code != 405 || rec.Header().Get("Allow") == "" {
		t.Errorf("POST: %d", rec.Code)
	}
	for _, path := range []string{"/api/v1/summary", "/api/v1/nodes?format=csv", "/api/v1/events", "/api/v1/snapshot"} {
		if rec := s.ask(http.MethodHead, path, http.Header{}); rec.Code != 200 {
			t.Errorf("HEAD %s: %d", path, rec.Code)
		}
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	pool := writeCertificate(t, cert, key, 1)
	_, addr := listening(t, Config{Certificate: cert, Key: key})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	resp, err := client.Get("https://" + addr + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, err := Listen(Config{Address: "127.0.0.1:0", Certificate: key, Key: cert, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("files that are no certificate: %v", err)
	}
}
