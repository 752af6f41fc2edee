package sentry

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// cpuTime is what the process has used, in user and kernel mode.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	b.Helper()
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkVisitWrites writes the beginning and the end of visits, one at a time, of
// 10,000 peers in turn.
func BenchmarkVisitWrites(b *testing.B) {
	const peers = 10_000
	dir, now := b.TempDir(), time.Now()
	n := testNetwork(b, now.Add(-time.Hour), 0)
	table := storedTable(b, dir, n, discardLog(), now)
	record := signedRecord(b, n, 1, 1000)
	ids := make([]string, peers)
	for i := range ids {
		r := *record
		ids[i] = fmt.Sprintf("16Uiu2HAm%044d", i*7919%peers)
		r.PeerID, r.NodeID = ids[i], eth2.NodeID{1, byte(i), byte(i >> 8)}
		table.offer(&r, now)
	}
	table.store.write(b.Context(), now)
	cpu := cpuTime(b)
	b.ResetTimer()
	for i := range b.N {
		now = now.Add(38 * time.Millisecond)
		p, _ := table.beginVisit(ids[i%peers], now)
		table.store.write(b.Context(), now)
		table.endVisit(p, result{outcome: event.OutcomeOK, handshaked: true, started: now}, now)
		table.store.write(b.Context(), now)
	}
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
}

// BenchmarkOpenStore reads tables of peers that all have a record of ours.
func BenchmarkOpenStore(b *testing.B) {
	for _, peers := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(peers), func(b *testing.B) { benchmarkOpen(b, peers) })
	}
}

func benchmarkOpen(b *testing.B, peers int) {
	dir, now := b.TempDir(), time.Now()
	n := testNetwork(b, now.Add(-time.Hour), 0)
	cfg := Config{AllowPrivate: true, MaxPeers: peers}.withDefaults(n.Name)
	record := signedRecord(b, n, 1, 1000)
	s, err := OpenStore(dir, n, cfg.MaxPeers, discardLog())
	if err != nil {
		b.Fatal(err)
	}
	table := newTable(cfg, forksOf(n))
	table.adopt(s, func(*peer) bool { return true }, now)
	for i := range cfg.MaxPeers {
		r := *record
		r.PeerID, r.NodeID = fmt.Sprintf("16Uiu2HAm%044d", i), eth2.NodeID{1, byte(i), byte(i >> 8), byte(i >> 16)}
		table.offer(&r, now)
	}
	table.store.finish(b.Context(), now)
	b.ResetTimer()
	for range b.N {
		s, err := OpenStore(dir, n, cfg.MaxPeers, discardLog())
		if err != nil {
			b.Fatal(err)
		}
		table := newTable(cfg, forksOf(n))
		table.adopt(s, func(*peer) bool { return true }, now)
		s.Close()
		if len(table.byID) != cfg.MaxPeers {
			b.Fatalf("%d peers", len(table.byID))
		}
		b.StopTimer()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB")
		runtime.KeepAlive(table)
		b.StartTimer()
	}
}
