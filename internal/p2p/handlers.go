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

// setHandlers registers everything we serve.
func (h *Host) setHandlers() {
	h.serve(ProtoStatusV1, quotaStatus, h.statusHandler(1, eth2.StatusV1Size))
	h.serve(ProtoStatusV2, quotaStatus, h.statusHandler(2, eth2.StatusV2Size))
	h.serve(ProtoPingV1, quotaPing, h.onPing)
	h.serve(ProtoMetaDataV1, quotaMetaData, h.metaDataHandler(1))
	h.serve(ProtoMetaDataV2, quotaMetaData, h.metaDataHandler(2))
	h.serve(ProtoMetaDataV3, quotaMetaData, h.metaDataHandler(3))
	h.serve(ProtoGoodbyeV1, quotaGoodbye, h.onGoodbye)
	for _, proto := range MeshsubProtocols() {
		h.basic.SetStreamHandler(proto, h.onMeshsub)
	}
}

// serve registers a handler behind the session look-up, the peer's quota and the
// deadlines.
func (h *Host) serve(proto protocol.ID, kind quotaKind, handle handler) {
	h.basic.SetStreamHandler(proto, func(stream network.Stream) {
		s := h.sessionOf(stream.Conn())
		if s == nil {
			stream.Reset()
			return
		}
		start := time.Now()
		stream.SetDeadline(start.Add(h.cfg.FirstByteTimeout))
		in := &chunkReader{src: stream, extend: func() { stream.SetDeadline(start.Add(h.cfg.ResponseTimeout)) }}
		var chunk []byte
		if s.take(kind) {
			chunk = handle(s, in)
		} else {
			// The request is taken off the stream all the same: go-mplex loses the
			// buffers of what is left unread.
			_, _ = in.next(1)
			chunk = EncodeResponse(CodeRateLimited, []byte("rate limited"))
		}
		if chunk != nil {
			if _, err := stream.Write(chunk); err != nil {
				stream.Reset()
				return
			}
		}
		stream.Close()
	})
}

func invalidRequest(err error) []byte {
	text := err.Error()
	return EncodeResponse(CodeInvalidRequest, []byte(text[:min(len(text), maxErrorText)]))
}

func (h *Host) statusHandler(version, size int) handler {
	return func(s *Session, in *chunkReader) []byte {
		ssz, err := in.request(size)
		if err != nil {
			return invalidRequest(err)
		}
		if len(ssz) != size {
			return invalidRequest(fmt.Errorf("%w: status %d of %d bytes", ErrMalformed, version, len(ssz)))
		}
		var theirs eth2.Status
		if err := theirs.UnmarshalSSZ(ssz); err != nil {
			return invalidRequest(err)
		}
		s.setRemoteStatus(theirs)
		return EncodeResponse(CodeSuccess, h.cfg.Local.Status().MarshalSSZ(version))
	}
}

func (h *Host) onPing(_ *Session, in *chunkReader) []byte {
	ssz, err := in.request(eth2.Uint64Size)
	if err != nil {
		return invalidRequest(err)
	}
	if _, err := eth2.UnmarshalUint64(ssz); err != nil {
		return invalidRequest(err)
	}
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
