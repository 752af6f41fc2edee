package sentry

import (
	"math"
	"net/netip"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// storedPeer is a row of the store, or a line of the journal that earlier versions
// kept: a peer, one that has left the table, or an address that was dialled. Times are
// Unix milliseconds, 0 for none.
type storedPeer struct {
	ID     string      `json:"id"`
	Gone   bool        `json:"gone"` // it has left the table
	NodeID eth2.NodeID `json:"node_id"`
	// ENR is empty for a peer without a record, and in the journal where it has not
	// changed since the line before.
	ENR string `json:"enr"`
	Seq uint64 `json:"seq"`

	Due           int64 `json:"due"`
	NotBefore     int64 `json:"not_before"`
	Fails         int   `json:"fails"`
	Reachable     bool  `json:"reachable"`
	LastVisit     int64 `json:"last_visit"`
	LastSeen      int64 `json:"last_seen"`
	LastHandshake int64 `json:"spoke"`
	// The results of its watches.
	Watches       uint32  `json:"watches"`
	WatchedEpochs float32 `json:"watched_epochs"`
	WatchWeight   float32 `json:"watch_weight"`
	// Began is set while a visit is ongoing.
	Began int64 `json:"began"`

	// Address and Began are all that is set where only an address was dialled.
	Address string `json:"address"`
}

// rowOf is all of a peer.
func rowOf(p *peer) storedPeer {
	row := storedPeer{
		ID: p.id, NodeID: p.nodeID, ENR: p.text, Seq: p.seq,
		Due: ceilMilli(p.due), NotBefore: ceilMilli(p.notBefore), Fails: int(p.fails), Reachable: p.reachable,
		LastVisit: ceilMilli(p.lastVisit), LastSeen: ceilMilli(p.lastSeen), LastHandshake: ceilMilli(p.lastHandshake),
		Watches: p.watched.watches, WatchedEpochs: p.watched.epochs, WatchWeight: p.watched.weight,
	}
	if p.visiting > 0 {
		row.Began = row.LastSeen
	}
	return row
}

// values are the columns in the order of peerColumns.
func (p *storedPeer) values() []any {
	nodeID := []byte{}
	if p.ENR != "" {
		nodeID = p.NodeID[:]
	}
	return []any{
		p.ID, nodeID, p.ENR, int64(p.Seq), p.Due, p.NotBefore, p.Fails, p.Reachable,
		p.LastVisit, p.LastSeen, p.LastHandshake, p.Watches, float64(p.WatchedEpochs), float64(p.WatchWeight), p.Began,
	}
}

// scanPeer is the inverse of values; not ok when a column has a value of another kind.
func scanPeer(scan func(...any) error) (p storedPeer, ok bool) {
	var nodeID []byte
	var seq int64
	err := scan(&p.ID, &nodeID, &p.ENR, &seq, &p.Due, &p.NotBefore, &p.Fails, &p.Reachable,
		&p.LastVisit, &p.LastSeen, &p.LastHandshake, &p.Watches, &p.WatchedEpochs, &p.WatchWeight, &p.Began)
	copy(p.NodeID[:], nodeID)
	p.Seq = uint64(seq)
	return p, err == nil
}

// ceilMilli rounds up: a due time must not come back earlier than it was.
func ceilMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Add(time.Millisecond - 1).UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// loaded is what a store held.
type loaded struct {
	peers map[string]*peer
	// open are the peers with an ongoing visit.
	open map[string]struct{}
	// dialled are addresses and when they were dialled, of the last minutes.
	dialled map[netip.AddrPort]time.Time
}

func newLoaded() loaded {
	return loaded{
		peers: make(map[string]*peer), open: make(map[string]struct{}), dialled: make(map[netip.AddrPort]time.Time),
	}
}

// apply adds one row or line to what is loaded; false when it is invalid. Of more
// than maxPeers peers the first are kept, and of visits and dials those that began
// after since.
func (l *loaded) apply(row storedPeer, maxPeers int, since time.Time) bool {
	began := fromMilli(row.Began)
	if row.Address != "" {
		a, err := netip.ParseAddrPort(row.Address)
		if err == nil && began.After(since) {
			l.dialled[a] = began
		}
		return err == nil
	}
	const maxPeerID = 128
	if row.ID == "" || len(row.ID) > maxPeerID || row.Fails < 0 {
		return false
	}
	if row.Gone {
		delete(l.peers, row.ID)
		delete(l.open, row.ID)
		return true
	}
	p := l.peers[row.ID]
	if p == nil {
		if len(l.peers) >= maxPeers {
			return true
		}
		p = &peer{id: row.ID, index: -1}
	}
	if row.ENR != "" {
		r, err := enr.Restore(row.ENR, p.id, row.NodeID)
		if err != nil || r.Eth2 == nil || row.NodeID == (eth2.NodeID{}) {
			return false
		}
		p.setRecord(&r)
	}
	l.peers[row.ID] = p
	p.seq = row.Seq
	p.due, p.notBefore = fromMilli(row.Due), fromMilli(row.NotBefore)
	p.fails = int32(min(row.Fails, math.MaxInt32))
	p.reachable = row.Reachable
	p.lastVisit, p.lastSeen, p.lastHandshake = fromMilli(row.LastVisit), fromMilli(row.LastSeen), fromMilli(row.LastHandshake)
	p.watched = watched{watches: row.Watches, epochs: row.WatchedEpochs, weight: row.WatchWeight}
	delete(l.open, p.id)
	if row.Began != 0 {
		l.open[p.id] = struct{}{}
		l.dialledAt(p, began, since)
	}
	return true
}

// dialledAt notes that a peer's addresses were dialled when its visit began.
func (l *loaded) dialledAt(p *peer, began, since time.Time) {
	if r := p.record(); r != nil && began.After(since) {
		for _, a := range addresses(targetOf(r, true)) {
			l.dialled[a] = began
		}
	}
}

// longestWait bounds a stored due time, in case the clock was wrong: longer
// than any wait of ours.
const longestWait = 24 * time.Hour

// adopt puts the stored state into an empty table: the peers that admit accepts, due
// when they were, and not before the spacing has passed when a visit of theirs was
// under way.
func (t *table) adopt(s *Store, admit func(*peer) bool, now time.Time) {
	if s == nil {
		return
	}
	t.store, t.adoptedAt = s, now
	held := s.loaded
	s.loaded = loaded{}
	for a, at := range held.dialled {
		if at.Before(now) && now.Sub(at) < t.scaled(spacing) {
			t.dialled[a] = at
		}
	}
	t.byID = held.peers
	for id, p := range t.byID {
		if !admit(p) || len(t.byID) > t.max {
			delete(t.byID, id)
			s.forget(p)
			continue
		}
		if p.reachable {
			t.reachable++
		}
		due := latest(p.due, p.notBefore)
		if _, open := held.open[id]; open {
			due = latest(due, now.Add(jitter(t.scaled(spacing))))
		}
		if limit := now.Add(longestWait); due.After(limit) {
			due = limit
		}
		if p.notBefore.After(due) {
			p.notBefore = due
		}
		p.dialable = p.text != "" && t.onNetwork(p, now) && hasAddress(t.target(p))
		t.schedule(p, due)
	}
}
