package sentry

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// storedPeer is a line of the store: all of a peer, or without the record what
// changes from visit to visit, or an address that was dialled. Times are Unix
// milliseconds, 0 for none.
type storedPeer struct {
	ID     string       `json:"id,omitempty"`
	Gone   bool         `json:"gone,omitempty"` // it has left the table
	NodeID *eth2.NodeID `json:"node_id,omitempty"`
	ENR    string       `json:"enr,omitempty"`
	// NoENR drops the record: the peer has moved to a digest that is not ours.
	NoENR bool   `json:"no_enr,omitempty"`
	Seq   uint64 `json:"seq,omitempty"`

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
		Due: ceilMilli(p.due), NotBefore: ceilMilli(p.notBefore), Fails: p.fails, Reachable: p.reachable,
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
	if p.record == nil {
		line.NoENR = true
		return line
	}
	line.ENR, line.NodeID = p.record.Raw, &p.record.NodeID
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

// maxStoreLine bounds a line of the store; a record has at most 404 characters.
const maxStoreLine = 4 << 10

// OpenStore reads the peer table in the data directory, or begins one. At most
// maxPeers are taken; 0 means DefaultMaxPeers. Half a line at the end, as a crash
// leaves it, is dropped. A file with damage elsewhere is kept beside as
// peers.ndjson.damaged, and everything legible in it is taken; one of another
// network is kept as peers.ndjson.other. Errors are of a disk that cannot be read
// or written.
func OpenStore(dir string, net network.Network, maxPeers int, log *slog.Logger) (*Store, error) {
	if maxPeers <= 0 {
		maxPeers = DefaultMaxPeers
	}
	s := &Store{path: filepath.Join(dir, peersFile), header: headerOf(net), log: log}
	s.loaded = newLoaded()
	content, err := s.load(maxPeers)
	if err != nil {
		return nil, fmt.Errorf("read peer table: %w", err)
	}
	if err := s.reopen(content); err != nil {
		return nil, fmt.Errorf("write peer table: %w", err)
	}
	return s, nil
}

// fileState is what load found.
type fileState struct {
	good    int64 // bytes up to the end of the last whole line
	lines   int
	bad     int // lines that are none of ours
	firstAt int // number of the first of those
	foreign bool
}

func (s *Store) load(maxPeers int) (fileState, error) {
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fileState{}, nil
	}
	if err != nil {
		return fileState{}, err
	}
	defer f.Close()
	var state fileState
	since := time.Now().Add(-time.Hour) // far more than the spacing
	lines := bufio.NewReaderSize(f, maxStoreLine)
	for {
		line, size, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return state, nil // what is left, if anything, is half a line
		}
		if err != nil {
			return state, err
		}
		state.good += size
		state.lines++
		ok, foreign := s.take(line, state.lines, maxPeers, since)
		if foreign {
			state.foreign = true
			return state, nil
		}
		if !ok {
			if state.bad++; state.bad == 1 {
				state.firstAt = state.lines
			}
		}
	}
}

// readLine gives the next line, nil for one that does not fit the reader's buffer,
// and its size in bytes. It is io.EOF when no whole line is left.
func readLine(r *bufio.Reader) (line []byte, size int64, err error) {
	line, err = r.ReadSlice('\n')
	size = int64(len(line))
	for errors.Is(err, bufio.ErrBufferFull) {
		var more []byte
		more, err = r.ReadSlice('\n')
		line, size = nil, size+int64(len(more))
	}
	return line, size, err
}

