//go:build !linux

package udp

import "net"

// receiveBuffer does not know on this system.
func receiveBuffer(*net.UDPConn) (bytes int, ok bool) { return 0, false }
