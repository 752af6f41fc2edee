package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/chainbound/valtrack/internal/event"
)

// Responses that no healthy peer gives: an error with the right outcome, in
// bounded time, and a session that still works (pitfalls B1.4 to B1.6).
func TestHostileResponses(t *testing.T) {
	for name, transports := range eachTransport() {
		// go-mplex never takes back the buffers of a stream that is reset with data
		// unread, and stalls when four are lost: such a peer harms its own connection.
		survives := name != "tcp-mplex"
		t.Run(name, func(t *testing.T) { testHostileResponses(t, startPeer(t, transports...), survives) })
	}
}

func testHostileResponses(t *testing.T, p *testPeer, survives bool) {
	status := EncodeResponse(0, theirStatus().MarshalSSZ(2))
	ctx := testContext(t)
	p.serveAll()
	patient := startHost(t, nil)
	hurried := startHost(t, func(cfg *Config) { // for those that never answer
		cfg.FirstByteTimeout = 100 * time.Millisecond
		cfg.responseTimeout = 200 * time.Millisecond
	})
	hang := func(first []byte) network.StreamHandler {
		return func(s network.Stream) {
			s.Write(first)
			<-ctx.Done()
			s.Reset()
		}
	}
	write := func(b []byte) network.StreamHandler {
		return func(s network.Stream) { s.Write(b); s.Close() }
	}
	for name, tc := range map[string]struct {
		handler network.StreamHandler
		want    string
	}{
		"garbage":         {write([]byte("\x00GET / HTTP/1.1\r\n\r\n")), event.OutcomeProtocol},
		"oversize length": {write([]byte{0, 0xff, 0xff, 0xff, 0x7f}), event.OutcomeProtocol},
		"endless":         {write(append([]byte{0, 92}, make([]byte, 1<<20)...)), event.OutcomeProtocol},
		"trailing bytes":  {write(append(slices.Clone(status), 1)), event.OutcomeProtocol},
		"truncated":       {write(status[:40]), event.OutcomeProtocol},
		"too short":       {write(EncodeResponse(0, make([]byte, 84))), event.OutcomeProtocol},
		"error code":      {write(EncodeResponse(2, []byte("no"))), event.OutcomeStatus},
		"rate limited":    {write(EncodeResponse(139, []byte("rate limited"))), event.OutcomeStatus},
		"endless error":   {write(append([]byte{2}, make([]byte, 1<<20)...)), event.OutcomeStatus},
		"no answer":       {write(nil), event.OutcomeStatus},
		"reset":           {func(s network.Stream) { s.Reset() }, event.OutcomeReset},
		"hang":            {hang(nil), event.OutcomeStatus},
		"hang after code": {hang([]byte{0}), event.OutcomeStatus},
		"hang midway":     {hang(status[:40]), event.OutcomeStatus},
		"hang in error":   {hang([]byte{3}), event.OutcomeStatus},
	} {
		t.Run(name, func(t *testing.T) {
			p.SetStreamHandler(ProtoStatusV2, tc.handler)
			h := patient
			if strings.HasPrefix(name, "hang") {
				h = hurried
			}
			var s *Session
			await(t, "the peer has identified itself", func() bool { // on a busy machine it may take too long
				s = dial(t, h, p.target())
				_, err := s.Agent(ctx)
				if err != nil {
					s.Close()
				}
				return err == nil
			})
			defer s.Close()
			_, err := s.Status(ctx)
			if err == nil || Outcome(err) != tc.want {
				t.Errorf("Status: %v, outcome %s, want %s", err, Outcome(err), tc.want)
			}
			if len(fmt.Sprint(err)) > 600 {
				t.Errorf("an error text of %d bytes", len(fmt.Sprint(err)))
			}
			if survives {
				await(t, "the session works", func() bool { _, err := s.Ping(ctx); return err == nil })
			}
		})
	}
}

// Requests that no healthy peer sends are answered or reset, and never stop us.
func TestHostileRequests(t *testing.T) {
	p := startPeer(t)
	p.serveAll()
	h := startHost(t, func(cfg *Config) {
		cfg.FirstByteTimeout = 50 * time.Millisecond
		cfg.responseTimeout = 100 * time.Millisecond
	})
	s := dial(t, h, p.target())
	for _, proto := range []protocol.ID{ProtoStatusV2, ProtoPingV1, ProtoMetaDataV3, ProtoGoodbyeV1, "/meshsub/1.1.0"} {
		for i, raw := range [][]byte{nil, make([]byte, 1<<16), {8}, []byte("GET / HTTP/1.1\r\n\r\n"), {0xff, 0xff, 0xff, 0xff, 0x7f}} {
			if proto == "/meshsub/1.1.0" && i < 2 {
				continue // silence and empty RPCs are legal there
			}
			stream := p.open(h, proto, nil)
			stream.Write(raw) // may be reset while we write
			for b := make([]byte, 512); ; {
				if _, err := stream.Read(b); err != nil {
					break
				}
				if proto == "/meshsub/1.1.0" {
					t.Fatal("we wrote on a meshsub stream")
				}
			}
			stream.Reset()
		}
	}
	await(t, "the session works", func() bool { _, err := s.Status(testContext(t)); return err == nil })
}

