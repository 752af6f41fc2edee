package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
)

// Host is our libp2p node: it listens on QUIC and TCP, dials, and keeps one
// session a peer.
type Host struct {
	cfg   Config
	swarm *swarm.Swarm
	peers *dialBook
	quic  *quicreuse.ConnManager
	rcmgr network.ResourceManager

	handlers map[protocol.ID]streamHandler // fixed once we listen
	identity []byte                        // our Identify message, but for the addresses

	tcpPort, quicPort uint16

	stop        context.CancelFunc // ends the inbound callbacks' context
	inbound     sync.WaitGroup
	identifying sync.WaitGroup // for sessions' identity

	mu       sync.Mutex // guards what follows
	sessions map[peer.ID]*Session
	outbound int // of the sessions
	dials    map[peer.ID]*pendingDial
	closed   bool
}

// NewHost listens and serves. Close it.
func NewHost(cfg Config) (*Host, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	key, err := crypto.UnmarshalSecp256k1PrivateKey(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("identity key: %w", err)
	}
	h := &Host{
		cfg:      cfg,
		sessions: make(map[peer.ID]*Session),
		dials:    make(map[peer.ID]*pendingDial),
	}
	if err := h.build(key); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.swarm.Notify(&network.NotifyBundle{
		ConnectedF:    func(_ network.Network, conn network.Conn) { h.connected(ctx, conn) },
		DisconnectedF: func(_ network.Network, conn network.Conn) { h.disconnected(conn) },
	})
	h.setHandlers()
	if h.identity, err = encodeIdentity(key.GetPublic(), cfg.Agent, h.protocols()); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.swarm.SetStreamHandler(h.onStream)
	if err := h.listen(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	cfg.Log.Info("libp2p host listens", slog.String("peer_id", h.PeerID()),
		slog.Int("tcp", int(h.tcpPort)), slog.Int("quic", int(h.quicPort)))
	return h, nil
}

// PeerID is our libp2p id, "16Uiu2HA...".
func (h *Host) PeerID() string { return h.swarm.LocalPeer().String() }

// TCPPort is the port we listen on.
func (h *Host) TCPPort() uint16 { return h.tcpPort }

// QUICPort is the UDP port we listen on.
func (h *Host) QUICPort() uint16 { return h.quicPort }

// Sessions is the number of connections that stand.
func (h *Host) Sessions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions)
}

// Close ends the inbound callbacks, waits for them, and closes every connection.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	for _, d := range h.dials {
		d.cancel(ErrClosed)
	}
	h.mu.Unlock()
	h.stop()
	h.inbound.Wait()
	err := errors.Join(h.swarm.Close(), h.quic.Close(), h.peers.Close(), h.rcmgr.Close())
	h.identifying.Wait()
	if err != nil {
		return fmt.Errorf("close libp2p host: %w", err)
	}
	return nil
}

// connected runs inside the swarm before any stream of the connection is
// accepted, so that handlers always find its session.
func (h *Host) connected(ctx context.Context, conn network.Conn) {
	s := newSession(h, conn)
	if !h.admit(s) {
		conn.Close()
		return
	}
	go func() {
		defer h.identifying.Done()
		s.identify()
	}()
	if s.outbound() {
		return
	}
	go func() {
		defer h.inbound.Done()
		defer s.Close()
		h.cfg.Inbound(ctx, s)
	}()
}

// admit registers a connection's session. One that stands wins over a newer one,
// and an inbound one over a dial in progress. A session that is admitted adds to
// h.asking, an inbound one to h.inbound.
func (h *Host) admit(s *Session) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	old := h.sessions[s.peer]
	if old != nil && !old.conn.IsClosed() {
		return false
	}
	dial := h.dials[s.peer]
	switch {
	case s.outbound() && (dial == nil || dial.session != nil):
		return false // nobody waits for it any more
	case s.outbound():
		dial.session = s
	case h.cfg.Inbound == nil || len(h.sessions) >= h.cfg.MaxConnections:
		return false
	default:
		if dial != nil {
			dial.cancel(ErrAlreadyConnected)
		}
		h.inbound.Add(1)
	}
	if old != nil {
		h.remove(old)
		old.markClosed() // its Disconnected notification has yet to come
	}
	h.sessions[s.peer] = s
	if s.outbound() {
		h.outbound++
	}
	h.identifying.Add(1)
	return true
}

// disconnected ends the connection's session.
func (h *Host) disconnected(conn network.Conn) {
	if s := h.sessionOf(conn); s != nil {
		h.forget(s)
		s.markClosed()
	}
}

// sessionOf gives the session of a connection, nil when there is none.
func (h *Host) sessionOf(conn network.Conn) *Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.sessions[conn.RemotePeer()]; s != nil && s.conn == conn {
		return s
	}
	return nil
}

// forget frees the peer's slot.
func (h *Host) forget(s *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[s.peer] == s {
		h.remove(s)
	}
}

// remove takes a session out of the map; mu is held.
func (h *Host) remove(s *Session) {
	delete(h.sessions, s.peer)
	if s.outbound() {
		h.outbound--
	}
}

// inboundFull reports whether an inbound connection would be one too many.
func (h *Host) inboundFull() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed || len(h.sessions) >= h.cfg.MaxConnections
}

// hasSession reports whether a session with the peer stands.
func (h *Host) hasSession(p peer.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[p]
	return s != nil && !s.conn.IsClosed()
}
