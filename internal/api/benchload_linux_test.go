package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What the bench measures with.
const (
	benchRate    = 2000 // events per second
	benchStreams = 200
)

// feeder stores events at a rate until it is stopped, as a consumer does.
type feeder struct {
	stored atomic.Int64
	cancel context.CancelFunc
	done   chan struct{}
	began  time.Time
}

func feed(c *testCrawl, nodes int) *feeder {
	ctx, cancel := context.WithCancel(c.t.Context())
	f := &feeder{cancel: cancel, done: make(chan struct{}), began: time.Now()}
	go func() {
		defer close(f.done)
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		due, n := 0.0, 0
		for last := f.began; ; {
			select {
			case <-ctx.Done():
				return
			case now := <-ticker.C:
				due += now.Sub(last).Seconds() * benchRate / 3 // a visit has three events: record, handshake, end
				last = now
			}
			for ; due >= 1; due-- {
				i := c.rand.IntN(nodes)
				c.visit(i, time.Now(), fmt.Sprintf("45.%d.%d.%d", 1+i>>16, i>>8&255, i&255), testAgents[i%len(testAgents)])
				f.stored.Add(3)
				if n++; n%(5*benchRate/3) == 0 { // segments of five seconds
					c.apply()
				}
			}
		}
	}()
	return f
}

// stop returns the events per second.
func (f *feeder) stop() float64 {
	f.cancel()
	rate := float64(f.stored.Load()) / time.Since(f.began).Seconds()
	<-f.done
	return rate
}

// latencies asks for a path so often, with a pause in between, and gives the median and the 99th
// percentile.
func latencies(t *testing.T, url string, n int) (median, p99 time.Duration, size int64) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		if size, err = io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %v", url, resp.StatusCode, err)
		}
		resp.Body.Close()
		took[i] = time.Since(began)
		time.Sleep(5 * time.Millisecond)
	}
	slices.Sort(took)
	return took[n/2], took[n*99/100], size
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestBenchLoad measures the API over loopback with VALTRACK_BENCH_NODES nodes in the tracker (make
// bench-api: 100,000) while 2,000 events per second are stored, beside a server that writes
// prepared bytes of the same size.
func TestBenchLoad(t *testing.T) {
	nodes, err := strconv.Atoi(os.Getenv("VALTRACK_BENCH_NODES"))
	if err != nil {
		t.Skip("make bench-api")
	}
	c := newTestCrawl(t)
	for i := 0; i < nodes; i += 10_000 {
		for k := i; k < min(nodes, i+10_000); k++ {
			c.visit(k, time.Now().Add(-time.Hour), fmt.Sprintf("45.%d.%d.%d", 1+k>>16, k>>8&255, k&255), testAgents[k%len(testAgents)])
		}
		c.apply()
	}
	c.commit()
	s := boundServer(t, c, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go s.Run(ctx, c.sources())
	url := "http://" + s.Addr()
	for resp, _ := get(t, url+"/api/v1/summary", nil); resp.StatusCode != http.StatusOK; resp, _ = get(t, url+"/api/v1/summary", nil) {
		time.Sleep(100 * time.Millisecond)
	}
	f := feed(c, nodes)
	time.Sleep(15 * time.Second)
	alone := f.stop()
	t.Logf("| what | median | p99 | floor: median | p99 | bytes |")
	f = feed(c, nodes)
	for _, path := range []string{"/api/v1/summary", "/api/v1/nodes?limit=100&client=lighthouse&sort=-validators", "/api/v1/nodes?limit=100&q=16Uiu2HAm00000"} {
		median, p99, size := latencies(t, url+path, 1000)
		floor := prepared(t, size)
		floorMedian, floorP99, _ := latencies(t, floor, 1000)
		t.Logf("| `%s` | %s | %s | %s | %s | %d |", path, median, p99, floorMedian, floorP99, size)
	}
	exportAll(t, url)
	withReads := f.stop()
	f = feed(c, nodes)
	share, low, high := streamsShare(t, s, url)
	withStreams := f.stop()
	t.Logf("%d event streams: %.1f %% of a core, 95 %% interval %.1f to %.1f", benchStreams, 100*share, 100*low, 100*high)
	t.Logf("events per second: %.0f alone, %.0f with requests, %.0f with streams", alone, withReads, withStreams)
}

// prepared is a server that writes so many bytes.
func prepared(t *testing.T, size int64) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(strings.Repeat("x", int(size)))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) })} //nolint:gosec // on loopback
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return "http://" + l.Addr().String()
}

// exportAll reads all nodes as NDJSON, and measures the memory that it takes: the greatest heap during
// ten exports, and during the same time without.
func exportAll(t *testing.T, url string) {
	t.Helper()
	began := time.Now()
	with := peakHeap(func() {
		for i := range 10 {
			_, took, size := latencies(t, url+"/api/v1/nodes?format=ndjson", 1)
			if i%3 == 0 {
				_, floor, _ := latencies(t, prepared(t, size), 1)
				t.Logf("all nodes as NDJSON: %s, %d bytes; the floor %s", took, size, floor)
			}
		}
	})
	took := time.Since(began)
	without := peakHeap(func() { time.Sleep(took) })
	t.Logf("greatest heap: %d MiB while exporting, %d without", with>>20, without>>20)
}

// peakHeap is the most heap that is in use while something is done.
func peakHeap(do func()) (most uint64) {
	runtime.GC()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	do()
	close(stop)
	<-done
	return most
}

// streamsShare is the part of a core that event streams take, which another process reads: the mean
// of the differences between times with them and without, which alternate, and its 95 % interval.
func streamsShare(t *testing.T, s *testServer, url string) (share, low, high float64) {
	t.Helper()
	const (
		rounds = 6
		during = 10 * time.Second // two segments
		t95    = 2.571            // Student's, for five degrees of freedom
	)
	measure := func() float64 {
		began, used := time.Now(), cpu()
		time.Sleep(during)
		return float64(cpu()-used) / float64(time.Since(began))
	}
	with := func() float64 {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReadStreams$", "-test.v")
		child.Env = append(os.Environ(), "VALTRACK_STREAMS="+url)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		waitStreams(t, s, benchStreams)
		used := measure()
		child.Process.Kill()
		child.Wait()
		waitStreams(t, s, 0)
		return used
	}
	sum, squares := 0.0, 0.0
	for i := range rounds {
		var a, b float64
		if i%2 == 0 {
			a, b = measure(), with()
		} else {
			b, a = with(), measure()
		}
		t.Logf("%d event streams: %.2f cores without, %.2f with", benchStreams, a, b)
		sum, squares = sum+b-a, squares+(b-a)*(b-a)
	}
	share = sum / rounds
	half := t95 * math.Sqrt(max(0, squares/rounds-share*share)/(rounds-1))
	return share, share - half, share + half
}

// waitStreams waits until so many streams are open.
func waitStreams(t *testing.T, s *testServer, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); s.limits.streams.inUse() != n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d streams, want %d", s.limits.streams.inUse(), n)
		}
	}
}

// TestReadStreams is the process that reads streams, each as another client of a proxy.
func TestReadStreams(t *testing.T) {
	url := os.Getenv("VALTRACK_STREAMS")
	if url == "" {
		t.Skip("of make bench-api")
	}
	for i := range benchStreams {
		go func() {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/api/v1/events", nil)
			r.Header.Set("X-Forwarded-For", fmt.Sprintf("192.0.%d.%d", i, i))
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				return
			}
			defer resp.Body.Close()
			io.Copy(io.Discard, bufio.NewReader(resp.Body))
		}()
	}
	time.Sleep(2 * time.Minute)
}
