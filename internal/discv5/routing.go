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
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

const (
	// maxPerNetwork bounds the nodes of one network (IPv4 /24, IPv6 /64) in a bucket, so
	// that nobody fills our answers with nodes of their own.
	maxPerNetwork = 2
	// nodesOverhead is more than what a NODES packet has besides its records, in bytes:
	// header (71), authentication (16), type, request id, total and lists.
	nodesOverhead = 71 + 16 + 20
)

// routing is the routing table by which we answer FINDNODE: nodes that have answered
// us. Those that are in it stay as long as they answer.
type routing struct {
	self enode.ID

	mu      sync.Mutex
	buckets [257][]*enode.Node // by logarithmic distance
}

func newRouting(self enode.ID) *routing { return &routing{self: self} }

// add puts in a node that has answered, if there is room, or replaces its record.
func (r *routing) add(n *enode.Node) {
	if n.ID() == r.self {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := &r.buckets[enode.LogDist(r.self, n.ID())]
	neighbours := 0
	for i, known := range *b {
		if known.ID() == n.ID() {
			(*b)[i] = n
			return
		}
		if sameNetwork(known.IPAddr(), n.IPAddr()) {
			neighbours++
		}
	}
	if len(*b) < bucketSize && neighbours < maxPerNetwork {
		*b = append(*b, n)
	}
}

// sameNetwork is false for addresses that are not globally reachable: those of a
// devnet are all of one network.
func sameNetwork(a, b netip.Addr) bool {
	if !enr.GloballyReachable(a) || !enr.GloballyReachable(b) {
		return false
	}
	bits := 64
	if a.Is4() {
		bits = 24
	}
	network, err := a.Prefix(bits)
	return err == nil && network.Contains(b)
}

// remove takes out a node that does not answer.
func (r *routing) remove(id enode.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := &r.buckets[enode.LogDist(r.self, id)]
	*b = slices.DeleteFunc(*b, func(n *enode.Node) bool { return n.ID() == id })
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
