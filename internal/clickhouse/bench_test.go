package clickhouse

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/event/eventtest"
)

// wantRate is the least rate, in rows per second, and wantHeap the most memory that may be in use
// while rows are copied, above what was before, in bytes.
const wantRate, wantHeap = 50_000, 64 << 20

// BenchmarkCopy copies segments of 250,000 handshakes, with both tables' rows, to a server that
// runs on the same machine. `make bench-clickhouse` runs it.
func BenchmarkCopy(b *testing.B) {
	for name, start := range map[string]func(testing.TB) string{"old": startOld, "current": startCurrent} {
		b.Run(name, func(b *testing.B) { benchCopy(b, start(b)) })
	}
}

func benchCopy(b *testing.B, url string) {
	const handshakes = 250_000
	w := openWriter(b, b.TempDir())
	var took time.Duration
	var rows, peak uint64
	s := newSink(b, w, url)
	round(b, s)
	for n := range b.N {
		b.StopTimer()
		appendHandshakes(b, w, n, handshakes)
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		stop := make(chan struct{})
		peaked := make(chan uint64)
		go func() { peaked <- peakHeap(stop) }()
		b.StartTimer()
		begin, had := time.Now(), s.Stats().Rows
		round(b, s)
		took += time.Since(begin)
		rows += s.Stats().Rows - had
		close(stop)
		peak = max(peak, <-peaked-before.HeapAlloc)
	}
	rate := float64(rows) / took.Seconds()
	b.ReportMetric(rate, "rows/s")
	b.ReportMetric(float64(peak)/(1<<20), "MiB")
	b.ReportMetric(0, "ns/op")
	if rate < wantRate || peak > wantHeap {
		b.Errorf("%.0f rows/s with %d bytes, want %d with at most %d", rate, peak, wantRate, wantHeap)
	}
}

// peakHeap is the most memory in use until stop is closed.
func peakHeap(stop chan struct{}) (peak uint64) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapAlloc)
		select {
		case <-stop:
			return peak
		case <-ticker.C:
		}
	}
}

// appendHandshakes commits those of 10,000 peers, each many times, as a crawl does.
func appendHandshakes(b *testing.B, w *dataset.Writer, round, n int) {
	b.Helper()
	e := eventtest.Filled()[1].(*event.MetadataReceived)
	for i := range n {
		e.ENR = fmt.Sprintf("enr:-%0255d", i*7919%10_000)
		e.ID, e.VisitID = e.ENR[200:], fmt.Sprintf("%013d%013d", round, i)
		e.Timestamp = 1763800000000 + int64(round*n+i)*38
		row := dataset.FromMetadataReceived(e)
		if err := dataset.Append(w, row); err != nil {
			b.Fatal(err)
		}
		if err := dataset.Append(w, dataset.ValidatorRowOf(&row)); err != nil {
			b.Fatal(err)
		}
	}
	commit(b, w)
}
