package p2p

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

func topics(subs []Subscription) []string {
	var names []string
	for _, s := range subs {
		names = append(names, s.Topic)
	}
	slices.Sort(names)
	return names
}

// A whole handshake with a healthy peer over each transport that clients have.
func TestHandshake(t *testing.T) {
	for name, tc := range map[string]struct {
		transports []libp2p.Option
		transport  string
	}{
		"quic and tcp": {[]libp2p.Option{withQUIC, withTCP, withYamux}, event.QUIC},
		"quic only":    {[]libp2p.Option{withQUIC}, event.QUIC},
		"tcp yamux":    {[]libp2p.Option{withTCP, withYamux}, event.TCP},
		"tcp mplex":    {[]libp2p.Option{withTCP, withMplex}, event.TCP},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := testContext(t)
			p := startPeer(t, tc.transports...)
			p.serveAll()
			h := startHost(t, nil)
			s := dial(t, h, p.target())

			if s.Direction() != event.Outbound || s.Transport() != tc.transport || s.PeerID() != p.ID().String() {
				t.Errorf("direction %s, transport %s, peer %s", s.Direction(), s.Transport(), s.PeerID())
			}
			if agent, err := s.Agent(ctx); err != nil || agent != "Lighthouse/v8.1.0-test/x86_64-linux" {
				t.Errorf("Agent = %q, %v", agent, err)
			}
			for range 2 { // before and after identify has said what the peer speaks
				status, err := s.Status(ctx)
				if diff := cmp.Diff(theirStatus(), status); err != nil || diff != "" {
					t.Error(err, diff)
				}
			}
			metadata, err := s.MetaData(ctx)
			if diff := cmp.Diff(theirMetaData(), metadata); err != nil || diff != "" {
				t.Error(err, diff)
			}
			if seq, err := s.Ping(ctx); err != nil || seq != 7 {
				t.Errorf("Ping = %d, %v", seq, err)
			}
			p.open(h, "/meshsub/1.2.0", encodeRPC(t, Subscription{true, topicOf("a")}, Subscription{true, topicOf("b")}, Subscription{false, topicOf("b")}))
			hello, err := s.Hello(ctx)
			if diff := cmp.Diff(topicsOf("a"), topics(hello)); err != nil || diff != "" {
				t.Error(err, diff)
			}
			if err := s.Goodbye(ctx, eth2.GoodbyeTooManyPeers); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			<-s.Done()

			for proto, want := range map[string][]byte{
				string(ProtoStatusV2):   EncodeRequest(ourStatus().MarshalSSZ(2)),
				string(ProtoMetaDataV3): nil,
				string(ProtoPingV1):     EncodeRequest(eth2.MarshalUint64(1)),
				string(ProtoGoodbyeV1):  EncodeRequest(eth2.MarshalUint64(129)),
			} {
				got := p.asked(protocol.ID(proto))
				if len(got) == 0 || !bytes.Equal(got[0], want) {
					t.Errorf("%s was asked %x, want %x", proto, got, want)
				}
			}
			await(t, "the slot is free", func() bool { return h.Sessions() == 0 })
			if n := len(h.peers.Peers()); n > 1 {
				t.Errorf("%d peers kept in the peerstore, want our own only", n)
			}
		})
	}
}

