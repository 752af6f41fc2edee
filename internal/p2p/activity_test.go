package p2p

import (
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/quic-go/quic-go"
)

// endingStream is a gossip stream that has one RPC, and ends with an error when
// it is told to.
type endingStream struct {
	network.Stream
	rpc []byte
	end chan error
}

func (s *endingStream) Read(p []byte) (int, error) {
	if n := copy(p, s.rpc); n > 0 {
		s.rpc = s.rpc[n:]
		return n, nil
	}
	return 0, <-s.end
}

func (s *endingStream) SetDeadline(time.Time) error     { return nil }
func (s *endingStream) SetReadDeadline(time.Time) error { return nil }
func (s *endingStream) Reset() error                    { return nil }

// A follower does not learn that a peer was there until its loss was found out.
func TestFollowEndsWhereAVanishedPeerWasLastActive(t *testing.T) {
	for name, tt := range map[string]struct {
		end      error
		vanished bool
	}{
		"QUIC idle":         {&quic.IdleTimeoutError{}, true},
		"keep-alive":        {fmt.Errorf("%w: connection closed: keepalive timeout", network.ErrReset), true},
		"TCP timeout":       {fmt.Errorf("read: %w", syscall.ETIMEDOUT), true},
		"stateless reset":   {&quic.StatelessResetError{}, true},
		"we closed":         {&network.ConnError{}, true},
		"they closed":       {&network.ConnError{Remote: true}, false},
		"they reset":        {&network.StreamError{Remote: true}, false},
		"FIN":               {fmt.Errorf("%w: connection closed: %w", network.ErrReset, io.EOF), false},
		"end of the stream": {io.EOF, false},
		"RST":               {syscall.ECONNRESET, false},
	} {
		t.Run(name, func(t *testing.T) {
			p, h := startPeer(t), startHost(t, nil)
			p.serveAll()
			s := dial(t, h, p.target())
			stream := &endingStream{rpc: encodeRPC(t, on("a", "b")...), end: make(chan error)}
			left := make(chan struct{})
			go func() {
				defer close(left)
				h.onMeshsub(s, stream, &chunkReader{src: stream})
			}()
			if _, err := s.Hello(testContext(t)); err != nil {
				t.Fatal(err)
			}
			var seen changeLog
			_, stop := s.Follow(seen.add)
			defer stop()
			asked := time.Now()
			if _, err := s.Ping(testContext(t)); err != nil {
				t.Fatal(err)
			}
			answered := time.Now()
			stream.end <- tt.end
			<-left
			ends := seen.ends()
			if len(ends) != 1 {
				t.Fatalf("%d ends", len(ends))
			}
			if at := ends[0]; at.Before(asked) || at.Before(answered) != tt.vanished {
				t.Errorf("ended %v after the last answer, vanished %v", at.Sub(answered), tt.vanished)
			}
		})
	}
}

func TestLastActive(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	p.serveAll()
	p.serve(ProtoMetaDataV3, EncodeResponse(CodeRateLimited, []byte("later")))
	s := dial(t, h, p.target())
	for _, sign := range []struct {
		name string
		give func()
	}{
		{"an answer", func() { _, _ = s.Ping(testContext(t)) }},
		{"an error code", func() { _, _ = s.MetaData(testContext(t)) }},
		{"a ping", func() { _, _ = p.request(h, ProtoPingV1, make([]byte, 8)) }},
		{"gossip", func() { p.open(h, "/meshsub/1.1.0", encodeRPC(t, on("a")...)) }},
	} {
		before := time.Now()
		sign.give()
		await(t, sign.name+" counts as activity", func() bool { return s.LastActive().After(before) })
	}
	p.serve(ProtoPingV1, nil)
	await(t, "the stream's opening is over", func() bool { return len(s.Subscriptions()) > 0 })
	before := time.Now()
	if _, err := s.Ping(testContext(t)); err == nil || s.LastActive().After(before) {
		t.Errorf("an unanswered request counts as activity %v later: %v", s.LastActive().Sub(before), err)
	}
}

// A follower gets its last call when a connection that the peer closes ends, and over mplex
// takes one for lost that ends after minutes without data.
func TestFollowEndsWithTheConnection(t *testing.T) {
	for name, transports := range eachTransport() {
		for _, silent := range []time.Duration{0, tcpDeadAfter + time.Second} {
			t.Run(fmt.Sprint(name, " silent for ", silent), func(t *testing.T) {
				p, h := startPeer(t, transports...), startHost(t, nil)
				s := dial(t, h, p.target())
				p.open(h, "/meshsub/1.1.0", encodeRPC(t, on("a", "b")...))
				if _, err := s.Hello(testContext(t)); err != nil {
					t.Fatal(err)
				}
				var seen changeLog
				_, stop := s.Follow(seen.add)
				defer stop()
				s.mu.Lock()
				s.lastActive = s.lastActive.Add(-silent)
				s.mu.Unlock()
				closes := time.Now()
				p.Close()
				await(t, "the end is reported", func() bool { return len(seen.ends()) == 1 })
				lost := name == "tcp-mplex" && silent > 0
				if at := seen.ends()[0]; at.Before(closes) != lost {
					t.Errorf("ended %v after the connection", at.Sub(closes))
				}
			})
		}
	}
}