func TestContextEndsRequest(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	asked, ended := make(chan struct{}), testContext(t)
	p.SetStreamHandler(ProtoStatusV2, func(s network.Stream) {
		close(asked)
		s.Read(make([]byte, 1024))
		<-ended.Done()
	})
	s := dial(t, h, p.target())
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-asked; cancel() }()
	if _, err := s.Status(ctx); Outcome(err) != event.OutcomeCanceled {
		t.Errorf("Status: %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	for name, call := range map[string]func() error{
		"Ping":  func() error { _, err := s.Ping(ctx); return err },
		"Hello": func() error { _, err := s.Hello(ctx); return err },
	} {
		if err := call(); Outcome(err) != event.OutcomeCanceled {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Close()
	if _, err := s.Ping(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("Ping on a closed session: %v", err)
	}
}

// One RPC per topic, as rust-libp2p sends its hello: whole only after a pause.
func TestHelloOneTopicAnRPC(t *testing.T) {
	for name, transports := range eachTransport() {
		t.Run(name, func(t *testing.T) { testHelloOneTopicAnRPC(t, startPeer(t, transports...)) })
	}
}

func testHelloOneTopicAnRPC(t *testing.T, p *testPeer) {
	h := startHost(t, nil)
	s := dial(t, h, p.target())
	stream := p.open(h, "/meshsub/1.1.0", nil)
	var want []string
	for i := range 70 {
		topic := topicOf(fmt.Sprintf("data_column_sidecar_%d", i))
		want = append(want, topic)
		if _, err := stream.Write(encodeRPC(t, Subscription{true, topic})); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	hello, err := s.Hello(testContext(t))
	if diff := cmp.Diff(want, topics(hello)); err != nil || diff != "" {
		t.Error(err, diff)
	}
	// Later changes, unsubscriptions among them (pitfall B2.10).
	stream.Write(encodeRPC(t, Subscription{false, want[0]}, Subscription{true, topicOf("later")}, Subscription{false, topicOf("unknown")}))
	want = append(want[1:], topicOf("later"))
	slices.Sort(want)
	await(t, "the changes are applied", func() bool { return slices.Equal(topics(s.Subscriptions()), want) })
}

// A real gossipsub router tells us its topics though we never open a stream.
func TestHelloOfGossipsub(t *testing.T) {
	ctx := testContext(t)
	p, h := startPeer(t), startHost(t, nil)
	router, err := pubsub.NewGossipSub(ctx, p.Host)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/eth2/8c9f62fe/beacon_attestation_0/ssz_snappy", "/eth2/8c9f62fe/beacon_attestation_63/ssz_snappy", "/eth2/8c9f62fe/beacon_block/ssz_snappy"}
	var subs []*pubsub.Subscription
	for _, name := range want {
		topic, err := router.Join(name)
		if err != nil {
			t.Fatal(err)
		}
		sub, err := topic.Subscribe()
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	s := dial(t, h, p.target())
	hello, err := s.Hello(ctx)
	if diff := cmp.Diff(want, topics(hello)); err != nil || diff != "" {
		t.Error(err, diff)
	}
	subs[2].Cancel()
	await(t, "the topic is left", func() bool { return slices.Equal(topics(s.Subscriptions()), want[:2]) })
}

func TestNoHello(t *testing.T) {
	p := startPeer(t)
	h := startHost(t, func(cfg *Config) { cfg.HelloTimeout = 20 * time.Millisecond })
	s := dial(t, h, p.target())
	if _, err := s.Hello(testContext(t)); !errors.Is(err, ErrNoHello) {
		t.Errorf("Hello: %v", err)
	}
}

// A flood of topics fills a bounded set and ends with the peer's byte budget.
func TestSubscriptionFlood(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	s := dial(t, h, p.target())
	stream := p.open(h, "/meshsub/1.1.0", nil)
	var floods [3][]byte
	for i := range floods {
		var flood []Subscription
		for k := range 1000 {
			flood = append(flood, Subscription{true, fmt.Sprintf("/eth2/8c9f62fe/topic_%d_%d/ssz_snappy", i, k)})
		}
		floods[i] = encodeRPC(t, flood...)
	}
	for sent, i := 0, 0; ; i++ {
		rpc := floods[i%len(floods)]
		if _, err := stream.Write(rpc); err != nil {
			break
		}
		if sent += len(rpc); sent > 16*gossipBudget {
			t.Fatalf("took %d bytes", sent)
		}
	}
	if hello, err := s.Hello(testContext(t)); err != nil || len(hello) != maxTopics {
		t.Errorf("Hello gives %d topics, %v", len(hello), err)
	}
}

// Two connections of one peer leave one session and no damage (pitfall B1.4).
func TestDuplicateConnections(t *testing.T) {
	ctx := testContext(t)
	inbound := make(chan *Session, 100)
	h := startHost(t, func(cfg *Config) {
		cfg.Inbound = func(ctx context.Context, s *Session) {
			inbound <- s
			select {
			case <-ctx.Done():
			case <-s.Done():
			}
		}
	})
	p := startPeer(t)
	p.serveAll()
	s := dial(t, h, p.target())
	if _, err := h.Dial(ctx, p.target()); !errors.Is(err, ErrAlreadyConnected) {
		t.Errorf("second dial: %v", err)
	}
	// The peer dials us although it is connected.
	for range 5 {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if s, err := h.Dial(ctx, p.target()); err == nil {
					s.Status(ctx)
					s.Close()
				}
			})
			wg.Go(func() { p.Network().DialPeer(ctx, h.swarm.LocalPeer()) })
		}
		wg.Wait()
		if n := h.Sessions(); n > 1 {
			t.Fatalf("%d sessions with one peer", n)
		}
	}
	s.Close()
	p.Network().ClosePeer(h.swarm.LocalPeer())
	await(t, "every session is gone", func() bool { return h.Sessions() == 0 })
	// A fresh connection works.
	fresh := dial(t, h, p.target())
	if _, err := fresh.Status(ctx); err != nil {
		t.Errorf("Status on a fresh session: %v", err)
	}
}

func TestDialOutcomes(t *testing.T) {
	ctx := testContext(t)
	h := startHost(t, func(cfg *Config) { cfg.dialTimeout = 300 * time.Millisecond })
	loopback := netip.MustParseAddr("127.0.0.1")
	p := startPeer(t)

	// Not a port that was free a moment ago: other tests take those.
	dead := netip.AddrPortFrom(loopback, 1)

	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	hangsUp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepts sync.WaitGroup
	accepts.Go(func() {
		for {
			conn, err := hangsUp.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	})
	defer accepts.Wait()
	defer hangsUp.Close()
	at := func(l net.Listener) []netip.AddrPort {
		return []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}
	}
	someone := startHost(t, nil).PeerID()
	alive := p.target()
	for name, tc := range map[string]struct {
		target Target
		want   string
	}{
		"refused":           {Target{PeerID: someone, TCP: []netip.AddrPort{dead}}, event.OutcomeRefused},
		"refused both":      {Target{PeerID: someone, QUIC: []netip.AddrPort{dead}, TCP: []netip.AddrPort{dead}}, event.OutcomeRefused},
		"quic timeout":      {Target{PeerID: someone, QUIC: []netip.AddrPort{dead}}, event.OutcomeDialTimeout},
		"tcp timeout":       {Target{PeerID: someone, TCP: at(silent)}, event.OutcomeDialTimeout},
		"hangs up":          {Target{PeerID: someone, TCP: at(hangsUp)}, event.OutcomeReset},
		"another peer tcp":  {Target{PeerID: someone, TCP: alive.TCP}, event.OutcomeUnreachable},
		"another peer quic": {Target{PeerID: someone, QUIC: alive.QUIC}, event.OutcomeUnreachable},
		"no address":        {Target{PeerID: someone, TCP: []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}}, event.OutcomeUnreachable},
		"quic dead, tcp up": {Target{PeerID: alive.PeerID, QUIC: []netip.AddrPort{dead}, TCP: alive.TCP}, event.OutcomeOK},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := h.Dial(ctx, tc.target)
			if got := Outcome(err); got != tc.want {
				t.Errorf("Dial: %v, outcome %s, want %s", err, got, tc.want)
			}
			if err == nil {
				s.Close()
			}
		})
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := h.Dial(canceled, alive); Outcome(err) != event.OutcomeCanceled {
		t.Errorf("canceled: %v", err)
	}
	if _, err := h.Dial(ctx, Target{PeerID: "nonsense"}); err == nil {
		t.Error("dialled a peer id that is none")
	}
}

