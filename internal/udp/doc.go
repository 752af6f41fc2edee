// Package udp binds UDP sockets with a large receive buffer and warns when the
// system grants less: packets that arrive while it is full are lost.
package udp
