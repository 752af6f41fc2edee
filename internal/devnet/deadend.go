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
func (l *life) holdPorts() (err error) {
	if l.node.tcp {
		held, port, err := holdTCP(l.addr)
		if err != nil {
			return fmt.Errorf("hold a TCP port: %w", err)
		}
		l.held, l.tcp = append(l.held, held), port
	}
	if l.node.quic {
		l.quic, err = l.holdUDP()
	}
	return err
}

// holdUDP takes a UDP port and never reads from it.
func (l *life) holdUDP() (uint16, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.addr, 0)))
	if err != nil {
		return 0, fmt.Errorf("hold a UDP port: %w", err)
	}
	l.held = append(l.held, c)
	return portOf(c.LocalAddr()), nil
}

// openBlackHole makes a TCP port whose connection attempts hang, as those to an
// address behind a dropping firewall do: a listener that accepts nobody, with the
// shortest queue, which one connection fills. UDP says nothing in any case.
func (l *life) openBlackHole(ctx context.Context) (err error) {
	if l.node.quic {
		if l.quic, err = l.holdUDP(); err != nil {
			return err
		}
	}
	listener, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.addr, 0)))
	if err != nil {
		return fmt.Errorf("listen for the black hole: %w", err)
	}
	l.held, l.tcp = append(l.held, listener), portOf(listener.Addr())
	if err := shortenQueue(listener); err != nil {
		return fmt.Errorf("shorten the black hole's queue: %w", err)
	}
	fill, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp4", listener.Addr().String())
	if err != nil {
		return fmt.Errorf("fill the black hole's queue: %w", err)
	}
	l.held = append(l.held, fill)
	return nil
}

func portOf(a net.Addr) uint16 {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return 0
	}
	return ap.Port()
}
