package telemetry

import (
	"net"
	"net/http"
	"sync"
)

// ConnLimit bounds the open connections of a http.Server.
type ConnLimit struct {
	max   int
	mu    sync.Mutex
	conns map[net.Conn]http.ConnState
}

// NewConnLimit bounds them to a number.
func NewConnLimit(limit int) *ConnLimit {
	return &ConnLimit{max: limit, conns: map[net.Conn]http.ConnState{}}
}

// Changed is the server's ConnState. It makes room for a new connection by closing an idle
// one, or closes the new one.
func (c *ConnLimit) Changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(c.conns, conn)
		return
	}
	c.conns[conn] = state
	if state != http.StateNew || len(c.conns) <= c.max {
		return
	}
	surplus := conn
	for other, state := range c.conns {
		if state == http.StateIdle {
			surplus = other
			break
		}
	}
	delete(c.conns, surplus)
	surplus.Close() // the server notices when it reads from it
}
