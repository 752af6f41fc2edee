package udp

import (
	"log/slog"
	"net"
)

// Listen binds a socket ("udp4" or "udp6") and asks for a receive buffer of the
// given size in bytes. Less is not an error: it is logged, with what to change.
func Listen(network string, at *net.UDPAddr, buffer int, log *slog.Logger) (*net.UDPConn, error) {
	conn, err := net.ListenUDP(network, at)
	if err != nil {
		return nil, err // names the address
	}
	if err := conn.SetReadBuffer(buffer); err != nil {
		log.Debug("cannot change the UDP receive buffer", slog.Int("bytes", buffer), slog.Any("error", err))
	}
	if granted, ok := receiveBuffer(conn); ok && granted < buffer {
		log.Warn("the UDP receive buffer is small and packets may be lost: raise the system's limit (Linux: sysctl net.core.rmem_max)",
			slog.String("listen", conn.LocalAddr().String()), slog.Int("bytes", granted), slog.Int("wanted", buffer))
	}
	return conn, nil
}
