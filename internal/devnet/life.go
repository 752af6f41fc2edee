package devnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"

	"github.com/ethereum/go-ethereum/p2p/discover"
	"github.com/libp2p/go-libp2p/core/network"
)

// life is one span in which a node is up, at one address.
type life struct {
	node *node
	addr netip.Addr
	host *host           // nil without libp2p
	disc *discover.UDPv5 // nil when the node does not answer discv5
	held []io.Closer     // sockets of dead and gone nodes
	end  context.CancelFunc

	ports

	mu       sync.Mutex
	sessions map[string]*liveSession // by connection id; nil once closed
	running  sync.WaitGroup
}

// ports are where a node listens; 0 for not, or for any free one where they are
// wished for.
type ports struct{ tcp, quic, udp uint16 }

type liveSession struct {
	*session
	cancel context.CancelFunc
}

// open brings the node up at its address: libp2p and discv5, or its replacement in
// their place. Sessions live in ctx, at most until the life is closed. On an
// error the node stays down.
func (n *node) open(ctx context.Context, wish ports) error {
	ctx, cancel := context.WithCancel(ctx)
	l := &life{node: n, addr: n.addr, end: cancel, sessions: make(map[string]*liveSession)}
	err := l.startHost(ctx, wish)
	if err == nil {
		err = l.startDiscovery(wish.udp)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("devnet node %d at %s: %w", n.index, n.addr, err), l.close())
	}
	n.life.Store(l)
	return nil
}

// startHost opens the libp2p host, or its replacement in its place, and serves it.
func (l *life) startHost(ctx context.Context, wish ports) error {
	n := l.node
	switch {
	case n.persona.dead(), n.persona == NoEth2:
		return l.holdPorts()
	case n.persona == Gone:
		return l.openBlackHole(ctx)
	}
	h, err := newHost(&n.plan, wish)
	if err != nil {
		return err
	}
	l.host = h
	for id, handler := range n.handlers() {
		h.handle(ctx, id, func(ctx context.Context, s network.Stream) { l.serve(ctx, s, handler) })
	}
	for _, id := range n.meshsubVersions() {
		h.SetStreamHandler(id, handleGossip)
	}
	if n.persona == HostileText {
		h.SetStreamHandler(hostileText, handleGossip)
	}
	h.connections(func(c network.Conn) { l.connected(ctx, c) }, l.disconnected)
	if err := h.start(); err != nil {
		return err
	}
	if n.persona == NoAgent {
		h.identifyWithoutAgent()
	}
	l.tcp, l.quic = h.ports()
	return nil
}

func (l *life) connected(ctx context.Context, c network.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	s := newSession(l, c)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions == nil {
		cancel()
		return
	}
	l.sessions[c.ID()] = &liveSession{s, cancel}
	l.running.Go(func() {
		defer cancel()
		s.run(ctx)
	})
}

func (l *life) disconnected(c network.Conn) {
	l.mu.Lock()
	s := l.sessions[c.ID()]
	delete(l.sessions, c.ID())
	l.mu.Unlock()
	if s != nil {
		s.contact.closed()
		s.cancel()
	}
}

// sessionOf finds the session of a connection: libp2p reports a connection before
// it hands out its streams. Nil once the life is closed.
func (l *life) sessionOf(c network.Conn) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[c.ID()]; s != nil {
		return s.session
	}
	return nil
}

// close ends everything and waits for it. Peers see their connections end.
func (l *life) close() error {
	l.end()
	l.mu.Lock()
	for _, s := range l.sessions {
		s.contact.closed()
	}
	l.sessions = nil
	l.mu.Unlock()
	var errs []error
	if l.disc != nil {
		l.disc.Close()
	}
	for _, c := range l.held {
		errs = append(errs, c.Close())
	}
	if l.host != nil {
		errs = append(errs, l.host.close())
	}
	l.running.Wait()
	return errors.Join(errs...)
}

// down closes the node's life, if it has one.
func (n *node) down() error {
	l := n.life.Swap(nil)
	if l == nil {
		return nil
	}
	if err := l.close(); err != nil {
		return fmt.Errorf("devnet node %d: %w", n.index, err)
	}
	return nil
}

// multiaddrs are where the host listens.
func (l *life) multiaddrs() []string {
	out := []string{}
	family, ip := "ip4", l.addr
	if l.node.v6 {
		family, ip = "ip6", netip.IPv6Loopback()
	}
	if l.quic != 0 {
		out = append(out, fmt.Sprintf("/%s/%s/udp/%d/quic-v1/p2p/%s", family, ip, l.quic, l.node.peerID))
	}
	if l.tcp != 0 {
		out = append(out, fmt.Sprintf("/%s/%s/tcp/%d/p2p/%s", family, ip, l.tcp, l.node.peerID))
	}
	return out
}
