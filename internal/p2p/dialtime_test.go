package p2p

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/chainbound/valtrack/internal/event"
)

// connCount counts the connections that a peer sees.
type connCount struct{ opened, closed atomic.Int64 }

func (p *testPeer) countConns() *connCount {
	c := new(connCount)
	p.Network().Notify(&network.NotifyBundle{
		ConnectedF:    func(network.Network, network.Conn) { c.opened.Add(1) },
		DisconnectedF: func(network.Network, network.Conn) { c.closed.Add(1) },
	})
	return c
}

// silentUDP is a port that answers nothing.
func silentUDP(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// While QUIC may still succeed TCP connects and says nothing: what the peer would
// count as a second connection does not begin.
func TestTCPWaitsForQUIC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(testContext(t))
	done := make(chan error, 1)
	h := startHost(t, nil)
	target := Target{
		PeerID: startHost(t, nil).PeerID(), QUIC: []netip.AddrPort{silentUDP(t)},
		TCP: []netip.AddrPort{listener.Addr().(*net.TCPAddr).AddrPort()},
	}
	go func() {
		_, err := h.Dial(ctx, target)
		done <- err
	}()
	raw, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetReadDeadline(time.Now().Add(quicTimeoutAfterTCP / 15))
	if n, err := raw.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes beside the QUIC handshake, %v", n, err)
	}
	raw.SetReadDeadline(time.Now().Add(testTimeout))
	hello := make([]byte, 20)
	if n, err := raw.Read(hello); !bytes.Contains(hello[:n], []byte("multistream")) {
		t.Errorf("TCP begins with %q, %v", hello[:n], err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v", err)
	}
}

// A peer that UDP does not reach is connected over TCP, once.
func TestTCPAfterQUIC(t *testing.T) {
	p, h := startPeer(t, withTCP, withYamux), startHost(t, nil)
	seen := p.countConns()
	target := p.target()
	target.QUIC = []netip.AddrPort{silentUDP(t), silentUDP(t)}
	s := dial(t, h, target)
	if s.Transport() != event.TCP {
		t.Errorf("connected over %s", s.Transport())
	}
	await(t, "the peer sees the connection", func() bool { return seen.opened.Load() == 1 })
}

// udpGate passes packets on to a server, and its answers back once it is open.
type udpGate struct {
	front, back net.PacketConn
	server      net.Addr

	mu     sync.Mutex
	client net.Addr
	held   [][]byte
	opened bool
}

func startUDPGate(t *testing.T, server netip.AddrPort) *udpGate {
	t.Helper()
	g := &udpGate{server: net.UDPAddrFromAddrPort(server)}
	var err error
	for _, conn := range []*net.PacketConn{&g.front, &g.back} {
		if *conn, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { pump(g.front, g.request) })
	pumps.Go(func() { pump(g.back, g.answer) })
	t.Cleanup(func() {
		g.front.Close()
		g.back.Close()
		pumps.Wait()
	})
	return g
}

func pump(from net.PacketConn, to func([]byte, net.Addr)) {
	for buf := make([]byte, 1<<16); ; {
		n, addr, err := from.ReadFrom(buf)
		if err != nil {
			return
		}
		to(bytes.Clone(buf[:n]), addr)
	}
}

func (g *udpGate) request(packet []byte, client net.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.client = client
	g.back.WriteTo(packet, g.server)
}

func (g *udpGate) answer(packet []byte, _ net.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held = append(g.held, packet); g.opened {
		g.flush()
	}
}

func (g *udpGate) flush() {
	for _, packet := range g.held {
		g.front.WriteTo(packet, g.client)
	}
	g.held = nil
}

func (g *udpGate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = true
	g.flush()
}

func (g *udpGate) answered() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.held) > 0
}

// A QUIC handshake that nobody waits for any more ends with a word to the peer: it
// is not left with a connection.
func TestAbandonedQUICDialIsClosed(t *testing.T) {
	p := startPeer(t, withQUIC)
	seen := p.countConns()
	// Our close may reach the peer together with the end of the handshake: then it
	// never shows the connection, and nothing is learned.
	for range 20 {
		abandonQUICDial(t, p)
		for deadline := time.Now().Add(time.Second); seen.opened.Load() == 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if seen.opened.Load() > 0 {
			await(t, "the connection is closed", func() bool { return seen.closed.Load() == seen.opened.Load() })
			return
		}
	}
	t.Error("no handshake went on to its end")
}

// abandonQUICDial gives up a dial whose answer is on its way.
func abandonQUICDial(t *testing.T, p *testPeer) {
	t.Helper()
	h := startHost(t, nil)
	gate := startUDPGate(t, p.target().QUIC[0])
	ctx, cancel := context.WithCancel(testContext(t))
	done := make(chan error, 1)
	go func() {
		_, err := h.Dial(ctx, Target{PeerID: p.ID().String(), QUIC: []netip.AddrPort{gate.front.LocalAddr().(*net.UDPAddr).AddrPort()}})
		done <- err
	}()
	await(t, "the peer has answered", gate.answered)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v", err)
	}
	gate.open()
	if n := h.Sessions(); n != 0 {
		t.Errorf("%d sessions", n)
	}
}
