package udp

import (
	"net"
	"syscall"
)

// receiveBuffer gives the size of a socket's receive buffer in bytes. Linux doubles
// what was asked for, as room for its own bookkeeping, and says so when asked.
func receiveBuffer(conn *net.UDPConn) (bytes int, ok bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false
	}
	var size int
	var sizeErr error
	err = raw.Control(func(fd uintptr) {
		size, sizeErr = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
	})
	return size / 2, err == nil && sizeErr == nil
}
