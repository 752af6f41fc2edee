package devnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/p2p"
)

// requestTimeout bounds one request of a peer, and one of ours: RESP_TIMEOUT of the
// clients.
const requestTimeout = 10 * time.Second

// handler answers one request, given its SSZ.
type handler func(s *session, request []byte) (reply, error)

// reply is an answer, and what to do once it has been sent.
type reply struct {
	ssz  []byte // nil sends nothing
	then func() // may be nil
}

// handlers of a node, by protocol.
func (n *node) handlers() map[protocol.ID]handler {
	all := map[protocol.ID]handler{
		p2p.ProtoStatusV1:   func(s *session, b []byte) (reply, error) { return s.onStatus(b, 1) },
		p2p.ProtoStatusV2:   func(s *session, b []byte) (reply, error) { return s.onStatus(b, 2) },
		p2p.ProtoPingV1:     (*session).onPing,
		p2p.ProtoMetaDataV1: func(*session, []byte) (reply, error) { return reply{ssz: n.metaData().MarshalSSZ(1)}, nil },
		p2p.ProtoMetaDataV2: func(*session, []byte) (reply, error) { return reply{ssz: n.metaData().MarshalSSZ(2)}, nil },
		p2p.ProtoMetaDataV3: func(*session, []byte) (reply, error) { return reply{ssz: n.metaData().MarshalSSZ(3)}, nil },
		p2p.ProtoGoodbyeV1:  (*session).onGoodbye,
	}
	switch {
	case n.persona == OldProtocols:
		delete(all, p2p.ProtoStatusV2)
		delete(all, p2p.ProtoMetaDataV3)
		if n.metaDataVersion == 1 {
			delete(all, p2p.ProtoMetaDataV2)
		}
	case n.profile.onlyNewest:
		delete(all, p2p.ProtoStatusV1)
		delete(all, p2p.ProtoMetaDataV1)
		delete(all, p2p.ProtoMetaDataV2)
	}
	return all
}

// serve answers one stream. A failed request ends with a reset: the peer sees an
// error, and there is nothing to do about it here.
func (l *life) serve(ctx context.Context, stream network.Stream, h handler) {
	n, s := l.node, l.sessionOf(stream.Conn())
	if s != nil {
		s.contact.asked(stream.Protocol())
	}
	if n.persona == Hang {
		<-ctx.Done()
		_ = stream.Reset()
		return
	}
	if s == nil || stream.SetDeadline(time.Now().Add(requestTimeout)) != nil {
		_ = stream.Reset()
		return
	}
	if n.persona == Goodbye && stream.Protocol() != p2p.ProtoGoodbyeV1 {
		<-s.done // it has nothing to say but goodbye
		_ = stream.Reset()
		return
	}
	r, err := n.answer(ctx, s, stream, h)
	if err != nil {
		n.log.Debug("request not answered", peerAttr(stream.Conn()), slog.String("protocol", string(stream.Protocol())), slog.Any("err", err))
		_ = stream.Reset()
	} else {
		_ = stream.Close()
	}
	if r.then != nil {
		r.then()
	}
}

func (n *node) answer(ctx context.Context, s *session, stream network.Stream, h handler) (reply, error) {
	var request []byte
	if max := requestSize(stream.Protocol()); max > 0 {
		var err error
		if request, err = p2p.ReadRequest(stream, max); err != nil {
			return reply{}, err
		}
	}
	r, err := h(s, request)
	if err != nil {
		_, werr := stream.Write(p2p.EncodeResponse(p2p.CodeInvalidRequest, []byte(err.Error())))
		return r, errors.Join(err, werr)
	}
	if r.ssz == nil {
		return r, nil
	}
	out := p2p.EncodeResponse(p2p.CodeSuccess, r.ssz)
	if stream.Protocol() != p2p.ProtoPingV1 {
		out = n.spoil(out)
	}
	if delay := n.answerDelay(); delay > 0 && !wait(ctx, delay) {
		return r, ctx.Err()
	}
	_, err = stream.Write(out)
	return r, err
}

// requestSize is the SSZ size of a protocol's request, 0 for MetaData's none.
func requestSize(id protocol.ID) int {
	switch id {
	case p2p.ProtoStatusV1:
		return eth2.StatusV1Size
	case p2p.ProtoStatusV2:
		return eth2.StatusV2Size
	case p2p.ProtoPingV1, p2p.ProtoGoodbyeV1:
		return eth2.Uint64Size
	}
	return 0
}

// spoil replaces a good response by what the persona sends.
func (n *node) spoil(good []byte) []byte {
	switch n.persona {
	case HostileText:
		if n.saysErrors() {
			return p2p.EncodeResponse(p2p.CodeServerError, []byte(hostileText))
		}
	case ErrorCodes:
		codes := []byte{p2p.CodeInvalidRequest, p2p.CodeServerError, p2p.CodeResourceUnavailable, p2p.CodeRateLimited}
		return p2p.EncodeResponse(codes[n.index%len(codes)], []byte("not now"))
	case Garbage:
		r := stream(uint64(n.index), "garbage")
		b := make([]byte, 300)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		b[0] = p2p.CodeSuccess
		return b
	case Oversize:
		// A length of 2^62, and as many bytes as fit into one write.
		return append(binary.AppendUvarint([]byte{p2p.CodeSuccess}, 1<<62), make([]byte, 1<<16)...)
	}
	return good
}

func (s *session) onStatus(request []byte, version int) (reply, error) {
	var theirs eth2.Status
	if err := theirs.UnmarshalSSZ(request); err != nil {
		return reply{}, err
	}
	now := time.Now()
	return reply{
		ssz:  s.node.status(now).MarshalSSZ(version),
		then: func() { s.judge(theirs, version, now) },
	}, nil
}

func (s *session) onPing(request []byte) (reply, error) {
	if _, err := eth2.UnmarshalUint64(request); err != nil {
		return reply{}, err
	}
	return reply{ssz: eth2.MarshalUint64(s.node.metaData().SeqNumber)}, nil
}

// onGoodbye answers nothing and closes, as the clients do.
func (s *session) onGoodbye(request []byte) (reply, error) {
	code, err := eth2.UnmarshalUint64(request)
	if err != nil {
		return reply{}, err
	}
	s.contact.left(code)
	s.node.log.Debug("goodbye", peerAttr(s.conn), slog.Uint64("code", code))
	return reply{then: func() { s.end(0) }}, nil
}

// request makes one request of the session's peer, on the first of the protocols
// that it speaks; body gives the SSZ for that one, nil for no bytes. max is the
// largest response in SSZ bytes.
func (s *session) request(ctx context.Context, max int, body func(protocol.ID) []byte, ids ...protocol.ID) ([]byte, error) {
	stream, err := s.open(ctx, ids...)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if err := stream.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return nil, err
	}
	if err := p2p.WriteAndHalfClose(stream, p2p.EncodeRequest(body(stream.Protocol()))); err != nil {
		return nil, fmt.Errorf("write %s: %w", stream.Protocol(), err)
	}
	return p2p.ReadResponse(stream, max)
}

// open negotiates a stream with the peer itself: what identify said about its
// protocols can be out of date.
func (s *session) open(ctx context.Context, ids ...protocol.ID) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(network.WithNoDial(ctx, "devnet session"), requestTimeout)
	defer cancel()
	return s.life.host.NewStream(ctx, s.conn.RemotePeer(), ids...)
}

// wait sleeps for d; false when ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
