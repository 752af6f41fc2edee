package p2p

import (
	"context"
	"crypto/rand"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	mplex "github.com/libp2p/go-libp2p-mplex"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/goleak"

	"github.com/chainbound/valtrack/internal/eth2"
)

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(peersVariable)); err == nil {
		servePeers(n)
		return
	}
	goleak.VerifyTestMain(m)
}

// testTimeout bounds everything that a test waits for.
const testTimeout = 20 * time.Second

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// await waits until ok holds.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", what)
		}
	}
}

// What the two sides of the tests say about themselves.
func ourStatus() eth2.Status { return eth2.Status{ForkDigest: eth2.ForkDigest{0x8c, 0x9f, 0x62, 0xfe}} }

func ourMetaData() eth2.MetaData {
	sync, cgc := eth2.Syncnets(0), uint64(4)
	return eth2.MetaData{SeqNumber: 1, Syncnets: &sync, CustodyGroupCount: &cgc}
}

func theirStatus() eth2.Status {
	earliest := eth2.Slot(15600000)
	return eth2.Status{
		ForkDigest: eth2.ForkDigest{0x8c, 0x9f, 0x62, 0xfe}, FinalizedRoot: eth2.Root{1}, FinalizedEpoch: 490830,
		HeadRoot: eth2.Root{2}, HeadSlot: 15706784, EarliestAvailableSlot: &earliest,
	}
}

func theirMetaData() eth2.MetaData {
	sync, cgc := eth2.Syncnets(5), uint64(128)
	return eth2.MetaData{SeqNumber: 7, Attnets: eth2.NewAttnets([]int{0, 63}), Syncnets: &sync, CustodyGroupCount: &cgc}
}

type local struct{}

func (local) Status() eth2.Status     { return ourStatus() }
func (local) MetaData() eth2.MetaData { return ourMetaData() }

