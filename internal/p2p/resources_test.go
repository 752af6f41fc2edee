package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/prefix"
)

// Connections that say nothing take room neither from our dials nor from the peers of other
// addresses, and are closed soon.
func TestSilentConnectionsLeaveRoom(t *testing.T) {
	inbound := make(chan *Session, 10)
	h := startHost(t, func(cfg *Config) {
		cfg.MaxConnections = 2
		cfg.MaxInbound = 2 * inboundBudget.Host
		cfg.Inbound = func(ctx context.Context, s *Session) {
			inbound <- s
			select {
			case <-ctx.Done():
			case <-s.Done():
			}
		}
	})
	first := dialSilently(t, h, "127.66.0.1")
	for range 600 {
		dialSilently(t, h, "127.66.0.1")
	}
	s := dial(t, h, startPeer(t).target())
	s.Close()
	// The peer dials from an address of its own.
	if _, err := startHost(t, nil).Dial(testContext(t), hostTarget(h)); err != nil {
		t.Errorf("a peer cannot connect: %v", err)
	}
	(<-inbound).Close()
	if testing.Short() {
		return
	}
	first.SetReadDeadline(time.Now().Add(2 * acceptTimeout))
	var err error
	for b := make([]byte, 1024); err == nil; { // the listener's side of the negotiation
		_, err = first.Read(b)
	}
	if isTimeout(err) {
		t.Errorf("a silent connection is still open after %v", 2*acceptTimeout)
	}
}

