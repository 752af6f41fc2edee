package telemetry

import (
	"net"
	"net/http"
	"sync"
)

// connLimit bounds the open connections of a http.Server.
type connLimit struct {
	max   int
	mu    sync.Mutex
	conns map[net.Conn]http.ConnState
}

func newConnLimit(limit int) *connLimit {
	return &connLimit{max: limit, conns: map[net.Conn]http.ConnState{}}
}

// changed is the server's ConnState. It makes room for a new connection by closing an idle
// one, or closes the new one.
func (c *connLimit) changed(conn net.Conn, state http.ConnState) {
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
