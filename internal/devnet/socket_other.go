//go:build !unix

package devnet

import (
	"io"
	"net"
	"net/netip"
)

// holdTCP finds a free port and lets go of it: it is not held here, only likely to
// stay free.
func holdTCP(addr netip.Addr) (io.Closer, uint16, error) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		return nil, 0, err
	}
	return l, portOf(l.Addr()), l.Close()
}

// shortenQueue does nothing here: connections are made and then hang.
func shortenQueue(*net.TCPListener) error { return nil }
