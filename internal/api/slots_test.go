package api

import (
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/telemetry"
)

func from(text string) client { return client{addr: netip.MustParseAddr(text)} }

// Who has its share is refused with 429 while others are served; when all slots are taken
// everybody is, with 503. What is released can be taken again.
func TestSharesOfSlots(t *testing.T) {
	count := func(s *slots, clients ...client) (n, last int) {
		for {
			_, p := s.acquire(t.Context(), clients[n%len(clients)])
			if p != nil {
				if p.retryAfter < 1 {
					t.Errorf("no time to wait: %+v", p)
				}
				return n, p.Status
			}
			n++
		}
	}
	var network []client // many addresses of one network
	for i := range 200 {
		network = append(network, client{addr: netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})})
	}
	for name, c := range map[string]struct {
		clients []client
		n       int
	}{
		"an address":     {[]client{from("192.0.2.1")}, 3},
		"its other form": {[]client{from("192.0.2.1"), from("::ffff:192.0.2.1")}, 3},
		"a /64":          {[]client{from("2001:db9::1"), from("2001:db9::2")}, 3},
		"this machine":   {[]client{from("127.0.0.1")}, 3},
		"a /24":          {network, 3 * networkFactor},
		"a key":          {[]client{{key: "ops", addr: netip.MustParseAddr("192.0.2.1")}}, 3 * keyFactor},
	} {
		s := newSlots("things", 100, 3, 0)
		if n, status := count(s, c.clients...); n != c.n || status != http.StatusTooManyRequests {
			t.Errorf("%s: %d, then %d; want %d, then 429", name, n, status, c.n)
		}
		if _, p := s.acquire(t.Context(), from("203.0.113.1")); p != nil {
			t.Errorf("%s keeps others out: %v", name, p)
		}
	}
	s := newSlots("things", 4, 1, 0)
	for i := range 4 {
		if _, p := s.acquire(t.Context(), client{addr: netip.AddrFrom4([4]byte{198, 51, byte(i), 1})}); p != nil {
			t.Fatal(p)
		}
	}
	if _, p := s.acquire(t.Context(), from("203.0.113.1")); p == nil || p.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v", p)
	}
	s = newSlots("things", 4, 1, time.Minute) // waits
	release, _ := s.acquire(t.Context(), from("192.0.2.1"))
	time.AfterFunc(20*time.Millisecond, release)
	again, p := s.acquire(t.Context(), from("192.0.2.1"))
	if p != nil {
		t.Fatal(p)
	}
	again()
	again() // counts once
	if s.inUse() != 0 || len(s.by) != 0 {
		t.Errorf("%d in use, %v", s.inUse(), s.by)
	}
}

// fakeConn is a connection of an address.
type fakeConn struct {
	net.Conn
	addr   net.Addr
	closed *int
}

func (f fakeConn) RemoteAddr() net.Addr { return f.addr }
func (f fakeConn) Close() error         { *f.closed++; return nil }

// An address with too many connections loses its own; a proxy may have all.
func TestConnectionsOfAnAddress(t *testing.T) {
	c := newConns([]netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")})
	c.each = 5
	closed := map[string]*int{}
	open := func(ip string, n int) (conns []net.Conn) {
		closed[ip] = new(int)
		for i := range n {
			conn := &fakeConn{addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1000 + i}, closed: closed[ip]}
			c.changed(conn, http.StateNew)
			c.changed(conn, http.StateActive)
			c.changed(conn, http.StateIdle)
			conns = append(conns, conn)
		}
		return conns
	}
	many := open("192.0.2.1", 9)
	open("192.0.2.2", 5)
	open("10.0.0.1", 100)
	if *closed["192.0.2.1"] != 4 || *closed["192.0.2.2"] != 0 || *closed["10.0.0.1"] != 0 {
		t.Errorf("closed %d, %d and %d", *closed["192.0.2.1"], *closed["192.0.2.2"], *closed["10.0.0.1"])
	}
	for _, conn := range many {
		c.changed(conn, http.StateClosed)
	}
	if len(c.by) != 1 {
		t.Errorf("%d addresses are remembered", len(c.by))
	}
}

// Connections that have sent nothing give way to one that may.
func TestSilentConnectionsGiveWay(t *testing.T) {
	c := newConns(nil)
	c.all = telemetry.NewConnLimit(20)
	var silent [30]int
	for i := range silent {
		c.changed(&fakeConn{addr: &net.TCPAddr{IP: net.IPv4(127, 1, 0, byte(i)), Port: 1}, closed: &silent[i]}, http.StateNew)
	}
	client := 0
	c.changed(&fakeConn{addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, closed: &client}, http.StateNew)
	if client != 0 || silent[0] != 1 || silent[29] != 0 {
		t.Errorf("closed: %d, and %v of those that are silent", client, silent)
	}
}