// dialSilently connects from a loopback address over TCP and says nothing.
func dialSilently(t *testing.T, h *Host, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(testContext(t), "tcp", fmt.Sprintf("127.0.0.1:%d", h.TCPPort()))
	if err != nil {
		t.Skipf("no connection from %s here: %v", from, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestInboundPlacesAreShared(t *testing.T) {
	const max = 100
	address := func(format string, i int) prefix.Groups {
		if strings.Contains(format, "%") {
			format = fmt.Sprintf(format, i)
		}
		return prefix.Of(netip.MustParseAddr(format))
	}
	now := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		name, format, other string
		want                int // of 1000 connections
		free                bool
	}{
		{"one address", "192.31.196.1", "192.31.197.1", max / 2, true},
		{"one /24", "192.31.196.%d", "192.31.197.1", max / 2, true},
		{"one /64", "2a01:4f8::%x", "2a01:4f9::1", max / 2, true},
		{"one /48", "2a01:4f8:0:%x::1", "2a01:4f9::1", max / 2, true},
		{"loopback", "127.66.0.1", "127.66.0.2", max / 2, true},
		{"many networks", "192.31.%d.1", "192.32.0.1", max, false},
	} {
		r := &resources{max: max, rate: prefix.Rate{Budget: inboundRate, Period: inboundPeriod}}
		var held []prefix.Groups
		for i := range 200 {
			if g := address(tt.format, i); r.acquire(g, now) {
				held = append(held, g)
			}
		}
		if len(held) != tt.want {
			t.Errorf("%s: %d places, want %d", tt.name, len(held), tt.want)
		}
		if got := r.acquire(prefix.Of(netip.MustParseAddr(tt.other)), now); got != tt.free {
			t.Errorf("%s: room for another network: %v", tt.name, got)
		} else if got {
			r.release(prefix.Of(netip.MustParseAddr(tt.other)))
		}
		for _, g := range held {
			r.release(g)
		}
		if r.inbound != 0 || r.groups.Len() != 0 {
			t.Errorf("%s: %d places of %d groups are left", tt.name, r.inbound, r.groups.Len())
		}
	}
}

// What we are short of is never a peer's failure.
func TestShortagesAreOurs(t *testing.T) {
	for name, cause := range map[string]error{
		"connections": network.ErrResourceLimitExceeded, "files": syscall.EMFILE, "files of the system": syscall.ENFILE,
		"buffers": syscall.ENOBUFS, "memory": syscall.ENOMEM, "places": ErrTooManyConnections, "anything": ErrShortage,
	} {
		dialErr := &swarm.DialError{DialErrors: []swarm.TransportError{{Cause: syscall.ECONNREFUSED}, {Cause: fmt.Errorf("dial: %w", cause)}}}
		stream := &requestError{operation: opStatus, err: transportError(fmt.Errorf("new stream: %w", cause))}
		for what, err := range map[string]error{"dial": dialErr, "stream": stream} {
			if got := Outcome(err); got != event.OutcomeCanceled {
				t.Errorf("%s of a %s: outcome %s", name, what, got)
			}
			if !errors.Is(asShortage(err), ErrShortage) {
				t.Errorf("%s of a %s is no shortage", name, what)
			}
		}
	}
	if err := asShortage(syscall.ECONNREFUSED); errors.Is(err, ErrShortage) {
		t.Error("a refusal is a shortage")
	}
	if asShortage(nil) != nil {
		t.Error("success is a shortage")
	}
}

// A peer that opens streams without end is cut off, for its violation.
func TestStreamFlood(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	s := dial(t, h, p.target())
	ctx := testContext(t)
	conn := connOf(t, p, h)
	opened := 0
	for ; opened < 10_000; opened++ {
		stream, err := conn.NewStream(ctx)
		if err != nil {
			break
		}
		stream.Write(opening(protoIdentify))
		stream.Close()
	}
	select {
	case <-s.Done():
	case <-ctx.Done():
		t.Fatalf("still connected after %d streams", opened)
	}
	if _, err := s.Ping(ctx); Outcome(err) != event.OutcomeProtocol {
		t.Errorf("outcome %s: %v", Outcome(err), err)
	}
}

// connOf waits until a peer knows the host's connection, and gives its end.
func connOf(t *testing.T, p *testPeer, h *Host) (conn network.Conn) {
	t.Helper()
	await(t, "the peer knows its connection", func() bool {
		conns := p.Network().ConnsToPeer(h.swarm.LocalPeer())
		if len(conns) > 0 {
			conn = conns[0]
		}
		return conn != nil
	})
	return conn
}

// halfOpen opens streams that never end their negotiation, as many as it may.
func halfOpen(t *testing.T, conn network.Conn, streams int) (opened []network.Stream) {
	t.Helper()
	for range streams {
		stream, err := conn.NewStream(testContext(t))
		if err != nil {
			break
		}
		stream.Write(opening(protoIdentify)[:1])
		opened = append(opened, stream)
	}
	return opened
}

// Streams that a peer opens and never ends leave room for ours: it cannot make its failures
// look like a shortage of ours.
func TestStreamsOfAPeerLeaveRoom(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	p.SetStreamHandler(ProtoMetaDataV3, func(s network.Stream) { // slow, so that the requests overlap
		time.Sleep(300 * time.Millisecond)
		s.Write(EncodeResponse(0, theirMetaData().MarshalSSZ(3)))
		s.Close()
	})
	s := dial(t, h, p.target())
	opened := halfOpen(t, connOf(t, p, h), peerStreams-4) // within the burst of the limit on new ones
	var refused atomic.Int64
	for _, stream := range opened {
		go func() {
			stream.Read(make([]byte, 64)) // until it is reset
			refused.Add(1)
		}()
	}
	await(t, "each stream is held or refused", func() bool {
		return s.conn.Stat().NumStreams+int(refused.Load()) >= len(opened)
	})
	var requests errgroup.Group
	for range 10 {
		requests.Go(func() error {
			_, err := s.MetaData(testContext(t))
			return err
		})
	}
	if err := requests.Wait(); err != nil {
		t.Errorf("%v; a shortage of ours: %v", err, errors.Is(err, ErrShortage))
	}
}

// A peer opens several streams as soon as we have dialled it, and all of them count, also
// in a host for a single connection.
func TestFirstStreamsOfAPeer(t *testing.T) {
	for range 20 {
		p, h := startPeer(t), startHost(t, func(cfg *Config) { cfg.MaxConnections = 1 })
		s := dial(t, h, p.target())
		halfOpen(t, connOf(t, p, h), 8)
		p.open(h, "/meshsub/1.1.0", encodeRPC(t, on("kept")...))
		if hello, err := s.Hello(testContext(t)); err != nil || len(hello) != 1 {
			t.Fatalf("hello %v, %v", hello, err)
		}
	}
}

// Only topics of eth2 are remembered: others could be of any number and length.
func TestOtherTopicsAreNotKept(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	s := dial(t, h, p.target())
	var list []Subscription
	for i := range 2000 {
		list = append(list, Subscription{true, strings.Repeat("x", 60) + fmt.Sprint(i)})
	}
	p.open(h, "/meshsub/1.1.0", encodeRPC(t, append(list[:1000:1000], on("kept")...)...))
	hello, err := s.Hello(testContext(t))
	if len(hello) != 1 || hello[0].Topic != topicOf("kept") || err != nil {
		t.Errorf("%d topics are kept, %v", len(hello), err)
	}
}

// An RPC that never ends holds little memory.
func TestUnfinishedRPCIsBounded(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	s := dial(t, h, p.target())
	stream := p.open(h, "/meshsub/1.1.0", []byte{0x80, 0x80, 0x40}) // 1 MiB
	stream.SetDeadline(time.Now().Add(testTimeout))
	if _, err := stream.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the stream of an RPC of 1 MiB: %v", err)
	}
	await(t, "the violation is known", func() bool { return Outcome(s.ProtocolError()) == event.OutcomeProtocol })
}
