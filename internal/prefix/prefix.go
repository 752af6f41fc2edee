package prefix

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
)

// Key identifies a group of addresses. The zero Key is no group: it is never limited.
type Key uint64

// Groups are the two groups of an address.
type Groups struct {
	// Host is one party's for certain: an IPv4 address or an IPv6 /64.
	Host Key
	// Net is one party's or one provider's: an IPv4 /24 or an IPv6 /48.
	Net Key
}

// Kinds of keys, in the highest byte. The /64 of a global IPv6 address begins with the
// bits 001, so none of these.
const (
	kindIPv4   = 0xf1 << 56
	kindIPv4C  = 0xf2 << 56 // a /24
	kindIPv6   = 0xf3 << 56 // a single address that is not global
	kindIPv648 = 0xf4 << 56
)

var seed = maphash.MakeSeed()

// Of gives the groups of an address, both for IPv4 that is written as IPv6 in any way.
//
// Loopback, private and link-local addresses are contacted only in networks that belong to the
// operator, where neighbours are not one party: each is a Host by itself and in no Net.
// 127.0.0.1 and ::1 are in no group at all: everything on this machine shares them, as do
// the nodes of a devnet that has no other address. An invalid address is in none either.
func Of(ip netip.Addr) Groups {
	ip = Unwrap(ip)
	local := ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
	switch {
	case !ip.IsValid(), ip == netip.IPv6Loopback(), ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}):
		return Groups{}
	case ip.Is4():
		b := ip.As4()
		v := Key(binary.BigEndian.Uint32(b[:]))
		if local {
			return Groups{Host: kindIPv4 | v}
		}
		return Groups{kindIPv4 | v, kindIPv4C | v>>8}
	}
	b := ip.As16()
	v := Key(binary.BigEndian.Uint64(b[:8]))
	if local || v == 0 {
		return Groups{Host: kindIPv6 | Key(maphash.Bytes(seed, b[:])>>8)}
	}
	return Groups{v, kindIPv648 | v>>16}
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
	compatible = netip.MustParsePrefix("::/96")
)

// Unwrap gives the IPv4 address that an IPv6 address stands for: IPv4-mapped,
// IPv4-compatible, translated by NAT64's well-known prefix, or in a 6to4 prefix. Any
// other address is returned without its zone.
func Unwrap(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if !ip.Is6() {
		return ip
	}
	b := ip.As16()
	switch {
	case ip == netip.IPv6Unspecified(), ip == netip.IPv6Loopback():
	case nat64.Contains(ip), compatible.Contains(ip):
		return netip.AddrFrom4([4]byte(b[12:]))
	case sixToFour.Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return ip
}
