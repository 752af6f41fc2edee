package discv5

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/p2p/netutil"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/chainbound/valtrack/internal/discv5/wire"
	"github.com/chainbound/valtrack/internal/prefix"
)

const (
	// maxPerNetwork and maxInBucket bound the nodes of one network (IPv4 /24, IPv6 /48), in
	// the whole table and in a bucket: nobody fills our answers with nodes of their own, or
	// decides by their number which address we state in our record.
	maxPerNetwork = 10
	maxInBucket   = 2
	// nodesOverhead is more than what a NODES packet has besides its records, in bytes:
	// header (71), authentication (16), type, request id, total and lists.
	nodesOverhead = 71 + 16 + 20
)

// routing is the routing table by which we answer FINDNODE: nodes that have answered
// us. Those that are in it stay as long as they answer.
type routing struct {
	self enode.ID

	mu       sync.Mutex
	buckets  [257][]*enode.Node // by logarithmic distance
	networks prefix.Counter     // of all nodes
}

func newRouting(self enode.ID) *routing { return &routing{self: self} }

// networkOf is the node's /24 or /48; none for addresses of an operator's own networks.
func networkOf(n *enode.Node) prefix.Groups {
	return prefix.Groups{Net: prefix.Of(n.IPAddr()).Net}
}

// add puts in a node that has answered, if there is room. A newer record of a node replaces
// its older one, and needs room too: its address may be another.
func (r *routing) add(n *enode.Node) {
	if n.ID() == r.self {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(n.ID())
	b := &r.buckets[enode.LogDist(r.self, n.ID())]
	network := networkOf(n)
	var inBucket prefix.Counter
	for _, known := range *b {
		inBucket.Add(networkOf(known))
	}
	if len(*b) >= bucketSize || inBucket.Full(network, prefix.Budget{Net: maxInBucket}) != 0 ||
		r.networks.Full(network, prefix.Budget{Net: maxPerNetwork}) != 0 {
		return
	}
	*b = append(*b, n)
	r.networks.Add(network)
}

// drop removes a node. mu is held.
func (r *routing) drop(id enode.ID) {
	b := &r.buckets[enode.LogDist(r.self, id)]
	*b = slices.DeleteFunc(*b, func(n *enode.Node) bool {
		if n.ID() != id {
			return false
		}
		r.networks.Remove(networkOf(n))
		return true
	})
}

// remove takes out a node that does not answer.
func (r *routing) remove(id enode.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(id)
}

// get returns nil for a node that is not in the table.
func (r *routing) get(id enode.ID) *enode.Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.buckets[enode.LogDist(r.self, id)] {
		if n.ID() == id {
			return n
		}
	}
	return nil
}

func (r *routing) all() (list []*enode.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.buckets {
		list = append(list, b...)
	}
	return list
}

// random returns nil when the table is empty.
func (r *routing) random() *enode.Node {
	list := r.all()
	if len(list) == 0 {
		return nil
	}
	return list[rand.IntN(len(list))]
}

// at lists the nodes at a distance.
func (r *routing) at(distance uint) []*enode.Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	if distance >= uint(len(r.buckets)) {
		return nil
	}
	return slices.Clone(r.buckets[distance])
}

// closest sorts nodes by their distance to a target, and leaves out all but bucketSize.
func closest(target enode.ID, list []*enode.Node) []*enode.Node {
	slices.SortFunc(list, func(a, b *enode.Node) int { return enode.DistCmp(target, a.ID(), b.ID()) })
	return list[:min(bucketSize, len(list))]
}

// answer gives the packets of the answer to a FINDNODE: up to bucketSize records that
// the address may be told of.
func (t *transport) answer(m *wire.Findnode, to netip.Addr) []*wire.Nodes {
	var records []*gethenr.Record
	seen := map[uint]bool{}
	for _, distance := range m.Distances {
		if seen[distance] {
			continue
		}
		seen[distance] = true
		if distance == 0 {
			records = append(records, t.local.Node().Record())
			continue
		}
		for _, n := range t.routing.at(distance) {
			if netutil.CheckRelayAddr(to, n.IPAddr()) == nil {
				records = append(records, n.Record())
			}
		}
	}
	return packets(m.ReqID, records[:min(bucketSize, len(records))])
}

// packets distributes records over NODES packets.
func packets(reqID []byte, records []*gethenr.Record) []*wire.Nodes {
	list := []*wire.Nodes{{ReqID: reqID}}
	size := nodesOverhead
	for _, r := range records {
		raw, err := rlp.EncodeToBytes(r)
		if err != nil {
			continue // not signed, which none is
		}
		if size += len(raw); size > wire.MaxPacket {
			list = append(list, &wire.Nodes{ReqID: reqID})
			size = nodesOverhead + len(raw)
		}
		last := list[len(list)-1]
		last.Raw = append(last.Raw, raw)
	}
	for _, m := range list {
		m.Total = uint64(len(list))
	}
	return list
}