// A peer that speaks old versions only, or answers none (pitfall B2.18).
func TestVersionFallback(t *testing.T) {
	t.Run("status 1, metadata 2", func(t *testing.T) {
		ctx, p, h := testContext(t), startPeer(t), startHost(t, nil)
		p.serve(ProtoStatusV1, EncodeResponse(0, theirStatus().MarshalSSZ(1)))
		p.serve(ProtoMetaDataV2, EncodeResponse(0, theirMetaData().MarshalSSZ(2)))
		s := dial(t, h, p.target())
		for range 2 { // without and with identify
			status, err := s.Status(ctx)
			if err != nil || status.EarliestAvailableSlot != nil || status.HeadSlot != theirStatus().HeadSlot {
				t.Errorf("Status = %+v, %v", status, err)
			}
			if _, err := s.Agent(ctx); err != nil {
				t.Error(err)
			}
		}
		m, err := s.MetaData(ctx)
		if err != nil || m.CustodyGroupCount != nil || m.Syncnets == nil || *m.Syncnets != 5 {
			t.Errorf("MetaData = %+v, %v", m, err)
		}
	})
	t.Run("metadata 1", func(t *testing.T) {
		ctx, p, h := testContext(t), startPeer(t), startHost(t, nil)
		p.serve(ProtoMetaDataV1, EncodeResponse(0, theirMetaData().MarshalSSZ(1)))
		m, err := dial(t, h, p.target()).MetaData(ctx)
		if err != nil || m.Syncnets != nil || m.Attnets != theirMetaData().Attnets {
			t.Errorf("MetaData = %+v, %v", m, err)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		ctx, p, h := testContext(t), startPeer(t), startHost(t, nil)
		s := dial(t, h, p.target())
		for range 2 {
			if _, err := s.Status(ctx); !errors.Is(err, ErrUnsupported) || Outcome(err) != event.OutcomeNegotiation {
				t.Errorf("Status: %v, outcome %s", err, Outcome(err))
			}
			s.Agent(ctx)
		}
	})
	t.Run("identify names a protocol that is gone", func(t *testing.T) {
		ctx, p, h := testContext(t), startPeer(t), startHost(t, nil)
		p.serveAll()
		s := dial(t, h, p.target())
		if _, err := s.Agent(ctx); err != nil {
			t.Fatal(err)
		}
		p.Mux().RemoveHandler(ProtoStatusV2) // without an identify push
		if status, err := s.Status(ctx); err != nil || status.EarliestAvailableSlot != nil {
			t.Errorf("Status = %+v, %v", status, err)
		}
	})
}

// What we serve, to a peer that connects to us.
func TestInbound(t *testing.T) {
	sessions := make(chan *Session, 1)
	h := startHost(t, func(cfg *Config) {
		cfg.Inbound = func(ctx context.Context, s *Session) {
			sessions <- s
			<-ctx.Done()
		}
	})
	p := startPeer(t)
	p.serveAll()
	p.connect(h)
	s := <-sessions
	if s.Direction() != event.Inbound || s.PeerID() != p.ID().String() {
		t.Errorf("direction %s, peer %s", s.Direction(), s.PeerID())
	}
	for proto, tc := range map[string]struct{ request, want []byte }{
		string(ProtoStatusV1):   {theirStatus().MarshalSSZ(1), ourStatus().MarshalSSZ(1)},
		string(ProtoStatusV2):   {theirStatus().MarshalSSZ(2), ourStatus().MarshalSSZ(2)},
		string(ProtoPingV1):     {eth2.MarshalUint64(9), eth2.MarshalUint64(1)},
		string(ProtoMetaDataV1): {nil, ourMetaData().MarshalSSZ(1)},
		string(ProtoMetaDataV2): {nil, ourMetaData().MarshalSSZ(2)},
		string(ProtoMetaDataV3): {nil, ourMetaData().MarshalSSZ(3)},
	} {
		got, err := p.request(h, protocol.ID(proto), tc.request)
		if err != nil || !bytes.Equal(got, tc.want) {
			t.Errorf("%s answered %x, %v; want %x", proto, got, err, tc.want)
		}
	}
	status, err := s.Status(testContext(t))
	if diff := cmp.Diff(theirStatus(), status); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, err := p.request(h, ProtoStatusV2, theirStatus().MarshalSSZ(1)); !hasCode(err, CodeInvalidRequest) {
		t.Errorf("a status of the wrong size: %v", err)
	}
}

func hasCode(err error, code byte) bool {
	var answer *ResponseError
	return errors.As(err, &answer) && answer.Code == code
}

// A peer's goodbye is recorded and explains the failures that follow.
func TestRemoteGoodbye(t *testing.T) {
	for name, transports := range eachTransport() {
		t.Run(name, func(t *testing.T) { testRemoteGoodbye(t, startPeer(t, transports...)) })
	}
}

func testRemoteGoodbye(t *testing.T, p *testPeer) {
	ctx, h := testContext(t), startHost(t, nil)
	p.SetStreamHandler(ProtoStatusV2, func(s network.Stream) {
		// A full client: goodbye, then the connection is closed.
		if g, err := p.NewStream(ctx, s.Conn().RemotePeer(), ProtoGoodbyeV1); err == nil {
			g.Write(EncodeRequest(eth2.MarshalUint64(129)))
			g.CloseWrite()
			g.Read(make([]byte, 1))
		}
		s.Conn().Close()
	})
	s := dial(t, h, p.target())
	_, err := s.Status(ctx)
	var goodbye *GoodbyeError
	if !errors.As(err, &goodbye) || goodbye.Code != 129 || Outcome(err) != event.OutcomeGoodbye {
		t.Errorf("Status: %v, outcome %s", err, Outcome(err))
	}
	if code, ok := s.RemoteGoodbye(); !ok || code != 129 {
		t.Errorf("RemoteGoodbye = %d, %v", code, ok)
	}
	<-s.Done()
	if _, err := s.Ping(ctx); Outcome(err) != event.OutcomeGoodbye {
		t.Errorf("after the goodbye: %v", err)
	}
}

// A peer that says goodbye and stays is disconnected.
func TestRemoteGoodbyeWithoutClose(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	s := dial(t, h, p.target())
	p.open(h, ProtoGoodbyeV1, EncodeRequest(eth2.MarshalUint64(1))).CloseWrite()
	<-s.Done()
	if code, ok := s.RemoteGoodbye(); !ok || code != 1 {
		t.Errorf("RemoteGoodbye = %d, %v", code, ok)
	}
}

// Requests beyond a peer's quota are answered with code 139.
func TestInboundQuota(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	dial(t, h, p.target())
	var limited bool
	for range quotaPing.quota().burst + 1 {
		_, err := p.request(h, ProtoPingV1, eth2.MarshalUint64(1))
		var answer *ResponseError
		if errors.As(err, &answer) {
			limited = answer.Code == CodeRateLimited && answer.Message == "rate limited"
		}
	}
	if !limited {
		t.Error("never rate limited")
	}
	if _, err := p.request(h, ProtoMetaDataV3, nil); err != nil {
		t.Errorf("another protocol has its own quota: %v", err)
	}
}

// turning is a local whose fork digest changes.
type turning struct {
	local
	digest atomic.Pointer[eth2.ForkDigest]
}

func (l *turning) Status() eth2.Status { return eth2.Status{ForkDigest: *l.digest.Load()} }

// A Status that waits for the negotiation while a fork passes has the new digest.
func TestStatusIsTakenWhenItIsWritten(t *testing.T) {
	var ours turning
	ours.digest.Store(&eth2.ForkDigest{1})
	p, h := startPeer(t), startHost(t, func(cfg *Config) { cfg.Local = &ours })
	sent := make(chan eth2.Status, 1)
	p.Network().SetStreamHandler(func(stream network.Stream) {
		defer stream.Reset()
		in := &chunkReader{src: stream}
		_, _ = in.token()
		if proposal, err := in.token(); err != nil || proposal != string(ProtoStatusV2) {
			_, _ = in.readBytes(1) // identify never ends
			return
		}
		ours.digest.Store(&eth2.ForkDigest{2})
		_, _ = stream.Write(appendToken(appendToken(nil, multistreamID), string(ProtoStatusV2)))
		var status eth2.Status
		if ssz, err := in.request(eth2.StatusV2Size); err != nil || status.UnmarshalSSZ(ssz) != nil {
			t.Errorf("our Status: %v", err)
		}
		sent <- status
	})
	s := dial(t, h, p.target())
	if _, err := s.Status(testContext(t)); err == nil {
		t.Error("a Status without an answer")
	}
	if got := (<-sent).ForkDigest; got != (eth2.ForkDigest{2}) {
		t.Errorf("sent digest %v after the fork", got)
	}
}
