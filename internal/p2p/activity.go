package p2p

import (
	"errors"
	"io"
	"syscall"
	"time"

	mplex "github.com/libp2p/go-libp2p-mplex"
	"github.com/libp2p/go-libp2p/core/network"
)

// tcpDeadAfter is below the time after which the system gives up a TCP connection that
// answers no keep-alive: Go's defaults are 15 s and nine probes 15 s apart.
const tcpDeadAfter = 2 * time.Minute

// LastActive is the last time at which the peer was certainly connected: it had sent a gossip
// RPC or opened a stream of its own, or a request that it answered began.
func (s *Session) LastActive() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastActive
}

// touch notes that the peer was active at a time.
func (s *Session) touch(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.lastActive) {
		s.lastActive = at
	}
}

// closedByPeer reports whether err, which ended the gossip stream, came when the peer did
// something: it ended stream or connection, or broke the format. All else is found
// out later: a vanished peer after 30 s over QUIC, 40 s by yamux's keep-alive, and
// tcpDeadAfter or more over mplex, which has none.
func (s *Session) closedByPeer(err error) bool {
	var stream *network.StreamError
	var conn *network.ConnError
	switch {
	case errors.As(err, &stream):
		return stream.Remote
	case errors.As(err, &conn):
		return conn.Remote
	case isAny(err, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, errMalformed):
		return true
	case s.conn.ConnState().StreamMultiplexer == mplex.ID && errors.Is(err, network.ErrReset):
		// A stream that the peer resets, and a connection that it closes or is lost
		// give this one error.
		return !s.conn.IsClosed() || time.Since(s.LastActive()) < tcpDeadAfter
	default:
		return false
	}
}
