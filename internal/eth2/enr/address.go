package enr

import (
	"net/netip"

	"github.com/chainbound/valtrack/internal/prefix"
)

// notGlobal4 are the blocks of IPv4 that are not globally reachable unicast: those of
// the IANA IPv4 Special-Purpose Address Registry without "Globally Reachable: True",
// and multicast (RFC 5771). Anycast addresses of protocols inside 192.0.0.0/24 are
// reachable, but no node's.
var notGlobal4 = prefixes(
	"0.0.0.0/8",       // this network (RFC 791)
	"10.0.0.0/8",      // private use (RFC 1918)
	"100.64.0.0/10",   // shared address space of carriers (RFC 6598)
	"127.0.0.0/8",     // loopback (RFC 1122)
	"169.254.0.0/16",  // link local (RFC 3927)
	"172.16.0.0/12",   // private use (RFC 1918)
	"192.0.0.0/24",    // IETF protocol assignments (RFC 6890)
	"192.0.2.0/24",    // documentation, TEST-NET-1 (RFC 5737)
	"192.88.99.0/24",  // 6to4 relay anycast, deprecated (RFC 7526)
	"192.168.0.0/16",  // private use (RFC 1918)
	"198.18.0.0/15",   // benchmarking (RFC 2544)
	"198.51.100.0/24", // documentation, TEST-NET-2 (RFC 5737)
	"203.0.113.0/24",  // documentation, TEST-NET-3 (RFC 5737)
	"224.0.0.0/4",     // multicast (RFC 5771)
	"240.0.0.0/4",     // reserved (RFC 1112), limited broadcast (RFC 919)
)

// global6 is the part of IPv6 that IANA has allocated as global unicast. What is
// outside (mapped and compatible IPv4, 64:ff9b:1::/48, 100::/64, 5f00::/16, unique
// local, link local, site local, multicast) is not.
var global6 = netip.MustParsePrefix("2000::/3")

// notGlobal6 are the blocks inside global6 that are not globally reachable unicast:
// those of the IANA IPv6 Special-Purpose Address Registry. The protocol anycast and
// the overlay identifiers inside 2001::/23 are no node's addresses.
var notGlobal6 = prefixes(
	"2001::/23",     // IETF protocol assignments (RFC 2928), Teredo among them
	"2001:db8::/32", // documentation (RFC 3849)
	"2002::/16",     // 6to4 (RFC 3056): the packets go to an IPv4 address
	"3fff::/20",     // documentation (RFC 9637)
)

// translated is the well-known prefix of IPv4/IPv6 translation (RFC 6052). It is as
// reachable as the IPv4 address in the last four bytes.
var translated = netip.MustParsePrefix("64:ff9b::/96")

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// GloballyReachable reports whether the address is globally reachable unicast by
// IANA's registries. An IPv4 address mapped into IPv6 is not: callers unmap what
// a socket gave them.
func GloballyReachable(ip netip.Addr) bool {
	switch {
	case !ip.IsValid() || ip.Zone() != "":
		return false
	case ip.Is4():
		return !within(ip, notGlobal4)
	case translated.Contains(ip):
		bytes := ip.As16()
		return GloballyReachable(netip.AddrFrom4([4]byte(bytes[12:])))
	}
	return global6.Contains(ip) && !within(ip, notGlobal6)
}

// MayContact reports whether packets may be sent to an address that a record names:
// one that is globally reachable and, when private ones are allowed, any other
// unicast address, such as those of loopback, of a house or of a laboratory.
func MayContact(ip netip.Addr, allowPrivate bool) bool {
	if GloballyReachable(ip) {
		return true
	}
	zone := ip.Zone()
	ip = prefix.Unwrap(ip)
	if !allowPrivate || !ip.IsValid() || zone != "" || ip.IsUnspecified() || ip.IsMulticast() {
		return false
	}
	return !ip.Is4() || ip.As4()[0] != 0 && ip.As4()[0] < 240 // this network, reserved, broadcast
}

func within(ip netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
