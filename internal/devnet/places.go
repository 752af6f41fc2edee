package devnet

import (
	_ "embed"
	"encoding/binary"
	"encoding/csv"
	"fmt"
	"hash/fnv"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// placesFile has the columns prefix, weight and network: real prefixes, each with about as
// many nodes of a thousand as a crawl of mainnet finds in its kind of network and country.
//
//go:embed places.csv
var placesFile string

// place is a prefix whose addresses stand in for nodes.
type place struct {
	prefix netip.Prefix
	upTo   uint32 // the sum of the weights of this and all places before
}

// places are read at the first use.
var places = sync.OnceValue(func() []place {
	lines, err := csv.NewReader(strings.NewReader(placesFile)).ReadAll()
	if err != nil {
		panic(fmt.Sprintf("places.csv: %v", err)) // a test reads the whole file
	}
	var list []place
	sum := uint32(0)
	for _, line := range lines[1:] {
		weight, err := strconv.ParseUint(line[1], 10, 16)
		if err != nil {
			panic(fmt.Sprintf("places.csv: %v", err))
		}
		sum += uint32(weight)
		list = append(list, place{netip.MustParsePrefix(line[0]), sum})
	}
	return list
})

// StandIn gives the public IPv4 address whose place and network are shown as those of a
// simulated node: the same for the same address, and spread over countries and networks
// as the nodes of mainnet are. There is none for addresses other than 127.0.0.0/8, and for
// 127.0.0.1, which all nodes share on systems that have no other. Nothing is ever sent
// to the address.
func StandIn(ip netip.Addr) (standIn netip.Addr, ok bool) {
	ip = ip.Unmap()
	if !ip.Is4() || !ip.IsLoopback() || ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return netip.Addr{}, false
	}
	h := fnv.New64a()
	bytes := ip.As4()
	h.Write(bytes[:])
	random := mix(h.Sum64())
	list := places()
	drawn := uint32(random>>32) % list[len(list)-1].upTo
	p := list[sort.Search(len(list), func(i int) bool { return list[i].upTo > drawn })].prefix
	start := p.Addr().As4()
	host := uint32(random) & (1<<(32-p.Bits()) - 1)
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(start[:])|host))), true
}

// mix spreads the bits of x (the finaliser of SplitMix64): addresses that follow each other
// differ in a few bits of their hash only.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