func testKey(t testing.TB) []byte {
	t.Helper()
	key, _, err := crypto.GenerateSecp256k1Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.Raw()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// startHost starts a Host of ours on loopback, with changes to its Config.
func startHost(t testing.TB, change func(*Config)) *Host {
	t.Helper()
	cfg := Config{
		Key: testKey(t), Listen: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Agent: "valtrack/test",
		AllowPrivate: true, Local: local{}, helloGap: 50 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	h, err := NewHost(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func hostTarget(h *Host) Target {
	ip := netip.MustParseAddr("127.0.0.1")
	return Target{
		PeerID: h.PeerID(),
		QUIC:   []netip.AddrPort{netip.AddrPortFrom(ip, h.QUICPort())},
		TCP:    []netip.AddrPort{netip.AddrPortFrom(ip, h.TCPPort())},
	}
}

// testPeer is a remote node made of plain go-libp2p.
type testPeer struct {
	host.Host
	t testing.TB

	mu       sync.Mutex
	requests map[protocol.ID][][]byte // what it was asked, in order
}

var (
	withQUIC  = libp2p.Transport(libp2pquic.NewTransport)
	withTCP   = libp2p.Transport(tcp.NewTCPTransport)
	withYamux = libp2p.Muxer(yamux.ID, yamux.DefaultTransport)
	withMplex = libp2p.Muxer(mplex.ID, mplex.DefaultTransport)
)

// eachTransport gives the ways in which clients can be reached.
func eachTransport() map[string][]libp2p.Option {
	return map[string][]libp2p.Option{
		"quic":      {withQUIC},
		"tcp-yamux": {withTCP, withYamux},
		"tcp-mplex": {withTCP, withMplex},
	}
}

// startPeer listens on QUIC and TCP with yamux when no transports are given. It
// speaks nothing until told.
func startPeer(t testing.TB, transports ...libp2p.Option) *testPeer {
	t.Helper()
	key, _, err := crypto.GenerateSecp256k1Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if len(transports) == 0 {
		transports = []libp2p.Option{withQUIC, withTCP, withYamux}
	}
	opts := append([]libp2p.Option{
		libp2p.Identity(key), libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.UserAgent("Lighthouse/v8.1.0-test/x86_64-linux"),
		libp2p.Security(noise.ID, noise.New), libp2p.ForceReachabilityPublic(),
	}, transports...)
	h, err := libp2p.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	for _, addr := range []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"} {
		// A transport that the peer does not have is not listened on.
		_ = h.Network().Listen(ma.StringCast(addr))
	}
	return &testPeer{Host: h, t: t, requests: make(map[protocol.ID][][]byte)}
}

func (p *testPeer) target() Target {
	target := Target{PeerID: p.ID().String()}
	for _, addr := range p.Network().ListenAddresses() {
		part := strings.Split(addr.String(), "/") // "", "ip4", address, "tcp" or "udp", port
		at := netip.MustParseAddrPort(part[2] + ":" + part[4])
		if part[3] == "udp" {
			target.QUIC = append(target.QUIC, at)
		} else {
			target.TCP = append(target.TCP, at)
		}
	}
	return target
}

// serve answers requests of a protocol with fixed bytes and keeps what was asked.
func (p *testPeer) serve(proto protocol.ID, answer []byte) {
	p.SetStreamHandler(proto, func(s network.Stream) {
		request, _ := io.ReadAll(s)
		p.mu.Lock()
		p.requests[proto] = append(p.requests[proto], request)
		p.mu.Unlock()
		s.Write(answer)
		s.Close()
	})
}

func (p *testPeer) asked(proto protocol.ID) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([][]byte(nil), p.requests[proto]...)
}

// serveAll makes it a healthy node of today.
func (p *testPeer) serveAll() {
	p.serve(ProtoStatusV1, EncodeResponse(0, theirStatus().MarshalSSZ(1)))
	p.serve(ProtoStatusV2, EncodeResponse(0, theirStatus().MarshalSSZ(2)))
	p.serve(ProtoPingV1, EncodeResponse(0, eth2.MarshalUint64(7)))
	p.serve(ProtoMetaDataV2, EncodeResponse(0, theirMetaData().MarshalSSZ(2)))
	p.serve(ProtoMetaDataV3, EncodeResponse(0, theirMetaData().MarshalSSZ(3)))
	p.serve(ProtoGoodbyeV1, nil)
}

// connect dials our host and gives the connection.
func (p *testPeer) connect(h *Host) network.Conn {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	id, err := peer.Decode(h.PeerID())
	if err != nil {
		p.t.Fatal(err)
	}
	addrs := []ma.Multiaddr{quicAddr(hostTarget(h).QUIC[0]), tcpAddr(hostTarget(h).TCP[0])}
	p.Peerstore().AddAddrs(id, addrs, time.Hour)
	conn, err := p.Network().DialPeer(ctx, id)
	if err != nil {
		p.t.Fatal(err)
	}
	return conn
}

// open negotiates a stream on a connection and writes raw bytes to it.
func (p *testPeer) open(h *Host, proto protocol.ID, raw []byte) network.Stream {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	id, err := peer.Decode(h.PeerID())
	if err != nil {
		p.t.Fatal(err)
	}
	await(p.t, "the peer sees the connection", func() bool { return p.Network().Connectedness(id) == network.Connected })
	s, err := p.NewStream(ctx, id, proto)
	if err != nil {
		p.t.Fatal(err)
	}
	s.SetDeadline(time.Now().Add(testTimeout))
	if _, err := s.Write(raw); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// request sends a request and gives the response's SSZ.
func (p *testPeer) request(h *Host, proto protocol.ID, ssz []byte) ([]byte, error) {
	p.t.Helper()
	s := p.open(h, proto, EncodeRequest(ssz))
	defer s.Close()
	s.CloseWrite()
	return ReadResponse(s, 256)
}

func dial(t testing.TB, h *Host, target Target) *Session {
	t.Helper()
	s, err := h.Dial(testContext(t), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
