package prefix

import (
	"net/netip"
	"testing"
	"time"
)

func TestGroups(t *testing.T) {
	for _, tt := range []struct {
		name, a, b string
		host, net  bool // whether they share it
	}{
		{"one address", "192.31.196.7", "192.31.196.7", true, true},
		{"one /24", "192.31.196.7", "192.31.196.250", false, true},
		{"neighbouring /24", "192.31.196.7", "192.31.197.7", false, false},
		{"mapped", "192.31.196.7", "::ffff:192.31.196.7", true, true},
		{"compatible", "192.31.196.7", "::192.31.196.7", true, true},
		{"NAT64", "192.31.196.7", "64:ff9b::192.31.196.7", true, true},
		{"6to4", "192.31.196.7", "2002:c01f:c407:1:2::3", true, true},
		{"6to4 subnets", "2002:c01f:c407:1::1", "2002:c01f:c407:2::1", true, true},
		{"one /64", "2a01:4f8:0:1::1", "2a01:4f8:0:1:ffff::2", true, true},
		{"one /48", "2a01:4f8:0:1::1", "2a01:4f8:0:2::1", false, true},
		{"neighbouring /48", "2a01:4f8:0:1::1", "2a01:4f8:1:1::1", false, false},
		{"the /48 as a /64", "2a01:4f8::1", "2a01:4f8:0:1::1", false, true},
		{"loopback", "127.10.0.1", "127.10.0.2", false, false},
		{"one on loopback", "127.10.0.1", "127.10.0.1", true, false},
		{"a zone", "fe80::1%eth0", "fe80::1", true, false},
		{"private", "10.0.0.1", "10.0.0.2", false, false},
		{"private IPv6", "fd00::1", "fd00::2", false, false},
		{"the families", "1.2.3.4", "2a01:4f8::1", false, false},
	} {
		a, b := Of(netip.MustParseAddr(tt.a)), Of(netip.MustParseAddr(tt.b))
		if got := a.Host == b.Host; got != tt.host || a.Host == 0 {
			t.Errorf("%s: %s and %s share a host: %v", tt.name, tt.a, tt.b, got)
		}
		if got := a.Net == b.Net && a.Net != 0; got != tt.net {
			t.Errorf("%s: %s and %s share a network: %v", tt.name, tt.a, tt.b, got)
		}
		if a.Host == a.Net {
			t.Errorf("%s: host and network of %s have the same key", tt.name, tt.a)
		}
	}
	for _, none := range []netip.Addr{{}, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback(), netip.MustParseAddr("::ffff:127.0.0.1")} {
		if g := Of(none); g != (Groups{}) {
			t.Errorf("%v is of the groups %v", none, g)
		}
	}
}

func FuzzOf(f *testing.F) {
	for _, ip := range []string{"1.2.3.4", "::", "::1", "64:ff9b::1", "2002::", "fe80::1%x", "ff02::1"} {
		b, _ := netip.MustParseAddr(ip).MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ip netip.Addr
		if ip.UnmarshalBinary(b) != nil {
			return
		}
		if Unwrap(Unwrap(ip)) != Unwrap(ip) {
			t.Errorf("%v is wrapped twice", ip)
		}
		if g := Of(ip); g != Of(Unwrap(ip)) || g.Net != 0 && g.Host == 0 {
			t.Errorf("groups of %v: %v", ip, g)
		}
	})
}

func TestCounter(t *testing.T) {
	var c Counter
	one, neighbour := Of(netip.MustParseAddr("192.31.196.7")), Of(netip.MustParseAddr("192.31.196.8"))
	budget := Budget{Host: 2, Net: 3}
	for range 2 {
		if full := c.Full(one, budget); full != 0 {
			t.Errorf("%v is full", full)
		}
		c.Add(one)
	}
	if full := c.Full(one, budget); full != one.Host {
		t.Errorf("%v is full, want the host", full)
	}
	if full := c.Full(neighbour, budget); full != 0 {
		t.Errorf("the neighbour's %v is full", full)
	}
	c.Add(neighbour)
	if full := c.Full(neighbour, budget); full != one.Net {
		t.Errorf("%v is full, want the network", full)
	}
	c.Add(Groups{})
	if c.Full(Groups{}, budget) != 0 {
		t.Error("what is in no group is limited")
	}
	for _, g := range []Groups{one, one, neighbour, {}} {
		c.Remove(g)
	}
	if c.Len() != 0 {
		t.Errorf("%d groups are left", c.Len())
	}
}

func TestRate(t *testing.T) {
	r := Rate{Budget: Budget{Host: 4, Net: 6}, Period: time.Hour}
	now := time.Unix(1_700_000_000, 0)
	one, neighbour := Of(netip.MustParseAddr("192.31.196.7")), Of(netip.MustParseAddr("192.31.196.8"))
	for range 4 {
		if at := r.Next(one, now); at != now {
			t.Fatalf("not before %v", at.Sub(now))
		}
		r.Add(one, now)
	}
	if at := r.Next(one, now); at != now.Add(time.Hour/4) {
		t.Errorf("the fifth in %v, want a quarter of an hour", at.Sub(now))
	}
	for range 2 {
		r.Add(neighbour, now)
	}
	if at := r.Next(neighbour, now); at != now.Add(time.Hour/6) {
		t.Errorf("the seventh of the network in %v, want ten minutes", at.Sub(now))
	}
	r.Return(neighbour)
	if at := r.Next(neighbour, now); at != now {
		t.Errorf("after one was returned: in %v", at.Sub(now))
	}
	if at := r.Next(Groups{}, now); at != now {
		t.Errorf("what is in no group waits %v", at.Sub(now))
	}
	r.Forget(now.Add(time.Hour))
	if r.Len() != 0 {
		t.Errorf("%d groups are remembered", r.Len())
	}
}
