package devnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// holdPorts takes ports of the node's address at which nothing answers: TCP
// refuses connections, UDP says nothing. They stay taken, so that no other
// network on this machine gets them.
func (n *node) holdPorts() (err error) {
	if n.tcp {
		held, port, err := holdTCP(n.addr)
		if err != nil {
			return fmt.Errorf("hold a TCP port: %w", err)
		}
		n.held, n.tcpPort = append(n.held, held), port
	}
	if n.quic {
		n.quicPort, err = n.holdUDP()
	}
	return err
}

// holdUDP takes a UDP port and never reads from it.
func (n *node) holdUDP() (uint16, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.addr, 0)))
	if err != nil {
		return 0, fmt.Errorf("hold a UDP port: %w", err)
	}
	n.held = append(n.held, c)
	return portOf(c.LocalAddr()), nil
}

// openBlackHole makes a TCP port whose connection attempts hang, as those to an
// address behind a dropping firewall do: a listener that accepts nobody, with the
// shortest queue, which one connection fills. UDP says nothing in any case.
func (n *node) openBlackHole(ctx context.Context) (err error) {
	if n.quic {
		if n.quicPort, err = n.holdUDP(); err != nil {
			return err
		}
	}
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(n.addr, 0)))
	if err != nil {
		return fmt.Errorf("listen for the black hole: %w", err)
	}
	n.held, n.tcpPort = append(n.held, l), portOf(l.Addr())
	if err := shortenQueue(l); err != nil {
		return fmt.Errorf("shorten the black hole's queue: %w", err)
	}
	fill, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp4", l.Addr().String())
	if err != nil {
		return fmt.Errorf("fill the black hole's queue: %w", err)
	}
	n.held = append(n.held, fill)
	return nil
}

func portOf(a net.Addr) uint16 {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return 0
	}
	return ap.Port()
}