// take reads one line: not ok when it is damaged, foreign when it is the head of
// another network's table.
func (s *Store) take(line []byte, number, maxPeers int, since time.Time) (ok, foreign bool) {
	if number == 1 {
		var head storeHeader
		if err := json.Unmarshal(line, &head); err != nil || head.Format != storeFormat {
			return false, false
		}
		return true, head != s.header
	}
	var p storedPeer
	if err := json.Unmarshal(line, &p); err != nil {
		return false, false
	}
	return s.loaded.apply(p, maxPeers, since), false
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
		p.record = &r
	} else if line.NoENR {
		p.record = nil
	}
	l.peers[line.ID] = p
	p.seq = line.Seq
	p.due, p.notBefore = fromMilli(line.Due), fromMilli(line.NotBefore)
	p.fails = min(line.Fails, math.MaxInt32)
	p.reachable = line.Reachable
	p.lastVisit, p.lastSeen, p.spoke = fromMilli(line.LastVisit), fromMilli(line.LastSeen), fromMilli(line.Spoke)
	p.watched = watched{turns: line.Watches, epochs: line.WatchedEpochs, weight: line.WatchWeight}
	delete(l.open, p.id)
	if line.Began == 0 {
		return true
	}
	l.open[p.id] = struct{}{}
	if p.record != nil && began.After(since) {
		for _, a := range addresses(targetOf(p.record, true)) {
			l.dialled[a] = began
		}
	}
	return true
}

// reopen makes the file ready for more lines: as it is, without half a line at its
// end, or begun anew with the old one set aside.
func (s *Store) reopen(state fileState) error {
	switch {
	case state.foreign:
		s.log.Warn("the peer table is of another network: beginning a new one",
			slog.String("file", s.path), slog.String("kept_as", s.path+".other"))
		return s.restart(".other")
	case state.bad > 0:
		s.log.Warn("the peer table is damaged: going on with what can be read",
			slog.String("file", s.path), slog.Int("bad_lines", state.bad), slog.Int("first_bad_line", state.firstAt),
			slog.Int("peers", len(s.loaded.peers)), slog.String("kept_as", s.path+".damaged"))
		return s.restart(".damaged")
	case state.lines == 0:
		return s.restart("")
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if err := f.Truncate(state.good); err != nil {
		f.Close()
		return err
	}
	s.file, s.size = f, state.good
	// Unknown; an estimate makes the first compaction come in time.
	s.live = int64(len(s.loaded.peers)) * storedSize
	return nil
}

// storedSize is about what a peer takes in the file, in bytes.
const storedSize = 640

// restart sets the old file aside and writes a new one with what is loaded.
func (s *Store) restart(suffix string) error {
	if suffix != "" {
		if err := os.Rename(s.path, s.path+suffix); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	lines := json.NewEncoder(w)
	errs := []error{lines.Encode(s.header)}
	for a, at := range s.loaded.dialled {
		errs = append(errs, lines.Encode(storedPeer{Address: a.String(), Began: at.UnixMilli()}))
	}
	for id, p := range s.loaded.peers {
		line := wholeOf(p)
		if _, open := s.loaded.open[id]; open {
			line.Began = max(line.LastSeen, 1)
		}
		errs = append(errs, lines.Encode(line))
	}
	if err := errors.Join(append(errs, w.Flush(), f.Sync())...); err != nil {
		f.Close()
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	s.file, s.size, s.live = f, info.Size(), info.Size()
	return nil
}

// Peers is the number of peers that were read.
func (s *Store) Peers() int { return len(s.loaded.peers) }

// Known lists at most limit ENRs to begin discovery with: of reachable peers first,
// then of those seen last. It is for the time before Run.
func (s *Store) Known(limit int) []string {
	var known []*peer
	for _, p := range s.loaded.peers {
		if p.record != nil {
			known = append(known, p)
		}
	}
	slices.SortFunc(known, func(a, b *peer) int {
		if a.reachable != b.reachable {
			if a.reachable {
				return -1
			}
			return 1
		}
		return b.lastSeen.Compare(a.lastSeen)
	})
	texts := make([]string, 0, min(limit, len(known)))
	for _, p := range known[:cap(texts)] {
		texts = append(texts, p.record.Raw)
	}
	return texts
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
	t.store = s
	held := s.loaded
	s.loaded = loaded{}
	for a, at := range held.dialled {
		if at.Before(now) && now.Sub(at) < t.scaled(spacing) {
			t.dialled[a] = at
		}
	}
	for id, p := range held.peers {
		if !admit(p) || len(t.byID) >= t.max {
			s.forget(p)
			continue
		}
		t.byID[id] = p
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
		if p.record != nil && t.dialable(p, p.record, now) {
			p.target = targetOf(p.record, t.allowPrivate)
		}
		t.schedule(p, due)
	}
}
