package p2p

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	// multistreamID opens the negotiation of a stream's protocol
	// (multiformats/multistream-select).
	multistreamID = "/multistream/1.0.0"
	// notAvailable is the answer for a protocol that the peer does not speak.
	notAvailable = "na"
	// maxToken bounds a negotiation token, newline included.
	maxToken = 1024
)

// request sends one request in the first of the versions that the peer speaks and
// gives the SSZ of its response, which has that version's size. body is called just
// before the request is written; MetaData requests have a nil one.
//
// Once identify has named the protocols that the peer speaks, negotiation and request go out
// together and cost no round trip of their own. Before that, and when identify
// was wrong, the versions are tried one after the other on one stream.
func (s *Session) request(ctx context.Context, versions []message, body func(message) []byte) ([]byte, error) {
	if m, ok := s.knownVersion(versions); ok {
		ssz, err := s.exchange(ctx, []message{m}, body, true)
		if !errors.Is(err, ErrUnsupported) {
			return ssz, err
		}
	}
	return s.exchange(ctx, versions, body, false)
}

// knownVersion picks the first version that identify named. False when identify has not
// finished or named none.
func (s *Session) knownVersion(versions []message) (message, bool) {
	select {
	case <-s.identified:
	default:
		return message{}, false
	}
	if s.identity != nil {
		for _, m := range versions {
			if slices.Contains(s.identity.protocols, m.proto) {
				return m, true
			}
		}
	}
	return message{}, false
}

// exchange opens a stream, negotiates, writes the request and reads the response.
func (s *Session) exchange(ctx context.Context, versions []message, body func(message) []byte, together bool) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stream, err := s.conn.NewStream(ctx)
	if err != nil {
		return nil, transportError(err)
	}
	stop := context.AfterFunc(ctx, func() { stream.Reset() })
	defer stop()
	start := time.Now()
	in := &chunkReader{src: stream, extend: func() { stream.SetReadDeadline(start.Add(s.host.cfg.responseTimeout)) }}
	stream.SetDeadline(start.Add(s.host.cfg.FirstByteTimeout))

	ssz, err := roundTrip(stream, in, versions, body, together)
	if answered(err) {
		s.touch(start)
	}
	if err != nil && !errors.Is(err, errNoResponse) {
		stream.Reset()
		return nil, transportError(err)
	}
	stream.Close()
	return ssz, err
}

// answered reports whether a request with this error had an answer: an error code is
// one.
func answered(err error) bool {
	var answer *ResponseError
	return err == nil || errors.As(err, &answer)
}

// roundTrip runs negotiation, request and response on an open stream.
func roundTrip(stream network.Stream, in *chunkReader, versions []message, body func(message) []byte, together bool) ([]byte, error) {
	m := versions[0]
	var err error
	if together {
		if err = stream.SetProtocol(m.proto); err != nil {
			return nil, err
		}
		out := append(opening(m.proto), EncodeRequest(body(m))...)
		if err = WriteAndHalfClose(stream, out); err != nil {
			return nil, err
		}
		if m, err = readSelection(stream, in, versions); err != nil {
			if errors.Is(err, network.ErrReset) {
				// Declined: the peer took the request for a proposal that makes no
				// sense, and its reset overtook the answer or the end of it.
				return nil, ErrUnsupported
			}
			return nil, err
		}
	} else {
		if _, err = stream.Write(opening(m.proto)); err != nil {
			return nil, err
		}
		if m, err = readSelection(stream, in, versions); err != nil {
			return nil, err
		}
		if err = stream.SetProtocol(m.proto); err != nil {
			return nil, err
		}
		if err = WriteAndHalfClose(stream, EncodeRequest(body(m))); err != nil {
			return nil, err
		}
	}
	ssz, err := in.response(m.size)
	if err == nil && len(ssz) != m.size {
		return nil, fmt.Errorf("%w: response of %d bytes, %d expected", errMalformed, len(ssz), m.size)
	}
	return ssz, err
}

// WriteAndHalfClose writes b, if it has any bytes, and ends our half of the stream.
func WriteAndHalfClose(stream network.Stream, b []byte) error {
	if len(b) > 0 {
		if _, err := stream.Write(b); err != nil {
			return err
		}
	}
	// A peer that has the whole request may stop reading before our half-close is
	// there, and over QUIC that fails the half-close. The response decides.
	stream.CloseWrite() //nolint:errcheck // see above
	return nil
}

// opening is the first flight of a negotiation: the header and a proposal.
func opening(proto protocol.ID) []byte {
	b := make([]byte, 0, 256)
	return appendToken(appendToken(b, multistreamID), string(proto))
}

func appendToken(b []byte, token string) []byte {
	b = binary.AppendUvarint(b, uint64(len(token))+1)
	return append(append(b, token...), '\n')
}

// readSelection reads the answers to an opening for versions[0] and, while the peer
// declines, proposes the others.
func readSelection(w io.Writer, in *chunkReader, versions []message) (message, error) {
	header, err := in.token()
	if err != nil {
		return message{}, err
	}
	if header != multistreamID {
		return message{}, fmt.Errorf("%w: negotiation header %.40q", errMalformed, header)
	}
	for i, m := range versions {
		if i > 0 {
			if _, err := w.Write(appendToken(nil, string(m.proto))); err != nil {
				return message{}, err
			}
		}
		answer, err := in.token()
		switch {
		case err != nil:
			return message{}, err
		case answer == string(m.proto):
			return m, nil
		case answer != notAvailable:
			return message{}, fmt.Errorf("%w: negotiation answer %.40q", errMalformed, answer)
		}
	}
	return message{}, ErrUnsupported
}

// token reads one negotiation token without its newline.
func (c *chunkReader) token() (string, error) {
	n, err := c.uvarint()
	if err == nil && (n < 1 || n > maxToken) {
		err = fmt.Errorf("%w: negotiation token of %d bytes", errMalformed, n)
	}
	if err != nil {
		return "", noResponse(err)
	}
	b, err := c.readBytes(int(n))
	if err != nil {
		return "", noResponse(err)
	}
	if b[n-1] != '\n' {
		return "", fmt.Errorf("%w: negotiation token without newline", errMalformed)
	}
	return string(b[:n-1]), nil
}

// noResponse turns an early end of the stream into errNoResponse.
func noResponse(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errNoResponse
	}
	return err
}

// transportError marks errors of a broken connection or stream as ErrReset, and
// leaves timeouts and everything about the content as they are.
func transportError(err error) error {
	var answer *ResponseError
	switch {
	case isAny(err, errMalformed, ErrUnsupported, errNoResponse, context.Canceled), errors.As(err, &answer), isTimeout(err):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrReset, err)
	}
}
