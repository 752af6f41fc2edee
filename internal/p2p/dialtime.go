package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// How long an address may be silent. Round trips on the Internet take up to some
// 600 ms, and the first packet of a handshake may be lost.
const (
	// quicSilence is the time without a packet of the peer after which a QUIC
	// handshake fails: four sendings of the first flight.
	quicSilence = 3 * time.Second
	// quicPatience replaces quicSilence when no TCP address of the peer works: most
	// likely nobody is there. A handshake takes one round trip, two after a Retry,
	// and its first flight is sent three times by then.
	quicPatience = 1500 * time.Millisecond
	// tcpConnectTimeout leaves time for two repeated SYNs, which Linux sends after
	// one and three seconds.
	tcpConnectTimeout = 4 * time.Second
)

// errNoQUICAnswer counts as a timeout.
var errNoQUICAnswer = fmt.Errorf("no QUIC answer in %v, and no TCP: %w", quicPatience, os.ErrDeadlineExceeded)

// tcpDialer tells the peer's dial when an address has failed for good.
type tcpDialer struct {
	*tcp.TcpTransport
	host *Host
}

// DialWithUpdates implements transport.DialUpdater, which the swarm prefers to Dial.
func (t tcpDialer) DialWithUpdates(ctx context.Context, addr ma.Multiaddr, p peer.ID, updates chan<- transport.DialUpdate) (transport.CapableConn, error) {
	conn, err := t.TcpTransport.DialWithUpdates(ctx, addr, p, updates)
	if err != nil && !isTimeout(err) && ctx.Err() == nil {
		t.host.tcpFailed(p)
	}
	return conn, err
}

// quicDialer gives up early on a peer whose TCP addresses have all failed.
type quicDialer struct {
	transport.Transport
	host *Host
}

// Dial implements transport.Transport.
func (t quicDialer) Dial(ctx context.Context, addr ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	begun := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.host.whenTCPFails(p, func() {
		time.AfterFunc(quicPatience-time.Since(begun), func() { cancel(errNoQUICAnswer) })
	})
	conn, err := t.Transport.Dial(ctx, addr, p)
	if err != nil && errors.Is(context.Cause(ctx), errNoQUICAnswer) {
		err = errNoQUICAnswer
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

// tcpFailed books the end of one TCP address of a peer that is being dialled.
func (h *Host) tcpFailed(p peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	dial := h.dials[p]
	if dial == nil {
		return
	}
	if dial.tcpLeft--; dial.tcpLeft == 0 {
		for _, f := range dial.whenTCPFails {
			f()
		}
	}
}

// whenTCPFails calls f when the last TCP address of a peer that is being dialled
// fails, at once if that has happened. f must not block. It is not called for a peer
// that has no TCP address.
func (h *Host) whenTCPFails(p peer.ID, f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	dial := h.dials[p]
	switch {
	case dial == nil || !slices.ContainsFunc(dial.addrs, isTCP):
	case dial.tcpLeft == 0:
		f()
	default:
		dial.whenTCPFails = append(dial.whenTCPFails, f)
	}
}

var _ transport.DialUpdater = tcpDialer{}
