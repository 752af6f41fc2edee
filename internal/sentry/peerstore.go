package sentry

import (
	"context"
	"database/sql"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

const (
	// storeTick is how soon a new record is written, at the latest.
	storeTick = 200 * time.Millisecond
	// saveWait bounds how long a visit waits until its start is written: a disk
	// that hangs must not stop the crawl.
	saveWait = 2 * time.Second
	// storeRetry is the pause after a failed write, storeLogEvery that between two log
	// lines about it.
	storeRetry    = 5 * time.Second
	storeLogEvery = time.Minute
)

// Store keeps the peer table in peers.db, so that a restart, even after kill -9, continues
// with every peer, and dials none before it is due. OpenStore reads it, the sentry's
// Run writes it. A nil Store keeps nothing.
//
// A visit starts once its start is committed (or saveWait has passed). The end of
// a visit is committed as soon as the writer is free, before any visit that starts
// later; new records follow within storeTick. Committed means in the page cache
// (WAL, synchronous=NORMAL): it survives the death of the process. A power cut loses
// what was committed since the last checkpoint, a minute or two, and leaves the
// database intact.
//
// The schedule's goroutine collects the changes, and the goroutine of run writes
// everything that has accumulated meanwhile as one transaction, so that a slow disk makes
// transactions larger and never holds up the schedule.
type Store struct {
	path     string
	network  networkID
	maxPeers int
	log      *slog.Logger
	loaded   loaded // until the table takes it over

	db         *sql.DB // one connection; nil after Close
	statements statements
	wake       chan struct{}

	mu      sync.Mutex
	pending changes

	// Of the goroutine that writes.
	failedAt, loggedAt time.Time // of failed writes; zero when the last one went well
}

// changes are what has not been written yet.
type changes struct {
	peers   map[string]storedPeer
	dialled map[netip.AddrPort]int64 // when, in Unix milliseconds
	// expired is the time (Unix milliseconds) before which dialled addresses are no
	// longer needed, 0 for none.
	expired int64
	// saved is closed when these changes are written, or cannot be.
	saved chan struct{}
}

func newChanges() changes {
	return changes{
		peers: make(map[string]storedPeer), dialled: make(map[netip.AddrPort]int64), saved: make(chan struct{}),
	}
}

func (c *changes) empty() bool { return len(c.peers)+len(c.dialled) == 0 && c.expired == 0 }

// add puts a peer's newest state among the changes. Rows of the table's peers are at
// most maxPeers; deletions beyond the same number again are left out, as when the disk is full
// for days. The next start drops the excess.
func (c *changes) add(row storedPeer, maxPeers int) {
	if _, known := c.peers[row.ID]; row.Gone && !known && len(c.peers) >= 2*maxPeers {
		return
	}
	c.peers[row.ID] = row
}

// begin notes that a visit starts. The visit must wait for save: if the process
// dies, the peer is not dialled before the spacing has passed again.
func (s *Store) begin(p *peer, now time.Time) {
	if s == nil {
		return
	}
	row := rowOf(p)
	row.Began = now.UnixMilli()
	s.put(row)
}

// end notes what a visit means for the schedule.
func (s *Store) end(p *peer) {
	if s != nil {
		s.put(rowOf(p))
		s.notify()
	}
}

// record notes a peer's new record. The next tick writes it.
func (s *Store) record(p *peer) {
	if s != nil {
		s.put(rowOf(p))
	}
}

// forget notes that a peer has left the table. The next tick writes it.
func (s *Store) forget(p *peer) {
	if s != nil {
		s.put(storedPeer{ID: p.id, Gone: true})
	}
}

func (s *Store) put(row storedPeer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending.add(row, s.maxPeers)
}

// dial notes when addresses were dialled, for the visit that begin has noted.
func (s *Store) dial(addresses []netip.AddrPort, now time.Time) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range addresses {
		s.pending.dialled[a] = now.UnixMilli()
	}
}

// expire removes the addresses that were dialled before limit.
func (s *Store) expire(limit time.Time) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending.expired = limit.UnixMilli()
	for a, at := range s.pending.dialled {
		if at < s.pending.expired {
			delete(s.pending.dialled, a)
		}
	}
}

// save has everything noted so far written now. The channel is closed once it is, or
// cannot be; nil without a store.
func (s *Store) save() <-chan struct{} {
	if s == nil {
		return nil
	}
	defer s.notify()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending.saved
}

// notify has what is pending written now.
func (s *Store) notify() {
	if s == nil {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default: // it is about to be
	}
}

// run writes changes until ctx ends, then writes the last ones and closes the store.
func (s *Store) run(ctx context.Context) {
	if s == nil {
		return
	}
	for ctx.Err() == nil {
		select {
		case <-s.wake:
			s.write(ctx, time.Now())
		case <-ctx.Done():
		}
	}
	s.finish(context.WithoutCancel(ctx), time.Now())
}

// finish writes what is pending, also after failures, and closes the store.
func (s *Store) finish(ctx context.Context, now time.Time) {
	s.failedAt = time.Time{}
	s.write(ctx, now)
	s.Close()
}

// write commits what is pending. When that fails it stays pending, the failure is
// logged, and nothing more is tried for storeRetry.
func (s *Store) write(ctx context.Context, now time.Time) {
	s.mu.Lock()
	batch := s.pending
	s.pending = newChanges()
	s.mu.Unlock()
	defer close(batch.saved)
	if batch.empty() {
		return
	}
	if !s.failedAt.IsZero() && now.Sub(s.failedAt) < storeRetry {
		s.putBack(batch)
		return
	}
	// A commit is not interrupted: it is small, and must be written before a stop.
	err := s.commit(context.WithoutCancel(ctx), batch)
	if err != nil {
		s.putBack(batch)
		s.failedAt = now
		if s.loggedAt.IsZero() || now.Sub(s.loggedAt) >= storeLogEvery {
			s.loggedAt = now
			s.log.Error("cannot write the peer table, which would be out of date after a crash: free disk space or fix the permissions",
				slog.String("file", s.path), slog.Any("error", err))
		}
		return
	}
	if !s.failedAt.IsZero() {
		s.failedAt, s.loggedAt = time.Time{}, time.Time{}
		s.log.Info("the peer table is writable again", slog.String("file", s.path))
	}
}

// putBack makes a batch pending again; changes made meanwhile are newer.
func (s *Store) putBack(batch changes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newer := s.pending
	for _, row := range newer.peers {
		batch.add(row, s.maxPeers)
	}
	for a, at := range newer.dialled {
		batch.dialled[a] = at
	}
	s.pending.peers, s.pending.dialled = batch.peers, batch.dialled
	s.pending.expired = max(batch.expired, newer.expired)
}

// awaitSaved returns when saved is closed, ctx has ended or saveWait has passed.
func awaitSaved(ctx context.Context, saved <-chan struct{}) {
	if saved == nil {
		return
	}
	timer := time.NewTimer(saveWait)
	defer timer.Stop()
	select {
	case <-saved:
	case <-timer.C:
	case <-ctx.Done():
	}
}
