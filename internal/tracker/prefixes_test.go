package tracker

import (
	"fmt"
	"testing"
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
