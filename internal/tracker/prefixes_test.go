package tracker

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The number of nodes of a flood does not raise the number that is learned from: it is the
// same for a flood of any size, at one address or from everywhere in its prefix.
func TestAFloodDoesNotRaiseItsLimit(t *testing.T) {
	for name, at := range map[string]func(i int) string{
		"one address": func(i int) string { return fmt.Sprintf("/ip4/192.31.196.7/tcp/%d", 1024+i%60_000) },
		"one /24":     func(i int) string { return fmt.Sprintf("/ip4/192.31.196.%d/tcp/9000", i%256) },
		"one /48":     func(i int) string { return fmt.Sprintf("/ip6/2a01:4f8:1:%x::1/tcp/9000", i%65_536) },
		"private":     func(int) string { return "/ip4/10.1.2.3/tcp/9000" },
	} {
		for _, honest := range []int{0, 2, 50, 1000} {
			for _, flood := range []int{100, 5_000, 50_000} {
				var peers []*Peer
				for i := range honest {
					address := fmt.Sprintf("/ip4/193.%d.%d.1/tcp/9000", i>>8, i&0xff)
					if i%10 == 9 {
						address = "" // in no prefix
					}
					peers = append(peers, &Peer{ID: fmt.Sprintf("honest%d", i), Multiaddr: address})
				}
				for i := range flood {
					peers = append(peers, &Peer{ID: fmt.Sprintf("flood%d", i), Multiaddr: at(i), FirstSeen: 1})
				}
				want := honest + max(3, honest/100)
				if honest < 3 {
					want = honest + max(3, (honest+flood)/100) // there is nobody else to learn from
				}
				if got := len(limited(peers)); got != want {
					t.Errorf("%s: %d honest nodes and a flood of %d: %d are learned from, want %d", name, honest, flood, got, want)
				}
			}
		}
	}
}

// A flood from one prefix, of peers that are newer than all others, evicts the flood and not
// the others.
func TestAFloodEvictsItself(t *testing.T) {
	const honest, neighbours, max = 60, 5, 200
	for name, at := range map[string]func(i int) string{
		"one address": func(i int) string { return fmt.Sprintf("/ip4/192.31.196.7/tcp/%d", 1024+i) },
		"one /24":     func(i int) string { return fmt.Sprintf("/ip4/192.31.196.%d/tcp/9000", i%250) },
		"one /64":     func(i int) string { return fmt.Sprintf("/ip6/2a01:4f8:1:1::%x/tcp/9000", 1+i) },
		"one /48":     func(i int) string { return fmt.Sprintf("/ip6/2a01:4f8:1:%x::1/tcp/9000", 1+i) },
	} {
		for _, shook := range []bool{true, false} {
			now := start.Add(10 * time.Hour)
			tr := opened(t, t.TempDir(), &now)
			tr.maxPeers = max
			add := func(id, address string, seen int64, observations uint64) {
				p := &Peer{ID: id, FirstSeen: seen, LastSeen: seen, Observations: observations}
				if observations > 0 {
					p.Multiaddr = address
				} else {
					p.Record.IP = strings.Split(address, "/")[2]
				}
				tr.set(p)
			}
			began, observations := start.UnixMilli(), uint64(0)
			if shook {
				observations = 1
			}
			for i := range honest {
				add(fmt.Sprintf("honest%d", i), fmt.Sprintf("/ip4/193.1.%d.1/tcp/9000", i), began+int64(i), observations)
			}
			for i := range neighbours {
				add(fmt.Sprintf("neighbour%d", i), at(i), began, observations)
			}
			for i := range 500 {
				add(fmt.Sprintf("flood%d", i), at(i), began+1000+int64(i), observations)
			}
			tr.evict()
			left := map[string]int{}
			for id := range tr.peers {
				left[strings.TrimRight(id, "0123456789")]++
			}
			if left["honest"] != honest || left["neighbour"] != neighbours || len(tr.peers) != max {
				t.Errorf("%s, with handshakes %t: left of %d honest peers, %d neighbours and a flood: %v", name, shook, honest, neighbours, left)
			}
		}
	}
}

// What one prefix has counts only while there is no room for all.
func TestALargePrefixStays(t *testing.T) {
	now := start.Add(10 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	for i := range 1000 {
		tr.set(&Peer{ID: peerID(i), Multiaddr: "/ip4/192.31.196.7/tcp/9000", LastSeen: start.UnixMilli(), Observations: 1})
	}
	tr.maxPeers = 1000
	if tr.evict(); len(tr.peers) != 1000 {
		t.Errorf("%d peers are left", len(tr.peers))
	}
}
