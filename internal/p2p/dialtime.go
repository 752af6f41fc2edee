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

// How long an address may be silent. Round trips on the Internet take up to some
// 600 ms, and the first packet of a handshake may be lost.
const (
	// quicSilence is the time without a packet of the peer after which a QUIC
	// handshake fails: four sendings of the first flight.
	quicSilence = 3 * time.Second
	// quicPatience replaces quicSilence once TCP has told where we are: no TCP address
	// works, so most likely nobody is there, or one does, and UDP may be blocked. A
	// handshake takes one round trip, two after a Retry, and its first flight is sent
	// three times by then.
	quicPatience = 1500 * time.Millisecond
	// tcpConnectTimeout leaves time for two repeated SYNs, which Linux sends after
	// one and three seconds.
	tcpConnectTimeout = 4 * time.Second
)

// errNoQUICAnswer counts as a timeout.
var errNoQUICAnswer = fmt.Errorf("no QUIC answer in %v: %w", quicPatience, os.ErrDeadlineExceeded)

// pendingDial is a dial in progress.
//
// Its addresses are tried side by side only as far as the peer does not notice: one
// handshake is under way at a time, and none after one that succeeded. Two would be
// two connections in the peer's eyes, for which clients mark down.
type pendingDial struct {
	addrs   []ma.Multiaddr
	cancel  context.CancelCauseFunc
	session *Session // set when a connection was admitted; Host.mu guards it

	turn chan struct{} // holds a token while no address has its handshake

	mu      sync.Mutex // guards what follows
	tcpLeft int        // TCP addresses that have not failed
	tcpTold bool       // one works, or none
	onTold  []func()
}

func newPendingDial(addrs []ma.Multiaddr, cancel context.CancelCauseFunc) *pendingDial {
	d := &pendingDial{addrs: addrs, cancel: cancel, turn: make(chan struct{}, 1)}
	d.turn <- struct{}{}
	for _, addr := range addrs {
		if isTCP(addr) {
			d.tcpLeft++
		}
	}
	return d
}

// takeTurn waits until an address may begin its handshake. Who succeeds keeps the
// turn, who fails passes it on.
func (d *pendingDial) takeTurn(ctx context.Context) error {
	select {
	case <-d.turn:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (d *pendingDial) passTurn() { d.turn <- struct{}{} }

// tcpFailed books the end of one TCP address.
func (d *pendingDial) tcpFailed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tcpLeft--; d.tcpLeft == 0 {
		d.told()
	}
}

// tcpConnected books that a TCP address works.
func (d *pendingDial) tcpConnected() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told()
}

// told calls who waits for TCP; mu is held.
func (d *pendingDial) told() {
	d.tcpTold = true
	for _, f := range d.onTold {
		f()
	}
	d.onTold = nil
}

// whenTCPTells calls f when one TCP address works or the last one has failed, at once
// if that has happened. f must not block. It is not called for a peer without TCP.
func (d *pendingDial) whenTCPTells(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tcpTold {
		f()
		return
	}
	d.onTold = append(d.onTold, f)
}

// dialOf gives the dial of a peer; an error when it is over.
func (h *Host) dialOf(p peer.ID) (*pendingDial, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.dials[p]; d != nil {
		return d, nil
	}
	return nil, context.Canceled
}

// tcpDialer tells the peer's dial when an address has failed for good.
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

// tcpUpgrader lets a TCP connection of ours wait for its turn before the handshake.
type tcpUpgrader struct {
	transport.Upgrader
	host *Host
}

// Upgrade implements transport.Upgrader. Inbound connections do not come by here.
func (u tcpUpgrader) Upgrade(ctx context.Context, t transport.Transport, raw manet.Conn, dir network.Direction, p peer.ID, scope network.ConnManagementScope) (transport.CapableConn, error) {
	dial, err := u.host.dialOf(p)
	if err == nil {
		dial.tcpConnected()
		err = dial.takeTurn(ctx)
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	conn, err := u.Upgrader.Upgrade(ctx, t, raw, dir, p, scope)
	if err != nil {
		dial.passTurn()
	}
	return conn, err
}

// quicDialer gives up early on a peer whose TCP has told.
type quicDialer struct {
	transport.Transport
	host *Host
}

// Dial implements transport.Transport. quic-go abandons a canceled handshake without
// a word: if the peer's side is complete just then, the peer holds a connection until
// its idle timeout, 30 s. So a handshake that has begun goes on to its end when nobody
// waits for it any more; the swarm closes what comes of it.
func (t quicDialer) Dial(ctx context.Context, addr ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	dial, err := t.host.dialOf(p)
	if err == nil {
		err = dial.takeTurn(ctx)
	}
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), t.host.cfg.DialTimeout)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dial.whenTCPTells(func() {
		time.AfterFunc(quicPatience-time.Since(begun), func() { cancel(errNoQUICAnswer) })
	})
	conn, err := t.Transport.Dial(ctx, addr, p)
	if err != nil {
		dial.passTurn()
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
