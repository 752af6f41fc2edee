package enr

import (
	"net/netip"
	"testing"
)

func TestGloballyReachable(t *testing.T) {
	for _, tt := range []struct {
		block       string
		first, last string
		want        bool
	}{
		{"before this network", "223.255.255.255", "1.0.0.0", true},
		{"this network", "0.0.0.0", "0.255.255.255", false},
		{"around private 10/8", "9.255.255.255", "11.0.0.0", true},
		{"private 10/8", "10.0.0.0", "10.255.255.255", false},
		{"around shared", "100.63.255.255", "100.128.0.0", true},
		{"shared", "100.64.0.0", "100.127.255.255", false},
		{"around loopback", "126.255.255.255", "128.0.0.0", true},
		{"loopback", "127.0.0.0", "127.255.255.255", false},
		{"around link local", "169.253.255.255", "169.255.0.0", true},
		{"link local", "169.254.0.0", "169.254.255.255", false},
		{"around private 172.16/12", "172.15.255.255", "172.32.0.0", true},
		{"private 172.16/12", "172.16.0.0", "172.31.255.255", false},
		{"IETF assignments", "192.0.0.0", "192.0.0.255", false},
		{"between", "192.0.1.0", "192.0.1.255", true},
		{"TEST-NET-1", "192.0.2.0", "192.0.2.255", false},
		{"AS112, reachable", "192.31.196.1", "192.175.48.1", true},
		{"6to4 relays", "192.88.99.0", "192.88.99.255", false},
		{"private 192.168/16", "192.168.0.0", "192.168.255.255", false},
		{"around benchmarking", "198.17.255.255", "198.20.0.0", true},
		{"benchmarking", "198.18.0.0", "198.19.255.255", false},
		{"TEST-NET-2", "198.51.100.0", "198.51.100.255", false},
		{"TEST-NET-3", "203.0.113.0", "203.0.113.255", false},
		{"multicast", "224.0.0.0", "239.255.255.255", false},
		{"reserved, broadcast", "240.0.0.0", "255.255.255.255", false},

		{"unspecified, loopback", "::", "::1", false},
		{"compatible IPv4", "::1.2.3.4", "::8.8.8.8", false},
		{"mapped IPv4", "::ffff:8.8.8.8", "::ffff:10.0.0.1", false},
		{"translated, of public addresses", "64:ff9b::8.8.8.8", "64:ff9b::1.1.1.1", true},
		{"translated, of private addresses", "64:ff9b::10.0.0.1", "64:ff9b::192.168.1.1", false},
		{"translated, of others", "64:ff9b::127.0.0.1", "64:ff9b::224.0.0.1", false},
		{"local-use translation", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", false},
		{"discard", "100::", "100:0:0:1::", false},
		{"IETF assignments, Teredo", "2001::", "2001:1ff:ffff::1", false},
		{"global unicast", "2001:200::1", "2a01:4f8::1", true},
		{"documentation", "2001:db8::", "2001:db8:ffff::1", false},
		{"6to4", "2002::", "2002:ffff::1", false},
		{"documentation, large", "3fff::", "3fff:fff:ffff::1", false},
		{"after it", "3fff:1000::", "3fff:ffff::", true},
		{"not allocated", "4000::", "5eff::1", false},
		{"SRv6 identifiers", "5f00::", "5f00:ffff::1", false},
		{"unique local", "fc00::", "fdff::1", false},
		{"link local", "fe80::", "febf::1", false},
		{"site local", "fec0::", "feff::1", false},
		{"multicast", "ff00::", "ffff::1", false},
		{"with a zone", "2a01:4f8::1%eth0", "fe80::1%eth0", false},
	} {
		for _, text := range []string{tt.first, tt.last} {
			if ip := netip.MustParseAddr(text); GloballyReachable(ip) != tt.want {
				t.Errorf("%s: %s is globally reachable: %v, want %v", tt.block, ip, !tt.want, tt.want)
			} else if MayContact(ip, false) != tt.want {
				t.Errorf("%s: %s may be contacted: %v, want %v", tt.block, ip, !tt.want, tt.want)
			}
		}
	}
	if GloballyReachable(netip.Addr{}) {
		t.Error("no address at all is globally reachable")
	}
}

func TestMayContactWhenPrivateIsAllowed(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1": true, "::1": true, "10.1.2.3": true, "192.168.1.1": true, "fd00::1": true, "169.254.1.1": true,
		"100.64.1.1": true, "198.18.0.1": true, "192.0.2.1": true, "2001:db8::1": true, "8.8.8.8": true, "2a01:4f8::1": true,
		"0.0.0.0": false, "0.1.2.3": false, "::": false, "224.0.0.1": false, "ff02::1": false,
		"240.0.0.1": false, "255.255.255.255": false, "::ffff:224.0.0.1": false, "fe80::1%eth0": false,
		// What stands for an IPv4 address is as good as that.
		"64:ff9b::224.0.0.1": false, "64:ff9b::10.0.0.1": true, "2002:e000:1::": false, "2002:a00:1::": true, "::255.255.255.255": false,
	} {
		if got := MayContact(netip.MustParseAddr(text), true); got != want {
			t.Errorf("%s may be contacted: %v, want %v", text, got, want)
		}
	}
}