// Where nothing listens any more TCP says so at once, and QUIC does not have its
// whole time.
func TestDialOfADeadNodeEndsEarly(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := held.Addr().(*net.TCPAddr).AddrPort()
	held.Close()
	quiet, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.Close()
	target := Target{
		PeerID: startHost(t, nil).PeerID(),
		QUIC:   []netip.AddrPort{quiet.LocalAddr().(*net.UDPAddr).AddrPort()}, TCP: []netip.AddrPort{dead},
	}
	_, err = startHost(t, nil).Dial(testContext(t), target)
	if !errors.Is(err, errNoQUICAnswer) || Outcome(err) != event.OutcomeRefused {
		t.Errorf("Dial: %v, outcome %s", err, Outcome(err))
	}
	target.TCP = nil
	_, err = startHost(t, nil).Dial(testContext(t), target)
	if errors.Is(err, errNoQUICAnswer) || Outcome(err) != event.OutcomeDialTimeout {
		t.Errorf("Dial without TCP: %v, outcome %s", err, Outcome(err))
	}
}

func TestPrivateAddressesAreNotDialled(t *testing.T) {
	h := startHost(t, func(cfg *Config) { cfg.AllowPrivate = false })
	p := startPeer(t)
	if _, err := h.Dial(testContext(t), p.target()); !errors.Is(err, errNoAddress) {
		t.Errorf("Dial: %v", err)
	}
}

