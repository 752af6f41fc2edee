package p2p

import (
	"errors"
	"io"
	"syscall"
	"time"

	mplex "github.com/libp2p/go-libp2p-mplex"
	"github.com/libp2p/go-libp2p/core/network"
)

// tcpSilence is under the time after which the system gives a TCP connection up that
// answers no keep-alive: Go's defaults are 15 s and nine probes 15 s apart.
const tcpSilence = 2 * time.Minute

// Heard is the last time at which the peer was certainly there: it had sent a gossip
// RPC or opened a stream of its own, or a request that it answered began.
func (s *Session) Heard() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard
}

// hear notes a sign of life.
func (s *Session) hear(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.heard) {
		s.heard = at
	}
}

// sawEnd reports whether err, which ended the gossip stream, came when the peer did
// something: it ended stream or connection, or broke the format. All else is found
// out later: a vanished peer after 30 s over QUIC, 40 s by yamux's keep-alive, and
// tcpSilence or more over mplex, which has none.
func (s *Session) sawEnd(err error) bool {
	var stream *network.StreamError
	var conn *network.ConnError
	switch {
	case errors.As(err, &stream):
		return stream.Remote
	case errors.As(err, &conn):
		return conn.Remote
	case isAny(err, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, ErrMalformed):
		return true
	case s.conn.ConnState().StreamMultiplexer == mplex.ID && errors.Is(err, network.ErrReset):
		// A stream that the peer resets, and a connection that it closes or is lost
		// give this one error.
		return !s.conn.IsClosed() || time.Since(s.Heard()) < tcpSilence
	default:
		return false
	}
}
