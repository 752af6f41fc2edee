package p2p

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// listen binds TCP and QUIC on every address. With port 0 the first address picks
// one and the others take the same.
func (h *Host) listen() error {
	h.tcpPort, h.quicPort = h.cfg.TCPPort, h.cfg.QUICPort
	for _, ip := range h.cfg.Listen {
		for _, t := range []struct {
			name string
			addr func(netip.AddrPort) ma.Multiaddr
			code int
			port *uint16
		}{
			{"tcp", tcpAddr, ma.P_TCP, &h.tcpPort},
			{"quic", quicAddr, ma.P_UDP, &h.quicPort},
		} {
			at := netip.AddrPortFrom(ip, *t.port)
			err := h.swarm.Listen(t.addr(at))
			if noSuchFamily(err) && ip == netip.IPv6Unspecified() && len(h.cfg.Listen) > 1 {
				h.cfg.Log.Warn("no IPv6 on this machine", slog.String("listen", at.String()))
				continue
			}
			if err != nil {
				return fmt.Errorf("listen on %s %s: %w", t.name, at, err)
			}
			if *t.port == 0 {
				*t.port = h.boundPort(t.code)
			}
		}
	}
	return nil
}

func noSuchFamily(err error) bool {
	return isAny(err, syscall.EAFNOSUPPORT, syscall.EADDRNOTAVAIL, syscall.EPROTONOSUPPORT)
}

// boundPort reads the port of a bound listener, tcp or udp.
func (h *Host) boundPort(code int) uint16 {
	for _, addr := range h.swarm.ListenAddresses() {
		text, err := addr.ValueForProtocol(code)
		if err != nil {
			continue
		}
		if port, err := strconv.ParseUint(text, 10, 16); err == nil {
			return uint16(port)
		}
	}
	return 0
}

// gater refuses connections as early as it can be known that they will not
// become sessions.
type gater struct {
	host *Host
}

func (*gater) InterceptPeerDial(peer.ID) bool               { return true }
func (*gater) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

// InterceptAccept runs before any handshake (TCP) or after it (QUIC).
func (g *gater) InterceptAccept(network.ConnMultiaddrs) bool {
	return g.host.cfg.Inbound != nil && !g.host.inboundFull()
}

// InterceptSecured knows the peer: one connection per peer.
func (g *gater) InterceptSecured(dir network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return dir == network.DirOutbound || !g.host.hasSession(p)
}

func (*gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
