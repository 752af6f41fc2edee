//go:build unix

package devnet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// holdTCP binds a TCP port without listening: connections are refused.
func holdTCP(addr netip.Addr) (io.Closer, uint16, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, 0, os.NewSyscallError("socket", err)
	}
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "held TCP port")
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: addr.As4()}); err != nil {
		return nil, 0, errors.Join(os.NewSyscallError("bind", err), f.Close())
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return nil, 0, errors.Join(os.NewSyscallError("getsockname", err), f.Close())
	}
	bound, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		return nil, 0, errors.Join(fmt.Errorf("bound to %T", name), f.Close())
	}
	return f, uint16(bound.Port), nil
}

// shortenQueue lets one connection wait to be accepted; the kernel drops the
// attempts of others.
func shortenQueue(l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var listenErr error
	if err := raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), 0) }); err != nil {
		return err
	}
	return os.NewSyscallError("listen", listenErr)
}