func TestMaxConnections(t *testing.T) {
	ctx := testContext(t)
	h := startHost(t, func(cfg *Config) { cfg.MaxConnections = 1 })
	first, second := startPeer(t), startPeer(t)
	s := dial(t, h, first.target())
	if _, err := h.Dial(ctx, second.target()); !errors.Is(err, ErrTooManyConnections) {
		t.Errorf("Dial: %v", err)
	}
	s.Close()
	dial(t, h, second.target())
}

// An unanswered dial ends with the host.
func TestCloseEndsDials(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	h := startHost(t, nil)
	done := make(chan error)
	go func() {
		_, err := h.Dial(context.Background(), Target{PeerID: startHost(t, nil).PeerID(), TCP: []netip.AddrPort{silent.Addr().(*net.TCPAddr).AddrPort()}})
		done <- err
	}()
	await(t, "the dial has begun", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.dials) == 1 })
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Dial: %v", err)
	}
	if _, err := h.Dial(context.Background(), Target{PeerID: h.PeerID(), TCP: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}}); !errors.Is(err, ErrClosed) {
		t.Errorf("Dial on a closed host: %v", err)
	}
}

func TestListenOnBothFamilies(t *testing.T) {
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skip("no IPv6 loopback here")
	} else {
		l.Close()
	}
	v6 := netip.IPv6Loopback()
	h := startHost(t, func(cfg *Config) {
		cfg.Listen = []netip.Addr{netip.MustParseAddr("127.0.0.1"), v6}
		cfg.Inbound = func(ctx context.Context, s *Session) { <-ctx.Done() }
	})
	for _, target := range []Target{
		{PeerID: h.PeerID(), QUIC: []netip.AddrPort{netip.AddrPortFrom(v6, h.QUICPort())}},
		{PeerID: h.PeerID(), TCP: []netip.AddrPort{netip.AddrPortFrom(v6, h.TCPPort())}},
		hostTarget(h),
	} {
		s := dial(t, startHost(t, nil), target)
		if status, err := s.Status(testContext(t)); err != nil || status.ForkDigest != ourStatus().ForkDigest {
			t.Errorf("Status = %+v, %v", status, err)
		}
	}
}

func TestNewHostErrors(t *testing.T) {
	taken := startHost(t, nil)
	loopback := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	good := Config{Key: testKey(t), Listen: loopback, Local: local{}}
	for name, change := range map[string]func(*Config){
		"short key":       func(c *Config) { c.Key = c.Key[:31] },
		"tcp port taken":  func(c *Config) { c.TCPPort = taken.TCPPort() },
		"quic port taken": func(c *Config) { c.QUICPort = taken.QUICPort() },
		"foreign address": func(c *Config) { c.Listen = []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
		"no local":        func(c *Config) { c.Local = nil },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			if h, err := NewHost(cfg); err == nil {
				h.Close()
				t.Error("no error")
			}
		})
	}
}

func TestQuota(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var g gcra
	r := quota{interval: time.Second, burst: 2}
	for i, want := range []bool{true, true, false} {
		if got := g.allow(now, r); got != want {
			t.Errorf("request %d: %v", i, got)
		}
	}
	if !g.allow(now.Add(time.Second), r) || g.allow(now.Add(time.Second), r) {
		t.Error("one token an interval")
	}
	later := now.Add(time.Hour)
	for range 2 {
		if !g.allow(later, r) {
			t.Error("an hour of rest fills the bucket")
		}
	}
	if g.allow(later, r) {
		t.Error("the bucket holds burst tokens at the most")
	}
}
