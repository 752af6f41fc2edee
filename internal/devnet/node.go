package devnet

import (
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/chainbound/valtrack/internal/eth2"
)

// node is one beacon node, up or down, while the devnet runs.
type node struct {
	plan
	log       *slog.Logger
	clock     eth2.Clock
	slowDelay time.Duration
	roundTrip time.Duration
	filter    *packetFilter // nil without quotas
	// record is the schedule its node record follows, wire the one of Status and
	// topics: both the network's, but for some personas.
	record, wire eth2.Schedule

	subs     subscriptions
	meta     atomic.Pointer[eth2.MetaData]
	local    *enode.LocalNode
	life     atomic.Pointer[life] // nil while the node is down
	contacts contacts
	met      metNodes // in discv5

	redials    atomic.Uint64 // how often it has dialled again
	redialling atomic.Bool

	// Of the scheduler's goroutine.
	last    ports // of the latest life
	retired bool  // another key has taken its place
}

func newNode(p plan, clock eth2.Clock, record, wire eth2.Schedule, cfg Config, log *slog.Logger) *node {
	n := &node{
		plan: p, clock: clock, record: record, wire: wire, slowDelay: cfg.SlowDelay, roundTrip: cfg.RoundTrip,
		log: log.With(slog.Int("node", p.index), slog.String("client", string(p.profile.kind)))}
	n.subs.columns, n.subs.syncnets = p.columns, p.syncnets
	if p.persona == Quota || p.index < bootnodes && cfg.Faults[Quota] > 0 {
		n.filter = newPacketFilter()
	}
	return n
}

// hasHost says whether the node has a libp2p host.
func (n *node) hasHost() bool {
	return !n.persona.dead() && n.persona != Gone && n.persona != NoEth2
}

// metaData is what the node serves now.
func (n *node) metaData() eth2.MetaData { return *n.meta.Load() }

// setLongLived puts new long-lived subnets into MetaData and raises its
// seq_number; false when nothing changed. The first call gives seq_number 1.
func (n *node) setLongLived(attnets eth2.Attnets) bool {
	old := n.meta.Load()
	m := eth2.MetaData{SeqNumber: 1, Attnets: attnets, Syncnets: &n.syncnets, CustodyGroupCount: &n.cgc}
	if old != nil {
		if old.Attnets == attnets {
			return false
		}
		m.SeqNumber = old.SeqNumber + 1
	}
	n.meta.Store(&m)
	return true
}

// status is the node's Status at a time: a chain that finalizes two epochs back.
func (n *node) status(now time.Time) eth2.Status {
	slot := n.clock.SlotAt(now)
	epoch := n.clock.EpochOf(slot)
	s := eth2.Status{
		ForkDigest:            n.wire.At(epoch).Digest,
		HeadSlot:              slot,
		HeadRoot:              root("head", uint64(slot)),
		EarliestAvailableSlot: new(eth2.Slot),
	}
	if epoch > finalityDistance {
		s.FinalizedEpoch = epoch - finalityDistance
		s.FinalizedRoot = root("finalized", uint64(s.FinalizedEpoch))
	}
	return s
}

const finalityDistance = 2 // epochs

func root(what string, n uint64) eth2.Root {
	return sha256.Sum256(binary.LittleEndian.AppendUint64([]byte(what), n))
}

// digestsAt are the fork digests of the topics at epoch e: the current one, and
// around a fork its neighbour's.
func (n *node) digestsAt(e eth2.Epoch) []eth2.ForkDigest {
	lead := n.profile.forkLead
	digests := []eth2.ForkDigest{n.wire.At(e).Digest}
	for _, near := range []eth2.Epoch{e - min(lead, e), e + lead} {
		if d := n.wire.At(near).Digest; !slices.Contains(digests, d) {
			digests = append(digests, d)
		}
	}
	return digests
}
