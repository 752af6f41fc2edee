package tracker

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/prefix"
)

// prefix is the network prefix that the peer's last connection came from or went to: a /24
// or a /48, or one address of a private network. It is zero for a peer without an address.
func (p *Peer) prefix() prefix.Groups {
	parts := strings.SplitN(p.Multiaddr, "/", 4)
	if len(parts) < 3 {
		return prefix.Groups{}
	}
	return prefixOf(parts[2])
}

// claimed is prefix or, for a peer without a connection, that of the address in its record.
func (p *Peer) claimed() prefix.Groups {
	if p.Multiaddr != "" {
		return p.prefix()
	}
	return prefixOf(cmp.Or(p.Record.IP, p.Record.IP6))
}

func prefixOf(address string) prefix.Groups {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return prefix.Groups{}
	}
	return prefix.Of(addr)
}

// excess are the peers, as 1, that are more than their prefix may have of so many peers. A
// prefix keeps those with a handshake before others, and those known for longest: whoever
// comes to it later does not displace who was there before.
func (t *Tracker) excess(peers []*Peer) map[*Peer]int {
	budget := prefix.Budget{Host: max(minHostPeers, t.maxPeers/1000), Net: max(minNetPeers, t.maxPeers/100)}
	ordered := slices.Clone(peers)
	slices.SortFunc(ordered, func(a, b *Peer) int {
		return cmp.Or(cmp.Compare(min(b.Observations, 1), min(a.Observations, 1)), cmp.Compare(a.FirstSeen, b.FirstSeen), strings.Compare(a.ID, b.ID))
	})
	var kept prefix.Counter
	over := map[*Peer]int{}
	for _, p := range ordered {
		if g := t.pending(p).claimed(); kept.Full(g, budget) != 0 {
			over[p] = 1
		} else {
			kept.Add(g)
		}
	}
	return over
}

// Of maxPeers an address has at most a thousandth, and a network a hundredth, while there are
// more; but never less than this.
const minHostPeers, minNetPeers = 8, 16

// groupOf is the larger of the groups that one party may have.
func groupOf(g prefix.Groups) prefix.Key { return cmp.Or(g.Net, g.Host) }

// weights are what nodes count for in totals.
type weights struct {
	of      []float64 // by node
	limited int       // prefixes whose nodes do not count in full
	large   int       // prefixes that claim a large share of the network
	largest float64   // validators that one of the large ones claims
}

// weightsOf weighs nodes with an estimate by the prefixes that they are in.
func weightsOf(nodes []*Peer, m *estimate.Model) weights {
	var prefixes []estimate.Prefix
	var others estimate.Prefix
	index, in := map[prefix.Key]int{}, make([]int, len(nodes))
	for i, p := range nodes {
		g, into := p.prefix(), &others
		if in[i] = -1; groupOf(g) != 0 {
			k, known := index[groupOf(g)]
			if !known {
				k = len(prefixes)
				index[groupOf(g)] = k
				prefixes = append(prefixes, estimate.Prefix{Private: g.Net == 0})
			}
			in[i], into = k, &prefixes[k]
		}
		into.Nodes++
		into.Validators += p.Estimate.Mean
	}
	byPrefix := m.Weights(prefixes, others)
	out := weights{of: make([]float64, len(nodes))}
	for i, k := range in {
		if out.of[i] = 1; k >= 0 {
			out.of[i] = byPrefix[k]
		}
	}
	for k, p := range prefixes {
		if byPrefix[k] < 1 {
			out.limited++
		}
		if p.Large(m.Params().ActiveValidators) {
			out.large++
			out.largest = math.Max(out.largest, p.Validators)
		}
	}
	return out
}

// atMost leaves so many peers in each group, those known for longest: whoever comes to a
// prefix later does not displace who was there before. It keeps the order.
func atMost[K comparable](n int, peers []*Peer, group func(*Peer) (key K, grouped bool)) []*Peer {
	members := map[K][]*Peer{}
	for _, p := range peers {
		if k, ok := group(p); ok {
			members[k] = append(members[k], p)
		}
	}
	over := map[*Peer]bool{}
	for _, list := range members {
		if len(list) <= n {
			continue
		}
		slices.SortFunc(list, knownLongest)
		for _, p := range list[n:] {
			over[p] = true
		}
	}
	if len(over) == 0 {
		return peers
	}
	return slices.DeleteFunc(slices.Clone(peers), func(p *Peer) bool { return over[p] })
}

// limited are the peers to learn from: as many of each prefix as count in totals.
func limited(peers []*Peer) []*Peer {
	var others estimate.Prefix
	members := map[prefix.Key]int{}
	for _, p := range peers {
		if k := groupOf(p.prefix()); k != 0 {
			members[k]++
		} else {
			others.Nodes++
		}
	}
	prefixes := make([]estimate.Prefix, 0, len(members))
	for _, n := range members {
		prefixes = append(prefixes, estimate.Prefix{Nodes: n})
	}
	return atMost(estimate.PrefixNodes(prefixes, others), peers, func(p *Peer) (prefix.Key, bool) {
		k := groupOf(p.prefix())
		return k, k != 0
	})
}

// calibrating are the peers that test a client version, those known for longest first: one per
// prefix, since a flood from one must not outvote the version's nodes. A fit that is full, or a
// client with too many versions, takes no more: so nobody can come first by choosing peer ids.
func calibrating(peers []*Peer) []*Peer {
	type vote struct {
		prefix        prefix.Key
		kind, release string
	}
	out := slices.Clone(atMost(1, peers, func(p *Peer) (vote, bool) {
		k := groupOf(p.prefix())
		return vote{k, string(p.Client.Kind), p.Client.Release()}, k != 0
	}))
	slices.SortFunc(out, knownLongest)
	return out
}

// knownLongest compares peers by how long they are known.
func knownLongest(a, b *Peer) int {
	return cmp.Or(cmp.Compare(a.FirstSeen, b.FirstSeen), strings.Compare(a.ID, b.ID))
}
