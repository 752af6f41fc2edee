package p2p

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/chainbound/valtrack/internal/eth2"
)

// handler answers one request. in reads the request's bytes; the returned chunk
// is written as it is, nil for none.
type handler func(s *Session, in *chunkReader) []byte

// setHandlers lists everything we serve.
func (h *Host) setHandlers() {
	h.handlers = map[protocol.ID]streamHandler{
		protoIdentify:   h.onIdentify,
		ProtoStatusV1:   h.serve(quotaStatus, h.statusHandler(1, eth2.StatusV1Size)),
		ProtoStatusV2:   h.serve(quotaStatus, h.statusHandler(2, eth2.StatusV2Size)),
		ProtoPingV1:     h.serve(quotaPing, h.onPing),
		ProtoMetaDataV1: h.serve(quotaMetaData, h.metaDataHandler(1)),
		ProtoMetaDataV2: h.serve(quotaMetaData, h.metaDataHandler(2)),
		ProtoMetaDataV3: h.serve(quotaMetaData, h.metaDataHandler(3)),
		ProtoGoodbyeV1:  h.serve(quotaGoodbye, h.onGoodbye),
	}
	for _, proto := range MeshsubProtocols() {
		h.handlers[proto] = h.onMeshsub
	}
}

// serve puts a handler behind the peer's quota and the deadlines.
func (h *Host) serve(kind quotaKind, handle handler) streamHandler {
	return func(s *Session, stream network.Stream, in *chunkReader) {
		start := time.Now()
		stream.SetDeadline(start.Add(h.cfg.FirstByteTimeout))
		in.extend = func() { stream.SetDeadline(start.Add(h.cfg.responseTimeout)) }
		var chunk []byte
		if s.allowRequest(kind) {
			chunk = handle(s, in)
		} else {
			// The request is read from the stream anyway: go-mplex loses the
			// buffers of what is left unread.
			_, _ = in.readBytes(1)
			chunk = EncodeResponse(CodeRateLimited, []byte("rate limited"))
		}
		if chunk != nil {
			if _, err := stream.Write(chunk); err != nil {
				stream.Reset()
				return
			}
		}
		stream.Close()
	}
}

func invalidRequest(err error) []byte {
	text := err.Error()
	return EncodeResponse(CodeInvalidRequest, []byte(text[:min(len(text), maxErrorText)]))
}

func (h *Host) statusHandler(version, size int) handler {
	return func(_ *Session, in *chunkReader) []byte {
		ssz, err := in.request(size)
		if err != nil {
			return invalidRequest(err)
		}
		if len(ssz) != size {
			return invalidRequest(fmt.Errorf("%w: status %d of %d bytes", errMalformed, version, len(ssz)))
		}
		if err := new(eth2.Status).UnmarshalSSZ(ssz); err != nil {
			return invalidRequest(err)
		}
		return EncodeResponse(CodeSuccess, h.cfg.Local.Status().MarshalSSZ(version))
	}
}

func (h *Host) onPing(s *Session, in *chunkReader) []byte {
	ssz, err := in.request(eth2.Uint64Size)
	if err != nil {
		return invalidRequest(err)
	}
	seq, err := eth2.UnmarshalUint64(ssz)
	if err != nil {
		return invalidRequest(err)
	}
	s.setRemoteSeq(seq)
	return EncodeResponse(CodeSuccess, eth2.MarshalUint64(h.cfg.Local.MetaData().SeqNumber))
}

// metaDataHandler answers without a look at the stream: the request has no bytes.
func (h *Host) metaDataHandler(version int) handler {
	return func(*Session, *chunkReader) []byte {
		return EncodeResponse(CodeSuccess, h.cfg.Local.MetaData().MarshalSSZ(version))
	}
}

// onGoodbye records the reason. Nothing is answered: the peer is leaving.
func (h *Host) onGoodbye(s *Session, in *chunkReader) []byte {
	ssz, err := in.request(eth2.Uint64Size)
	if err != nil {
		return nil
	}
	if code, err := eth2.UnmarshalUint64(ssz); err == nil {
		s.setRemoteGoodbye(code)
	}
	return nil
}
