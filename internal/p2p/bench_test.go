package p2p

import (
	"context"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

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
// over plain go-libp2p, against the same peer in the same process: the difference
// is ours.
func BenchmarkHandshake(b *testing.B) {
	for name, transports := range eachTransport() {
		b.Run(name+"/session", func(b *testing.B) {
			p := startPeer(b, transports...)
			p.serveAll()
			h := startHost(b, nil)
			measure(b, func(ctx context.Context) error { return visit(ctx, h, p.target()) })
		})
		b.Run(name+"/floor", func(b *testing.B) {
			p, client := startPeer(b, transports...), startPeer(b, withQUIC, withTCP, withYamux, withMplex)
			p.serveAll()
			measure(b, func(ctx context.Context) error { return floorVisit(ctx, client, p.target()) })
		})
	}
}

func measure(b *testing.B, visit func(context.Context) error) {
	ctx := context.Background()
	if err := visit(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if err := visit(ctx); err != nil {
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
	if _, err := s.Status(ctx); err != nil {
		return err
	}
	if _, err := s.Agent(ctx); err != nil {
		return err
	}
	if _, err := s.Ping(ctx); err != nil {
		return err
	}
	if _, err := s.MetaData(ctx); err != nil {
		return err
	}
	return s.Goodbye(ctx, eth2.GoodbyeTooManyPeers)
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
	// For ever: identify's clean-up of the connection before may come late, and it
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
		if _, err := s.Write(EncodeRequest(ssz)); err != nil {
			return err
		}
		if err := s.CloseWrite(); err != nil {
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
