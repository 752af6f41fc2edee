package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// dialFrom opens a connection from one of the loopback addresses.
func dialFrom(t *testing.T, source, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 10 * time.Second}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// statusFrom is the status of a request from an address; 0 when there is no answer.
func statusFrom(t *testing.T, source, addr, path string) int {
	t.Helper()
	conn := dialFrom(t, source, addr)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0
	}
	return resp.StatusCode
}

// usage is what a process has.
type usage struct {
	goroutines, files int
	heap              uint64
}

func usageNow() (u usage) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	entries, _ := os.ReadDir("/proc/self/fd")
	return usage{runtime.NumGoroutine(), len(entries), m.HeapAlloc}
}

// Clients that open connections and are silent, begin a request and do not end it, read nothing, send
// huge headers or cancel exports get what they may have; others are served meanwhile, events are
// stored, and afterwards everything is as before. VALTRACK_ABUSE=1 (make abuse-api) has the whole
// numbers.
func TestAbuse(t *testing.T) {
	idle, cancelled, nodes := 400, 60, 60
	if os.Getenv("VALTRACK_ABUSE") != "" {
		idle, cancelled, nodes = 10_000, 1000, 10_000
	}
	s, addr := listening(t, Config{})
	s.crawl.crawl(0, nodes, time.Now().Add(-50*time.Minute))
	for range 3 {
		statusFrom(t, "127.0.0.1", addr, "/api/v1/nodes?format=ndjson")
	}
	store := func() time.Duration {
		began := time.Now()
		for i := range 100 {
			s.crawl.visit(i%50, began.Add(-time.Minute), fmt.Sprintf("45.1.0.%d", i%50), testAgents[i%len(testAgents)])
		}
		s.crawl.apply()
		return time.Since(began)
	}
	usual := max(store(), store())
	before := usageNow()
	phase := func(name string, during func()) {
		began := time.Now()
		during()
		if took := store(); took > 10*usual+2*time.Second {
			t.Errorf("%s: a commit took %s, %s before", name, took, usual)
		}
		if status := statusFrom(t, "127.0.0.77", addr, "/api/v1/summary"); status != http.StatusOK {
			t.Errorf("%s: another client got %d", name, status)
		}
		t.Logf("%s: %s", name, time.Since(began).Round(time.Millisecond))
	}
	var conns []net.Conn
	closeAll := func() {
		for _, conn := range conns {
			conn.Close()
		}
		conns = nil
	}
	phase("idle connections of one address and of many", func() {
		for i := range idle {
			source := "127.0.0.1"
			if i%2 == 1 {
				source = fmt.Sprintf("127.1.%d.%d", i/200%250, 1+i%200)
			}
			conns = append(conns, dialFrom(t, source, addr))
		}
	})
	if n := openConns(addr); n > maxConnections+50 || idle < maxConnections && n > idle/2+eachConnections+50 {
		t.Errorf("%d connections are open", n)
	}
	closeAll()
	phase("half requests", func() {
		for i := range 100 {
			conn := dialFrom(t, "127.0.0.2", addr)
			fmt.Fprint(conn, "GET /api/v1/summary HTTP/1.1\r\nHost: x\r\nX-Slow: "[:20+i%25])
			conns = append(conns, conn)
		}
	})
	phase("clients that read nothing", func() {
		for i := range 40 {
			conn := dialFrom(t, fmt.Sprintf("127.0.0.%d", 3+i%2), addr)
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", []string{"/api/v1/nodes?format=ndjson", "/api/v1/events", "/validators"}[i%3])
			conns = append(conns, conn)
		}
	})
	if n := s.limits.streams.inUse(); n > 2*eachStreams {
		t.Errorf("%d streams of two addresses", n)
	}
	closeAll()
	phase("huge headers", func() {
		for _, size := range []int{maxHeader + 8192, 1 << 20} {
			conn := dialFrom(t, "127.0.0.5", addr)
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Huge: %s\r\n\r\n", strings.Repeat("h", size)) // may fail: it is not read to its end
			conns = append(conns, conn)
		}
	})
	closeAll()
	phase("cancelled exports", func() {
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for i := range cancelled / 4 {
					conn := dialFrom(t, fmt.Sprintf("127.2.%d.%d", worker, 1+i%200), addr)
					fmt.Fprintf(conn, "GET /api/v1/nodes?format=%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", []string{"ndjson", "csv", "geojson", "parquet"}[i%4])
					conn.SetReadDeadline(time.Now().Add(5 * time.Second))
					io.CopyN(io.Discard, conn, int64(i%3*1000))
					conn.Close()
				}
			})
		}
		wg.Wait()
	})
	for deadline := time.Now().Add(45 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		now := usageNow()
		busy := s.limits.exports.inUse() + s.limits.reads.inUse() + s.limits.streams.inUse() + s.limits.details.inUse()
		if busy == 0 && now.goroutines <= before.goroutines+5 && now.files <= before.files+5 && now.heap < before.heap+before.heap/2+8<<20 {
			t.Logf("before %+v, after %+v", before, now)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d slots in use, %+v, before %+v", busy, now, before)
		}
	}
}

// openConns counts the established connections of a listening port, by /proc.
func openConns(addr string) (n int) {
	_, port, _ := net.SplitHostPort(addr)
	number, _ := strconv.Atoi(port)
	data, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", number)) && f[3] == "01" {
			n++
		}
	}
	return n
}
