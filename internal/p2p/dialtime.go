package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// How long an address may take to answer. Round trips on the Internet take up to some
// 600 ms, and the first packet of a handshake may be lost.
const (
	// quicIdleTimeout is the time without a packet of the peer after which a QUIC
	// handshake fails: four sendings of the first flight.
	quicIdleTimeout = 3 * time.Second
	// quicTimeoutAfterTCP replaces quicIdleTimeout once TCP is decided: either no TCP address
	// works, and most likely nobody is there, or one does, and UDP may be blocked. A
	// handshake takes one round trip, two after a Retry, and its first flight is sent
	// three times by then.
	quicTimeoutAfterTCP = 1500 * time.Millisecond
	// tcpConnectTimeout leaves time for two repeated SYNs, which Linux sends after
	// one and three seconds.
	tcpConnectTimeout = 4 * time.Second
)

// errNoQUICAnswer counts as a timeout.
var errNoQUICAnswer = fmt.Errorf("no QUIC answer in %v: %w", quicTimeoutAfterTCP, os.ErrDeadlineExceeded)

// pendingDial is a dial in progress.
//
// Its addresses are tried in parallel only as far as the peer does not notice: one
// handshake is in progress at a time, and none after one that succeeded. Two would be
// two connections to the peer, for which clients lower our score.
type pendingDial struct {
	addrs   []ma.Multiaddr
	cancel  context.CancelCauseFunc
	session *Session // set when a connection was admitted; Host.mu guards it

	handshake chan struct{} // holds a token while no address has its handshake

	mu           sync.Mutex // guards what follows
	tcpLeft      int        // TCP addresses that have not failed
	tcpDecided   bool       // one works, or none
	onTCPDecided []func()
}

func newPendingDial(addrs []ma.Multiaddr, cancel context.CancelCauseFunc) *pendingDial {
	d := &pendingDial{addrs: addrs, cancel: cancel, handshake: make(chan struct{}, 1)}
	d.handshake <- struct{}{}
	for _, addr := range addrs {
		if isTCP(addr) {
			d.tcpLeft++
		}
	}
	return d
}

// acquireHandshake waits until an address may begin its handshake. An address that
// succeeds keeps the token, one that fails must release it.
func (d *pendingDial) acquireHandshake(ctx context.Context) error {
	select {
	case <-d.handshake:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (d *pendingDial) releaseHandshake() { d.handshake <- struct{}{} }

// tcpFailed notes that a TCP address does not work.
func (d *pendingDial) tcpFailed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tcpLeft--; d.tcpLeft == 0 {
		d.decideTCP()
	}
}

// tcpConnected notes that a TCP address works.
func (d *pendingDial) tcpConnected() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.decideTCP()
}

// decideTCP calls the functions that wait for TCP; mu is held.
func (d *pendingDial) decideTCP() {
	d.tcpDecided = true
	for _, f := range d.onTCPDecided {
		f()
	}
	d.onTCPDecided = nil
}

// whenTCPDecided calls f when one TCP address works or the last one has failed, at once
// if that has happened. f must not block. It is not called for a peer without TCP.
func (d *pendingDial) whenTCPDecided(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tcpDecided {
		f()
		return
	}
	d.onTCPDecided = append(d.onTCPDecided, f)
}

// dialOf returns the dial of a peer; an error when it is over.
func (h *Host) dialOf(p peer.ID) (*pendingDial, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.dials[p]; d != nil {
		return d, nil
	}
	return nil, context.Canceled
}

// tcpDialer notes in the peer's dial when an address has failed for good.
type tcpDialer struct {
	*tcp.TcpTransport
	host *Host
}

// DialWithUpdates implements transport.DialUpdater, which the swarm prefers to Dial.
func (t tcpDialer) DialWithUpdates(ctx context.Context, addr ma.Multiaddr, p peer.ID, updates chan<- transport.DialUpdate) (transport.CapableConn, error) {
	dial, err := t.host.dialOf(p)
	if err != nil {
		return nil, err
	}
	conn, err := t.TcpTransport.DialWithUpdates(ctx, addr, p, updates)
	if err != nil && !isTimeout(err) && ctx.Err() == nil {
		dial.tcpFailed()
	}
	return conn, err
}

// tcpUpgrader lets a TCP connection of ours wait until no other address is in its handshake.
type tcpUpgrader struct {
	transport.Upgrader
	host *Host
}

// Upgrade implements transport.Upgrader. It is not used for inbound connections.
func (u tcpUpgrader) Upgrade(ctx context.Context, t transport.Transport, raw manet.Conn, dir network.Direction, p peer.ID, scope network.ConnManagementScope) (transport.CapableConn, error) {
	dial, err := u.host.dialOf(p)
	if err == nil {
		dial.tcpConnected()
		err = dial.acquireHandshake(ctx)
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	conn, err := u.Upgrader.Upgrade(ctx, t, raw, dir, p, scope)
	if err != nil {
		dial.releaseHandshake()
	}
	return conn, err
}

// quicDialer gives up early on a peer once its TCP addresses are decided.
type quicDialer struct {
	transport.Transport
	host *Host
}

// Dial implements transport.Transport. quic-go abandons a canceled handshake without
// a packet: if the peer's side is complete just then, the peer keeps a connection until
// its idle timeout, 30 s. So a handshake that has started continues to its end even when nothing
// waits for it any more; the swarm closes the resulting connection.
func (t quicDialer) Dial(ctx context.Context, addr ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	dial, err := t.host.dialOf(p)
	if err == nil {
		err = dial.acquireHandshake(ctx)
	}
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), t.host.cfg.dialTimeout)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dial.whenTCPDecided(func() {
		time.AfterFunc(quicTimeoutAfterTCP-time.Since(begun), func() { cancel(errNoQUICAnswer) })
	})
	conn, err := t.Transport.Dial(ctx, addr, p)
	if err != nil {
		dial.releaseHandshake()
		if errors.Is(context.Cause(ctx), errNoQUICAnswer) {
			err = errNoQUICAnswer
		}
	}
	return conn, err
}

// Close implements io.Closer, which the swarm looks for.
func (t quicDialer) Close() error {
	if c, ok := t.Transport.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

var _ transport.DialUpdater = tcpDialer{}
