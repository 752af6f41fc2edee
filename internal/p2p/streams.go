package p2p

import (
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// maxProposals bounds the protocols that a peer may propose on one stream. Clients
// propose the versions of one protocol, four at most.
const maxProposals = 16

// streamHandler serves one stream of a peer after its protocol is negotiated. in
// has what came with the negotiation, and the stream the deadline of a first byte.
type streamHandler func(s *Session, stream network.Stream, in *chunkReader)

// onStream negotiates a stream that a peer has opened and serves it.
func (h *Host) onStream(stream network.Stream) {
	s := h.sessionOf(stream.Conn())
	if s == nil {
		stream.Reset()
		return
	}
	if !s.allowRequest(quotaStream) {
		stream.Reset()
		s.gossip.setProtocolError(errStreamFlood)
		s.conn.Close()
		return
	}
	stream.SetDeadline(time.Now().Add(h.cfg.FirstByteTimeout))
	in := &chunkReader{src: stream}
	proto, err := h.negotiate(stream, in)
	if err == nil {
		err = stream.SetProtocol(proto)
	}
	if err != nil {
		stream.Reset()
		return
	}
	s.touch(time.Now())
	h.handlers[proto](s, stream, in)
}

// negotiate is the listening side of multistream-select: it takes the first proposal
// that we serve. The answer to the header goes out with the answer to a proposal
// that came together with it.
func (h *Host) negotiate(stream network.Stream, in *chunkReader) (protocol.ID, error) {
	header, err := in.token()
	if err != nil {
		return "", err
	}
	if header != multistreamID {
		return "", fmt.Errorf("%w: negotiation header %.40q", errMalformed, header)
	}
	answer := appendToken(nil, multistreamID)
	for range maxProposals {
		if in.pos == len(in.buf) && len(answer) > 0 {
			if _, err := stream.Write(answer); err != nil {
				return "", err
			}
			answer = nil
		}
		proposal, err := in.token()
		if err != nil {
			return "", err
		}
		proto := protocol.ID(proposal)
		if h.handlers[proto] != nil {
			_, err := stream.Write(appendToken(answer, proposal))
			return proto, err
		}
		answer = appendToken(answer, notAvailable)
	}
	return "", fmt.Errorf("%w: more than %d proposals", errMalformed, maxProposals)
}

// protocols lists what we serve, sorted.
func (h *Host) protocols() []protocol.ID {
	ids := make([]protocol.ID, 0, len(h.handlers))
	for id := range h.handlers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
