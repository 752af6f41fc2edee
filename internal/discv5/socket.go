package discv5

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/chainbound/valtrack/internal/discv5/wire"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/udp"
)

// sockets is one or more UDP sockets on one port, as a single one.
// The first is read in place by the caller; with several, each has a reader that
// hands its packets over one at a time.
type sockets struct {
	conns     []*net.UDPConn
	packets   chan packet
	closed    chan struct{}
	closeOnce sync.Once
	readers   sync.WaitGroup
}

type packet struct {
	data []byte
	from netip.AddrPort
	err  error
}

// listen binds the port on every address. An address whose family the host lacks
// is left out with a warning, unless it is the only one.
func listen(addrs []netip.Addr, port uint16, readBuffer int, log *slog.Logger) (*sockets, error) {
	// With port 0 the first socket picks the port, which may be taken on the next
	// address: pick again then.
	const attempts = 10
	var err error
	for range attempts {
		var s *sockets
		if s, err = bind(addrs, port, readBuffer, log); err == nil {
			s.start()
			return s, nil
		}
		if port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, err
}

func bind(addrs []netip.Addr, port uint16, readBuffer int, log *slog.Logger) (*sockets, error) {
	s := &sockets{closed: make(chan struct{})}
	var firstErr error
	for _, addr := range addrs {
		family := "udp4"
		if addr.Is6() && !addr.Is4In6() {
			family = "udp6" // sets IPV6_V6ONLY, so that 0.0.0.0 may have the port too
		}
		at := netip.AddrPortFrom(addr.Unmap(), port)
		conn, err := udp.Listen(family, net.UDPAddrFromAddrPort(at), readBuffer, log)
		switch {
		case err == nil:
		case errors.Is(err, syscall.EADDRINUSE):
			return nil, errors.Join(fmt.Errorf("UDP port %d on %s is in use: %w", port, addr, err), s.closeConns())
		case missingFamily(err):
			firstErr = errors.Join(firstErr, err)
			log.Warn("address family not available, not listening on it", slog.String("listen", at.String()), slog.Any("error", err))
			continue
		default:
			return nil, errors.Join(fmt.Errorf("listen for discv5 on UDP %s: %w", at, err), s.closeConns())
		}
		s.conns = append(s.conns, conn)
		if port == 0 {
			port = s.Port()
		}
	}
	if len(s.conns) == 0 {
		return nil, fmt.Errorf("listen for discv5 on UDP %v port %d: %w", addrs, port, firstErr)
	}
	return s, nil
}

func missingFamily(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

func (s *sockets) start() {
	if len(s.conns) == 1 {
		return
	}
	s.packets = make(chan packet)
	for _, conn := range s.conns {
		s.readers.Go(func() { s.read(conn) })
	}
}

func (s *sockets) read(conn *net.UDPConn) {
	for {
		buf := make([]byte, wire.MaxPacket+1)
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		select {
		case s.packets <- packet{buf[:n], from, err}:
		case <-s.closed:
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// Port is the UDP port of every socket.
func (s *sockets) Port() uint16 { return s.conns[0].LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// LocalAddr is the first socket's.
func (s *sockets) LocalAddr() net.Addr { return s.conns[0].LocalAddr() }

// ReadFromUDPAddrPort returns the next packet of any socket.
func (s *sockets) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	if s.packets == nil {
		return s.conns[0].ReadFromUDPAddrPort(b)
	}
	select {
	case p := <-s.packets:
		return copy(b, p.data), p.from, p.err
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// WriteToUDPAddrPort sends from the socket of the destination's family.
func (s *sockets) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	for _, conn := range s.conns {
		local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
		if local.Unmap().Is4() == to.Addr().Unmap().Is4() {
			return conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
		}
	}
	return 0, fmt.Errorf("no socket reaches %s", to)
}

// Close closes every socket and waits for the readers.
func (s *sockets) Close() error {
	var err error
	s.closeOnce.Do(func() {
		close(s.closed)
		err = s.closeConns()
		s.readers.Wait()
	})
	return err
}

// filteredSockets drops packets from and to addresses that are skipped, and paces the
// packets that are sent. All discv5 traffic passes through it.
type filteredSockets struct {
	*sockets
	skip func(eth2.NodeID, ...netip.Addr) bool
	pace *pacer
}

// ReadFromUDPAddrPort drops packets from addresses that are skipped.
func (c filteredSockets) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := c.sockets.ReadFromUDPAddrPort(b)
		if err != nil {
			return n, from, err
		}
		if !c.skip(eth2.NodeID{}, from.Addr()) {
			c.pace.received(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
			return n, from, nil
		}
	}
}

// WriteToUDPAddrPort sends a packet when the pace allows it, without waiting for that.
// Packets to addresses that are skipped, and those beyond the pace, are dropped as a
// network would.
func (c filteredSockets) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if c.skip(eth2.NodeID{}, to.Addr()) {
		return len(b), nil
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	now := time.Now()
	at, ok := c.pace.reserve(to, now)
	switch {
	case !ok:
		return len(b), nil
	case !at.After(now):
		return c.sockets.WriteToUDPAddrPort(b, to)
	}
	packet := bytes.Clone(b) // the caller may use its buffer again
	time.AfterFunc(at.Sub(now), func() { _, _ = c.sockets.WriteToUDPAddrPort(packet, to) })
	return len(b), nil
}

func (s *sockets) closeConns() (err error) {
	for _, conn := range s.conns {
		err = errors.Join(err, conn.Close())
	}
	return err
}
