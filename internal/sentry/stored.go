package sentry

import (
	"math"
	"net/netip"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// storedPeer is a line of the store: all of a peer, or without the record what
// changes from visit to visit, or an address that was dialled. Times are Unix
// milliseconds, 0 for none.
type storedPeer struct {
	ID     string       `json:"id,omitempty"`
	Gone   bool         `json:"gone,omitempty"` // it has left the table
	NodeID *eth2.NodeID `json:"node_id,omitempty"`
	// ENR is empty for a peer without a record, and where it has not changed.
	ENR string `json:"enr,omitempty"`
	Seq uint64 `json:"seq,omitempty"`

	Due       int64 `json:"due,omitempty"`
	NotBefore int64 `json:"not_before,omitempty"`
	Fails     int   `json:"fails,omitempty"`
	Reachable bool  `json:"reachable,omitempty"`
	LastVisit int64 `json:"last_visit,omitempty"`
	LastSeen  int64 `json:"last_seen,omitempty"`
	Spoke     int64 `json:"spoke,omitempty"`
	// What its watch turns have brought.
	Watches       uint32  `json:"watches,omitempty"`
	WatchedEpochs float32 `json:"watched_epochs,omitempty"`
	WatchWeight   float32 `json:"watch_weight,omitempty"`
	// Began is set while a visit is under way.
	Began int64 `json:"began,omitempty"`

	// Address and Began are all of a line that only says when it was dialled.
	Address string `json:"address,omitempty"`
}

// stateOf is what changes from visit to visit.
func stateOf(p *peer) storedPeer {
	line := storedPeer{
		ID: p.id, Seq: p.seq,
		Due: ceilMilli(p.due), NotBefore: ceilMilli(p.notBefore), Fails: int(p.fails), Reachable: p.reachable,
		LastVisit: ceilMilli(p.lastVisit), LastSeen: ceilMilli(p.lastSeen), Spoke: ceilMilli(p.spoke),
		Watches: p.watched.turns, WatchedEpochs: p.watched.epochs, WatchWeight: p.watched.weight,
	}
	if p.visiting > 0 {
		line.Began = line.LastSeen
	}
	return line
}

// wholeOf is all of a peer.
func wholeOf(p *peer) storedPeer {
	line := stateOf(p)
	if p.text != "" {
		line.ENR, line.NodeID = p.text, &p.nodeID
	}
	return line
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
	// open are the peers of which a visit was under way.
	open map[string]struct{}
	// dialled are addresses and when they were dialled, of the last minutes.
	dialled map[netip.AddrPort]time.Time
}

func newLoaded() loaded {
	return loaded{
		peers: make(map[string]*peer), open: make(map[string]struct{}), dialled: make(map[netip.AddrPort]time.Time),
	}
}

// apply adds one line to what is loaded; false when it makes no sense.
func (l *loaded) apply(line storedPeer, maxPeers int, since time.Time) bool {
	began := fromMilli(line.Began)
	if line.Address != "" {
		a, err := netip.ParseAddrPort(line.Address)
		if err == nil && began.After(since) {
			l.dialled[a] = began
		}
		return err == nil
	}
	const maxPeerID = 128
	if line.ID == "" || len(line.ID) > maxPeerID || line.Fails < 0 {
		return false
	}
	if line.Gone {
		delete(l.peers, line.ID)
		delete(l.open, line.ID)
		return true
	}
	p := l.peers[line.ID]
	if p == nil {
		if len(l.peers) >= maxPeers { // the bound was higher before
			return true
		}
		p = &peer{id: line.ID, index: -1}
	}
	if line.ENR != "" {
		if line.NodeID == nil {
			return false
		}
		r, err := enr.Restore(line.ENR, p.id, *line.NodeID)
		if err != nil || r.Eth2 == nil {
			return false
		}
		p.keep(&r)
	}
	l.peers[line.ID] = p
	p.seq = line.Seq
	p.due, p.notBefore = fromMilli(line.Due), fromMilli(line.NotBefore)
	p.fails = int32(min(line.Fails, math.MaxInt32))
	p.reachable = line.Reachable
	p.lastVisit, p.lastSeen, p.spoke = fromMilli(line.LastVisit), fromMilli(line.LastSeen), fromMilli(line.Spoke)
	p.watched = watched{turns: line.Watches, epochs: line.WatchedEpochs, weight: line.WatchWeight}
	delete(l.open, p.id)
	if line.Began == 0 {
		return true
	}
	l.open[p.id] = struct{}{}
	if r := p.record(); r != nil && began.After(since) {
		for _, a := range addresses(targetOf(r, true)) {
			l.dialled[a] = began
		}
	}
	return true
}

// longestWait bounds a stored due time, should the clock have been wrong: longer
// than any wait of ours.
const longestWait = 24 * time.Hour

// adopt puts what the store held into an empty table: peers that admit lets in, due
// when they were, and not before the spacing has passed when a visit of theirs was
// under way.
func (t *table) adopt(s *Store, admit func(*peer) bool, now time.Time) {
	if s == nil {
		return
	}
	t.store, t.began = s, now
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
