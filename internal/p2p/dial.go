package p2p

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/chainbound/valtrack/internal/eth2/enr"
)

const (
	// maxTargetAddrs bounds the addresses tried for one transport.
	maxTargetAddrs = 4
	// attemptDelay is how long an address has to succeed before the next is tried
	// in parallel (RFC 8305 "Connection Attempt Delay"). If one fails, the next starts at
	// once.
	attemptDelay = 250 * time.Millisecond
)

// Target is a peer and where its record says it listens.
type Target struct {
	PeerID    string
	QUIC, TCP []netip.AddrPort // UDP and TCP; tried in this order
}

// Dial connects to a peer, QUIC first, TCP second. There is one connection per
// peer: ErrAlreadyConnected when one exists, also when the peer connects to us
// meanwhile. The caller must close the session.
func (h *Host) Dial(ctx context.Context, target Target) (*Session, error) {
	p, err := peer.Decode(target.PeerID)
	if err != nil {
		return nil, fmt.Errorf("dial %.80q: %w", target.PeerID, err)
	}
	addrs := h.addrs(target)
	if len(addrs) == 0 {
		return nil, fmt.Errorf("dial %s: %w", p, errNoAddress)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dial, err := h.beginDial(p, addrs, cancel)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", p, asShortage(err))
	}
	conn, err := h.swarm.DialPeer(network.WithForceDirectDial(ctx, "no backoff of the swarm's own"), p)
	session := h.endDial(p, dial)
	switch {
	case err != nil:
		h.swarm.Backoff().Clear(p)
		if session != nil {
			session.Close() // it came as we gave up
		}
		if cause := context.Cause(ctx); errors.Is(cause, ErrAlreadyConnected) || errors.Is(cause, ErrClosed) {
			err = cause
		}
		return nil, fmt.Errorf("dial %s: %w", p, asShortage(err))
	case session == nil || session.conn != conn:
		if session != nil {
			session.Close()
		}
		return nil, fmt.Errorf("dial %s: %w", p, ErrAlreadyConnected)
	}
	return session, nil
}

func (h *Host) beginDial(p peer.ID, addrs []ma.Multiaddr, cancel context.CancelCauseFunc) (*pendingDial, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if s := h.sessions[p]; s != nil && !s.conn.IsClosed() || h.dials[p] != nil {
		return nil, ErrAlreadyConnected
	}
	// Inbound sessions do not count: peers could stop our dials by dialling us. How many
	// stay is the schedule's decision.
	if h.outbound+len(h.dials) >= h.cfg.MaxConnections {
		return nil, ErrTooManyConnections
	}
	dial := newPendingDial(addrs, cancel)
	h.dials[p] = dial
	return dial, nil
}

// endDial frees the dial's slot and returns the resulting session, if any.
func (h *Host) endDial(p peer.ID, dial *pendingDial) *Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.dials, p)
	return dial.session
}

// addrs lists what may be dialled of a target, QUIC first.
func (h *Host) addrs(target Target) []ma.Multiaddr {
	addrs := make([]ma.Multiaddr, 0, len(target.QUIC)+len(target.TCP))
	for _, at := range target.QUIC[:min(len(target.QUIC), maxTargetAddrs)] {
		if h.dialable(at) {
			addrs = append(addrs, quicAddr(at))
		}
	}
	for _, at := range target.TCP[:min(len(target.TCP), maxTargetAddrs)] {
		if h.dialable(at) {
			addrs = append(addrs, tcpAddr(at))
		}
	}
	return addrs
}

func (h *Host) dialable(at netip.AddrPort) bool {
	return at.Port() != 0 && enr.MayContact(at.Addr(), h.cfg.AllowPrivate)
}

func tcpAddr(at netip.AddrPort) ma.Multiaddr {
	return ma.StringCast(fmt.Sprintf("/%s/tcp/%d", ipPart(at), at.Port()))
}

func quicAddr(at netip.AddrPort) ma.Multiaddr {
	return ma.StringCast(fmt.Sprintf("/%s/udp/%d/quic-v1", ipPart(at), at.Port()))
}

func ipPart(at netip.AddrPort) string {
	ip := at.Addr().Unmap()
	if ip.Is4() {
		return "ip4/" + ip.String()
	}
	return "ip6/" + ip.WithZone("").String()
}

// rankAddrs is the swarm's dial order: QUIC before TCP, each IPv6 before IPv4, one
// attemptDelay apart. The swarm's own ranker gives QUIC only 30 ms on private
// networks.
func rankAddrs(addrs []ma.Multiaddr) []network.AddrDelay {
	ranked := make([]network.AddrDelay, len(addrs))
	for i, addr := range addrs {
		ranked[i] = network.AddrDelay{Addr: addr}
	}
	slices.SortStableFunc(ranked, func(a, b network.AddrDelay) int { return addrRank(a.Addr) - addrRank(b.Addr) })
	for i := range ranked {
		ranked[i].Delay = time.Duration(i) * attemptDelay
	}
	return ranked
}

func isTCP(addr ma.Multiaddr) bool {
	return slices.ContainsFunc(addr, func(c ma.Component) bool { return c.Protocol().Code == ma.P_TCP })
}

func addrRank(addr ma.Multiaddr) (rank int) {
	for _, c := range addr {
		switch c.Protocol().Code {
		case ma.P_IP4:
			rank++
		case ma.P_TCP:
			rank += 2
		}
	}
	return rank
}
