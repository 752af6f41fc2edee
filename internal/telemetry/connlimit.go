package telemetry

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// ConnLimit bounds the open connections of a http.Server.
type ConnLimit struct {
	max   int
	mu    sync.Mutex
	conns map[net.Conn]connState
}

type connState struct {
	state http.ConnState
	since time.Time
}

// NewConnLimit bounds them to a number.
func NewConnLimit(limit int) *ConnLimit {
	return &ConnLimit{max: limit, conns: map[net.Conn]connState{}}
}

// Changed is the server's ConnState. It makes room for a new connection by closing an idle one,
// else the one that has been silent since it was opened for the longest time, else the new one.
func (c *ConnLimit) Changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(c.conns, conn)
		return
	}
	c.conns[conn] = connState{state, time.Now()}
	if state != http.StateNew || len(c.conns) <= c.max {
		return
	}
	surplus := c.surplus(conn)
	delete(c.conns, surplus)
	surplus.Close() // the server notices when it reads from it
}

func (c *ConnLimit) surplus(surplus net.Conn) net.Conn {
	oldest := c.conns[surplus].since
	for conn, is := range c.conns {
		switch {
		case is.state == http.StateIdle:
			return conn
		case is.state == http.StateNew && is.since.Before(oldest):
			surplus, oldest = conn, is.since
		}
	}
	return surplus
}
