package discv5

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/chainbound/valtrack/internal/prefix"
)

// Records of one group of addresses hold few workers, and the others are asked (H2, H3).
func TestOneGroupHasFewQueries(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   func(i int) netip.Addr
		want int
	}{
		{"one address", func(int) netip.Addr { return netip.MustParseAddr("192.31.196.7") }, queryBudget.Host},
		{"one /24", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 31, 196, byte(i)}) }, queryBudget.Net},
		{"one on loopback", func(int) netip.Addr { return netip.MustParseAddr("127.66.0.1") }, queryBudget.Host},
	} {
		forkID := testForkID(1)
		f := newFinder(t, func(c *Config) { c.AllowPrivate = true })
		c := f.newCrawl(nil)
		now := time.Now().Add(-time.Second)
		const hostile, honest = 100, 5
		hostileAt := prefix.Of(tt.at(0))
		for i := range hostile + honest {
			ip := netip.AddrFrom4([4]byte{193, byte(i), 1, 1})
			if i < hostile {
				ip = tt.at(i)
			}
			_, key := testKey(t)
			c.table.offer(nodeOf(t, key, 1, &forkID, gethenr.IPv4Addr(ip), gethenr.UDP(9000+i)), now)
		}
		for _, n := range c.table.byID {
			c.table.markTried(n) // first visits wait for others for more reasons
		}
		wake := time.NewTimer(time.Hour)
		asked := map[bool]int{}
		var visits []*visit
		for v := c.plan(wake); v != nil; v = c.plan(wake) {
			visits = append(visits, v)
			asked[v.node.at.Host == hostileAt.Host || hostileAt.Net != 0 && v.node.at.Net == hostileAt.Net]++
		}
		if asked[true] != tt.want || asked[false] != honest {
			t.Errorf("%s: %d nodes of the group are asked at one time and %d others, want %d and %d", tt.name, asked[true], asked[false], tt.want, honest)
		}
		for _, v := range visits {
			c.handleAnswers(answers{node: v.node, area: v.area, asked: v.text})
		}
		if c.running.Len() != 0 {
			t.Errorf("%s: %d groups are booked after the answers", tt.name, c.running.Len())
		}
	}
}

// A long queue at some addresses of a network does not delay its other addresses: each group
// has its own turns.
func TestQueuesOfAddressesDoNotDelayTheirNetwork(t *testing.T) {
	forkID := testForkID(1)
	f := newFinder(t, nil)
	c := f.newCrawl(nil)
	now := time.Now()
	offer := func(ip gethenr.IPv4Addr, port int, at time.Time) *node {
		_, key := testKey(t)
		n := nodeOf(t, key, 1, &forkID, ip, gethenr.UDP(port))
		c.table.offer(n, at)
		known := c.table.byID[n.ID()]
		c.table.markTried(known)
		return known
	}
	for i := range 600 { // two addresses fill the network's share
		offer(ip4(192, 31, 196, byte(1+i%2)), 1024+i, now.Add(-time.Minute))
	}
	neighbour := offer(ip4(192, 31, 196, 9), 9000, now.Add(-time.Second))
	wake := time.NewTimer(time.Hour)
	for v := c.plan(wake); v != nil; v = c.plan(wake) {
	}
	if got := c.running.Used(neighbour.at.Net); got != queryBudget.Net {
		t.Fatalf("%d nodes of the network are asked, want %d", got, queryBudget.Net)
	}
	if wait := neighbour.due.Sub(now); wait > turnPeriod {
		t.Errorf("the neighbour waits %v, want %v at most", wait, turnPeriod)
	}
}

// However many endpoints of a network get packets, its addresses and it have limits (H5).
func TestPaceOfNetworks(t *testing.T) {
	for _, tt := range []struct {
		name string
		to   func(i int) netip.Addr
		most int // packets in ten seconds
	}{
		{"one on loopback", func(int) netip.Addr { return netip.MustParseAddr("127.66.0.1") }, addressBurst + 8*11},
		{"one /64", func(i int) netip.Addr { return netip.AddrFrom16([16]byte{0x2a, 1, 4, 0xf8, 15: byte(i)}) }, addressBurst + 8*11},
		{"one /24", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 31, 196, byte(i)}) }, networkBurst + 32*11},
		{"one /48", func(i int) netip.Addr {
			return netip.AddrFrom16([16]byte{0x2a, 1, 4, 0xf8, 7: byte(i), 15: byte(i >> 8)})
		}, networkBurst + 32*11},
	} {
		p := newPacer()
		start := time.Unix(1_700_000_000, 0)
		sent := 0
		for i := range 10_000 {
			if _, ok := p.reserve(netip.AddrPortFrom(tt.to(i), uint16(1+i)), start.Add(time.Duration(i)*time.Millisecond)); ok {
				sent++
			}
		}
		if sent > tt.most || sent < tt.most/2 {
			t.Errorf("%s: %d packets in ten seconds, want at most %d", tt.name, sent, tt.most)
		}
	}
}

// Ports that change over and over do not make a node due over and over (H5).
func TestEndpointsThatChangeDoNotEndTheWait(t *testing.T) {
	forkID := testForkID(1)
	table := newNodes(enode.ID{}, 20, time.Minute)
	table.setDigest(forkID.ForkDigest)
	start := time.Unix(1_700_000_000, 0)
	_, key := testKey(t)
	asked := 0
	const hours = 5
	for i := range hours * 360 {
		now := start.Add(time.Duration(i) * 10 * time.Second)
		table.offer(nodeOf(t, key, uint64(i+1), &forkID, gethenr.UDP(10_000+i)), now)
		if n, _ := table.nextDue(now); n != nil {
			asked++
			table.recordFailure(n, now)
		}
	}
	// In each hour the new endpoint, in one of them two, and retries after 10, 40, 160 and 640 s.
	if asked > 6*(hours+1) {
		t.Errorf("asked %d times in %d hours", asked, hours)
	}
}

func ip4(a, b, c, d byte) gethenr.IPv4Addr {
	return gethenr.IPv4Addr(netip.AddrFrom4([4]byte{a, b, c, d}))
}
