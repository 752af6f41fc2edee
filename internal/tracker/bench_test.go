package tracker

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

// seasoned fills a tracker with peers that were visited each epoch and watched for
// three epochs seven times a day, through the whole window, and learns from them.
func seasoned(b *testing.B, dir string, peers int) *Tracker {
	b.Helper()
	now := start.Add((Window + 1) * 24 * time.Hour)
	tr := opened(b, dir, &now)
	const templates = 60
	c := newCrawl(1)
	c.agents = mixed()
	for i := range templates {
		tr.Add(c.discovered(i, start))
		for visit := range Window * 225 {
			epochs := 0
			if visit%32 == 0 {
				epochs = 3
			}
			at := start.Add(time.Hour).Add(time.Duration(visit) * params().Clock.EpochDuration()).Add(time.Duration(visit*7%384) * time.Second)
			for _, e := range c.visit(i, at, epochs) {
				tr.Add(e)
			}
		}
	}
	flush(b, tr, 0)
	for i := templates; i < peers; i++ {
		p := *tr.peers[peerID(i%templates)]
		p.ID, p.Address = peerID(i), ""
		p.Record.ENR = string(append([]byte(nil), p.Record.ENR...))
		p.Multiaddr = fmt.Sprintf("/ip4/50.%d.%d.1/udp/9001/quic-v1", i>>8&255, i&255)
		p.Endpoints, p.CustodyHistory = slices.Clone(p.Endpoints), slices.Clone(p.CustodyHistory)
		p.days = slices.Clone(p.days)
		for d := range p.days {
			p.days[d].data = slices.Clone(p.days[d].data)
		}
		estimate := *p.Estimate
		p.Estimate = &estimate
		tr.peers[p.ID], tr.dirty.peers[p.ID] = &p, true
	}
	if err := tr.Recompute(b.Context()); err != nil { // now that there are so many
		b.Fatal(err)
	}
	return tr
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLoad opens a database of 100 000 peers and tells the memory of each.
func BenchmarkLoad(b *testing.B) {
	const peers = 100_000
	dir := b.TempDir()
	seasoned(b, dir, peers).killed(b)
	for b.Loop() {
		before := heap()
		tr, err := Open(b.Context(), config(dir))
		if err != nil {
			b.Fatal(err)
		}
		if tr.State().Len() != peers {
			b.Fatalf("%d peers", tr.State().Len())
		}
		b.ReportMetric(float64(heap()-before)/peers, "B/peer")
		tr.killed(b)
	}
}

// BenchmarkRefresh makes the estimates of 10 000 peers and tells the processor time,
// with active validators that are read from the chain and with ones that are given.
func BenchmarkRefresh(b *testing.B) {
	tr := seasoned(b, b.TempDir(), 10_000)
	for name, uncertainty := range map[string]float64{"read": 0, "given": 0.05} {
		b.Run(name, func(b *testing.B) {
			tr.learner.params.PAggUncertainty = uncertainty
			tr.remodel()
			before := processorTime(b)
			for b.Loop() {
				for id := range tr.peers {
					tr.changed[id] = time.Time{}
				}
				tr.estimateChanged(true)
			}
			b.ReportMetric((processorTime(b)-before).Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkLearn does what an hour's end does for 10 000 peers.
func BenchmarkLearn(b *testing.B) {
	tr := seasoned(b, b.TempDir(), 10_000)
	for b.Loop() {
		tr.learn()
	}
}

// BenchmarkPublish is what readers add to each segment's end.
func BenchmarkPublish(b *testing.B) {
	for _, peers := range []int{10_000, maxPeers} {
		b.Run(strconv.Itoa(peers), func(b *testing.B) {
			now := start
			tr := opened(b, b.TempDir(), &now)
			for i := range peers {
				tr.peers[peerID(i)] = &Peer{ID: peerID(i)}
			}
			b.ReportAllocs()
			for b.Loop() {
				tr.publish()
			}
		})
	}
}

// BenchmarkAdd folds the events of a crawl of 10 000 seasoned peers; one visit in 32 is
// a watch. Every segment of 250 000 events is flushed.
func BenchmarkAdd(b *testing.B) {
	tr := seasoned(b, b.TempDir(), 10_000)
	c := newCrawl(2)
	c.agents = mixed()
	var all []event.Event
	for i := range 10_000 {
		all = append(all, c.visit(i, start.Add(Window*24*time.Hour).Add(time.Duration(i)*time.Millisecond), 3*(i%32/31))...)
	}
	n := 0
	for b.Loop() {
		tr.Add(all[n%len(all)])
		if n++; n%250_000 == 0 {
			if err := tr.flush(b.Context(), uint64(n)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkMinute is the tracker's whole part of a minute of a crawl of 10 000 seasoned
// peers: a census visit each of those whose turn it is, the segment's end, the estimates
// that are due, and the write. The events are made outside of its time.
func BenchmarkMinute(b *testing.B) {
	tr := seasoned(b, b.TempDir(), 10_000)
	now := start.Add((Window + 1) * 24 * time.Hour)
	tr.now = func() time.Time { return now }
	c := newCrawl(2)
	c.agents = mixed()
	const visits = 1560 // of 10 000 an epoch
	peer, events, used := 0, 0, time.Duration(0)
	for segment := uint64(1); b.Loop(); segment++ {
		b.StopTimer()
		var all []event.Event
		for range visits {
			all = append(all, c.visit(peer%10_000, now, 0)...)
			peer++
		}
		now = now.Add(time.Minute)
		runtime.GC()
		before := processorTime(b)
		b.StartTimer()
		for _, e := range all {
			tr.Add(e)
		}
		if err := tr.flush(b.Context(), segment); err != nil {
			b.Fatal(err)
		}
		used += processorTime(b) - before
		events += len(all)
	}
	b.ReportMetric(float64(used.Microseconds())/float64(events), "cpu-us/event")
}
