package devnet

import (
	"net/netip"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// The packet filter of the quota persona, with the limits and the ban that Lighthouse
// sets: packets per second, which are also the largest bursts.
const (
	quotaOfNode    = 8
	quotaOfAddress = 9
	quotaOfAll     = 10 // packets beyond it are dropped, without a ban
	quotaBan       = time.Hour
	// quotaBannedNodes is how many node ids of an address may be banned; one more bans
	// the address.
	quotaBannedNodes = 5
)

// Bans are what packet filters have banned so far.
type Bans struct{ Nodes, Addresses int }

// Bans counts the bans of all nodes since the start.
func (d *Devnet) Bans() (total Bans) {
	for _, n := range d.roster.all() {
		bans := n.filter.bans()
		total.Nodes += bans.Nodes
		total.Addresses += bans.Addresses
	}
	return total
}

// bucket is a token bucket that holds as many tokens as it gains in a second.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) take(perSecond float64, now time.Time) bool {
	if b.at.IsZero() {
		b.tokens = perSecond
	} else {
		b.tokens = min(perSecond, b.tokens+now.Sub(b.at).Seconds()*perSecond)
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// packetFilter is the state of a node's quotas. It survives the node's lives, as long
// bans do.
type packetFilter struct {
	mu        sync.Mutex
	all       bucket
	nodes     map[enode.ID]*bucket
	addresses map[netip.Addr]*bucket
	// until is when a ban ends.
	bannedNodes     map[enode.ID]time.Time
	bannedAddresses map[netip.Addr]time.Time
	nodesBannedAt   map[netip.Addr]int
	total           Bans
}

func newPacketFilter() *packetFilter {
	return &packetFilter{
		nodes: make(map[enode.ID]*bucket), addresses: make(map[netip.Addr]*bucket),
		bannedNodes: make(map[enode.ID]time.Time), bannedAddresses: make(map[netip.Addr]time.Time),
		nodesBannedAt: make(map[netip.Addr]int),
	}
}

func (f *packetFilter) bans() Bans {
	if f == nil {
		return Bans{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// passes counts a packet and reports whether it is read. WHOAREYOU packets do not say
// from which node they are.
func (f *packetFilter) passes(from netip.Addr, id enode.ID, named bool, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Before(f.bannedAddresses[from]) || named && now.Before(f.bannedNodes[id]) {
		return false
	}
	if !bucketOf(f.addresses, from).take(quotaOfAddress, now) {
		f.banAddress(from, now)
		return false
	}
	if !f.all.take(quotaOfAll, now) {
		return false
	}
	if named && !bucketOf(f.nodes, id).take(quotaOfNode, now) {
		f.total.Nodes++
		f.bannedNodes[id] = now.Add(quotaBan)
		if f.nodesBannedAt[from]++; f.nodesBannedAt[from] > quotaBannedNodes {
			f.banAddress(from, now)
		}
		return false
	}
	return true
}

func (f *packetFilter) banAddress(from netip.Addr, now time.Time) {
	f.total.Addresses++
	f.bannedAddresses[from] = now.Add(quotaBan)
}

func bucketOf[K comparable](m map[K]*bucket, key K) *bucket {
	b := m[key]
	if b == nil {
		b = new(bucket)
		m[key] = b
	}
	return b
}
