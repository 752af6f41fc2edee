package api

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/chainbound/valtrack/internal/telemetry"
)

// What is open at one time: of all clients, and of one address. A trusted proxy has all.
const (
	maxConnections  = 2048
	eachConnections = 256
)

// conns bound the open connections of the server. An address that has too many loses an idle
// one of its own, so that it takes none from others.
type conns struct {
	all     *telemetry.ConnLimit
	each    int
	proxies []netip.Prefix

	mu sync.Mutex
	by map[string]*connsOf
}

type connsOf struct {
	limit *telemetry.ConnLimit
	open  int
}

func newConns(proxies []netip.Prefix) *conns {
	return &conns{all: telemetry.NewConnLimit(maxConnections), each: eachConnections, proxies: proxies, by: map[string]*connsOf{}}
}

// changed is the server's ConnState.
func (c *conns) changed(conn net.Conn, state http.ConnState) {
	if limit := c.own(conn, state); limit != nil {
		limit.Changed(conn, state)
	}
	c.all.Changed(conn, state)
}

// own are the connections of an address; nil for a proxy's.
func (c *conns) own(conn net.Conn, state http.ConnState) *telemetry.ConnLimit {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil || trusted(at.Addr().Unmap(), c.proxies) {
		return nil
	}
	group := addressGroup(at.Addr())
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.by[group]
	switch {
	case own == nil && state != http.StateNew:
		return nil
	case own == nil:
		own = &connsOf{limit: telemetry.NewConnLimit(c.each)}
		c.by[group] = own
	}
	switch state {
	case http.StateNew:
		own.open++
	case http.StateClosed, http.StateHijacked:
		if own.open--; own.open == 0 {
			delete(c.by, group)
		}
	}
	return own.limit
}
