package sentry

import (
	"net/netip"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/prefix"
)

// peer is what we know about one peer, kept small: there may be 100 000. Only the
// table's owner touches it; visits get copies of what they need.
type peer struct {
	id string
	// text is the newest record, empty for a peer that only ever dialled us. The
	// finder keeps the same string. It is decoded when it is needed, see record.
	text   string
	nodeID eth2.NodeID     // the record's
	seq    uint64          // the record's
	digest eth2.ForkDigest // the record's
	// dialable means that the record is of our network and fork, and has an address.
	dialable  bool
	watching  bool // an ongoing visit is a watch
	moved     bool // the address changed during the visit
	reachable bool
	// announced is set once the record was published since the start: each start
	// publishes its records again, since a crash may have lost an event.
	announced bool

	queue         *dueQueue  // the queue it is in, nil for none
	heldBy        prefix.Key // the group that it waits for, if that is why
	index         int32      // in the queue, -1 when not queued
	visiting      int32      // ongoing visits: an inbound one can meet a dial
	inboundVisits int32      // of those, inbound ones
	fails         int32      // failed visits in a row
	watched       watched
	tookMS        int32         // the last visit, from the dial to the end of the census
	dial          *booking      // the ongoing dial
	at            prefix.Groups // of its address in the last handshake

	due           time.Time
	notBefore     time.Time // a goodbye's or a wrong digest's wait
	lastVisit     time.Time // end of the last one
	lastHandshake time.Time // start of the last one with a handshake
	lastSeen      time.Time // newest record or visit
	moves         int64     // Unix milliseconds: when its backoff may be ended twice again
}

// moveInterval is how often a new address ends the backoff, after the first two; for slots
// of 12 s.
const moveInterval = time.Hour

// mayMove reports whether a new address may end the backoff now, and counts it.
func (p *peer) mayMove(now time.Time, interval time.Duration) bool {
	moves := max(now.UnixMilli(), p.moves) + interval.Milliseconds()
	if moves-now.UnixMilli() > 2*interval.Milliseconds() {
		return false
	}
	p.moves = moves
	return true
}

func (p *peer) took() time.Duration { return time.Duration(p.tookMS) * time.Millisecond }

// setRecord sets the newest record, which must have an eth2 entry.
func (p *peer) setRecord(r *enr.Record) {
	p.text, p.nodeID, p.seq, p.digest = r.Raw, r.NodeID, r.Seq, r.Eth2.ForkDigest
}

// record is the newest record, nil when there is none.
func (p *peer) record() *enr.Record {
	if p.text == "" {
		return nil
	}
	r, err := enr.Restore(p.text, p.id, p.nodeID)
	if err != nil { // not of a record that was decoded before
		return nil
	}
	return &r
}

// Ranks of peers for eviction: the lowest goes first, the long unseen before the
// rest of its rank, and never for a newcomer below it.
const (
	rankForeign = iota
	rankDialable
	rankReachable
)

func (p *peer) rank() int {
	switch {
	case p.reachable:
		return rankReachable
	case p.dialable:
		return rankDialable
	default:
		return rankForeign
	}
}

// targetOf returns where the node listens according to its record. Port 0 means none.
func targetOf(r *enr.Record, allowPrivate bool) p2p.Target {
	target := p2p.Target{PeerID: r.PeerID}
	add := func(list *[]netip.AddrPort, ip netip.Addr, port uint16) {
		if port != 0 && enr.MayContact(ip, allowPrivate) {
			*list = append(*list, netip.AddrPortFrom(ip, port))
		}
	}
	tcp6 := r.TCP6
	if tcp6 == 0 {
		tcp6 = r.TCP // EIP-778: the port of both families when tcp6 is missing
	}
	add(&target.QUIC, r.IP4, r.QUIC)
	add(&target.QUIC, r.IP6, r.QUIC6)
	add(&target.TCP, r.IP4, r.TCP)
	add(&target.TCP, r.IP6, tcp6)
	return target
}

func hasAddress(t p2p.Target) bool { return len(t.QUIC)+len(t.TCP) > 0 }

func addresses(t p2p.Target) []netip.AddrPort { return slices.Concat(t.QUIC, t.TCP) }

func sameAddresses(a, b p2p.Target) bool {
	return slices.Equal(a.QUIC, b.QUIC) && slices.Equal(a.TCP, b.TCP)
}
