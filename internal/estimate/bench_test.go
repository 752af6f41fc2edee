package estimate

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// nodesForBench are peers with some days of watches and snapshots.
func nodesForBench(n int) []*Evidence {
	r := rand.New(rand.NewPCG(1, 1))
	p := mainnetParams()
	out := make([]*Evidence, n)
	for i := range out {
		c := Custody{}
		c.Observe(0, []uint64{4, 8, 40, 128}[i%4])
		out[i] = evidenceOf(r, p, []int{0, 3, 40, 700}[i%4], 1, 0.003, c)
		out[i].pools[0].cells = append(out[i].pools[0].cells, pool{cell: 2, snapshot: true, counts: counts{uint32(i % 5), 500}})
	}
	return out
}

// BenchmarkEstimate is one peer's refresh: 10,000 are wanted in 2 s of CPU.
func BenchmarkEstimate(b *testing.B) {
	nodes := nodesForBench(1000)
	m := NewModel(mainnetParams(), DefaultPrior(), nil)
	for i := range 8 {
		m.Estimate(nodes[i]) // tables
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Estimate(nodes[i%len(nodes)])
	}
}

// fullDay are the encoded statistics of a node with a snapshot each epoch and seven
// watches.
func fullDay(p Params) []byte {
	s := NewStatistics(prysm)
	for j := range 7 {
		s.AddWatch(p, logOf(slotTime(p, 1000+30*j, 0)-2000, slotTime(p, 1003+30*j, 0)+2000))
	}
	for j := range 224 {
		s.AddSnapshot(p, Snapshot{At: slotTime(p, 1000+j, (7*j)%32), Subscribed: []int{1, 2}})
	}
	b, _ := s.AppendBinary(nil)
	return b
}

// BenchmarkSnapshotEvent is what one handshake costs late in a full day: decode the
// day's statistics, add a snapshot, encode.
func BenchmarkSnapshotEvent(b *testing.B) {
	p := mainnetParams()
	day := fullDay(p)
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		s, err := DecodeStatistics(prysm, day)
		if err != nil {
			b.Fatal(err)
		}
		s.AddSnapshot(p, Snapshot{At: slotTime(p, 1224, 9), Subscribed: []int{3, 9, 40, 41}})
		buffer, _ = s.AppendBinary(buffer[:0])
	}
}

// BenchmarkWatchEvent is a watch of three epochs of a node with 200 validators.
func BenchmarkWatchEvent(b *testing.B) {
	p := mainnetParams()
	r := rand.New(rand.NewPCG(2, 2))
	from := slotTime(p, 1000, 0) - 2000
	var spans [][3]int64
	for range 21 {
		at := slotTime(p, 1000, 1+r.IntN(92)) + 300
		spans = append(spans, [3]int64{at, at + 24_000, r.Int64N(60)})
	}
	w := logOf(from, slotTime(p, 1003, 0), spans...)
	b.ReportAllocs()
	for b.Loop() {
		s := NewStatistics(lighthouse)
		s.AddWatch(p, w)
	}
}

// BenchmarkPeerMemory reports the bytes that a peer keeps: the evidence of the days
// before and the encoded statistics of a full day.
func BenchmarkPeerMemory(b *testing.B) {
	p := mainnetParams()
	const peers = 1000
	type peer struct {
		day []byte
		all *Evidence
	}
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		keep := make([]peer, peers)
		for i := range keep {
			day := fullDay(p)
			s, err := DecodeStatistics(prysm, day)
			if err != nil {
				b.Fatal(err)
			}
			e := NewEvidence(prysm, Custody{})
			e.Add(s, prysm)
			keep[i] = peer{slices.Clip(day), e}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/peers, "bytes/peer")
		runtime.KeepAlive(keep)
	}
}
