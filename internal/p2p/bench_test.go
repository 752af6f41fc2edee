package p2p

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/eth2"
)

// cpuTime is the processor time of the whole process so far, both sides of a
// handshake included.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkHandshake compares a visit through this package with the same messages
// over plain go-libp2p, against peers in another process: the difference is ours.
func BenchmarkHandshake(b *testing.B) {
	const peers = 64
	targets := farPeers(b, peers)
	for name, choose := range map[string]func(int) bool{
		"quic":      func(i int) bool { return i%4 > 1 },
		"tcp-yamux": func(i int) bool { return i%4 == 0 },
		"tcp-mplex": func(i int) bool { return i%4 == 1 },
	} {
		var chosen []Target
		for i, target := range targets {
			if choose(i) {
				chosen = append(chosen, target)
			}
		}
		b.Run(name+"/session", func(b *testing.B) {
			h := startHost(b, nil)
			measure(b, chosen, func(ctx context.Context, t Target) error { return visit(ctx, h, t) })
		})
		b.Run(name+"/floor", func(b *testing.B) {
			client := startPeer(b, withQUIC, withTCP, withYamux, withMplex)
			measure(b, chosen, func(ctx context.Context, t Target) error { return floorVisit(ctx, client, t) })
		})
	}
}

// BenchmarkHeld holds 750 connections for a second an operation (-benchtime 60x):
// what each takes of memory, and all of them of the processor.
func BenchmarkHeld(b *testing.B) {
	const held = 750
	ctx := context.Background()
	targets := farPeers(b, held)
	h := startHost(b, func(cfg *Config) { cfg.AllowPrivate = true })
	before, routines := residentBytes(b), runtime.NumGoroutine()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for _, target := range targets {
		g.Go(func() error {
			s, err := h.Dial(ctx, target)
			if err != nil {
				return err
			}
			s.Follow(func(time.Time, []Subscription) {})
			return greetings(ctx, s)
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	if n := h.Sessions(); n != held {
		b.Fatalf("%d sessions", n)
	}
	start := cpuTime(b)
	for b.Loop() {
		time.Sleep(time.Second)
	}
	b.ReportMetric(float64((cpuTime(b)-start).Microseconds())/float64(b.N)/1e4, "%core")
	if n := h.Sessions(); n != held {
		b.Fatalf("%d sessions left", n)
	}
	after := residentBytes(b)
	b.ReportMetric(float64(after.resident-before.resident)/held/1024, "RSS-KiB/conn")
	b.ReportMetric(float64(after.heap-before.heap)/held/1024, "heap-KiB/conn")
	b.ReportMetric(float64(after.stack-before.stack)/held/1024, "stack-KiB/conn")
	b.ReportMetric(float64(runtime.NumGoroutine()-routines)/held, "goroutines/conn")
}

type memory struct{ resident, heap, stack uint64 }

// residentBytes gives what the process takes after a collection; resident is 0
// where /proc is not.
func residentBytes(b *testing.B) memory {
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m := memory{heap: stats.HeapInuse, stack: stats.StackInuse}
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size, pages uint64
		if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
			b.Fatal(err)
		}
		m.resident = pages * uint64(os.Getpagesize())
	}
	return m
}

func measure(b *testing.B, targets []Target, visit func(context.Context, Target) error) {
	ctx := context.Background()
	if err := visit(ctx, targets[0]); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	before := cpuTime(b)
	for i := 0; b.Loop(); i++ {
		if err := visit(ctx, targets[i%len(targets)]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

func visit(ctx context.Context, h *Host, target Target) error {
	s, err := h.Dial(ctx, target)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := greetings(ctx, s); err != nil {
		return err
	}
	return s.Goodbye(ctx, eth2.GoodbyeTooManyPeers)
}

func greetings(ctx context.Context, s *Session) error {
	if _, err := s.Status(ctx); err != nil {
		return err
	}
	if _, err := s.Agent(ctx); err != nil {
		return err
	}
	if _, err := s.Ping(ctx); err != nil {
		return err
	}
	_, err := s.MetaData(ctx)
	return err
}

func floorVisit(ctx context.Context, client *testPeer, target Target) error {
	id, err := peer.Decode(target.PeerID)
	if err != nil {
		return err
	}
	var addrs []ma.Multiaddr
	for _, t := range []struct {
		at   []netip.AddrPort
		addr func(netip.AddrPort) ma.Multiaddr
	}{{target.QUIC, quicAddr}, {target.TCP, tcpAddr}} {
		for _, at := range t.at {
			addrs = append(addrs, t.addr(at))
		}
	}
	// Unlimited: identify's clean-up of the connection before may come late, and it
	// drops addresses of a shorter life.
	client.Peerstore().AddAddrs(id, addrs, peerstore.PermanentAddrTTL)
	if err := client.Connect(ctx, peer.AddrInfo{ID: id}); err != nil {
		return err
	}
	defer client.Network().ClosePeer(id)
	ask := func(proto protocol.ID, ssz []byte) error {
		s, err := client.NewStream(ctx, id, proto)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := WriteAndHalfClose(s, EncodeRequest(ssz)); err != nil {
			return err
		}
		_, err = io.ReadAll(s)
		return err
	}
	for _, step := range []struct {
		proto protocol.ID
		ssz   []byte
	}{
		{ProtoStatusV2, ourStatus().MarshalSSZ(2)},
		{ProtoPingV1, eth2.MarshalUint64(1)},
		{ProtoMetaDataV3, nil},
		{ProtoGoodbyeV1, eth2.MarshalUint64(129)},
	} {
		if err := ask(step.proto, step.ssz); err != nil {
			return err
		}
	}
	return nil
}
