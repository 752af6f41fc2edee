package sentry

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/network"
)

const (
	// peersFile is the peer table in the data directory: JSON lines, a storeHeader
	// and then storedPeers, of which later ones of a peer add to earlier ones.
	peersFile = "peers.ndjson"
	// storeTick is how often new records are written and a compaction goes on.
	storeTick = 200 * time.Millisecond
	// compactStep is the number of peers that a compaction writes in one tick, some
	// milliseconds of work.
	compactStep = 2000
	// The file is compacted when it is larger than compactLeast and growthLimit
	// times its size after the last compaction.
	compactLeast = 4 << 20
	growthLimit  = 4
	// storeLogEvery bounds the log of a disk that fails; a compaction, which would
	// mend the file, is tried as often.
	storeLogEvery = time.Minute
)

// storeHeader is the first line of the file. A table is of one network: peers of
// another one, or of a devnet that began anew, are of no use.
type storeHeader struct {
	Format                string `json:"format"`
	Network               string `json:"network"`
	GenesisValidatorsRoot string `json:"genesis_validators_root"`
	GenesisTime           int64  `json:"genesis_time_ms"` // Unix
}

const storeFormat = "valtrack peers 1"

func headerOf(net network.Network) storeHeader {
	return storeHeader{
		Format: storeFormat, Network: net.Name, GenesisValidatorsRoot: net.GenesisValidatorsRoot.String(),
		GenesisTime: net.GenesisTime.UnixMilli(),
	}
}

// Store keeps the peer table on disk, so that a restart, also after kill -9, goes
// on with every peer, and dials none before its time. OpenStore reads it, the
// sentry's Run writes it. The journal gets a line before a dial begins and when a
// visit ends, each with a write of its own; new records follow within storeTick.
// Without a Store (nil) nothing is kept.
//
// Only the schedule's goroutine calls the methods that write.
type Store struct {
	path   string
	header storeHeader
	log    *slog.Logger
	loaded loaded // until the table takes it over

	file   *os.File
	size   int64 // bytes in the file
	live   int64 // of those after the last compaction
	buffer bytes.Buffer
	broken bool // the last write failed: the file may end in half a line
	last   time.Time
	next   *compaction // nil when none is under way
}

// compaction is a new file in the making: first the state of each peer, a few a
// tick, and every line that the old file gets meanwhile.
type compaction struct {
	file   *os.File
	w      *bufio.Writer
	rest   []*peer
	size   int64
	synced chan error // nil until everything is written
	busy   bool       // the sync is under way
}

// begin notes that a visit begins, before it does: should the process die, the
// peer is not dialled before the spacing has passed again.
func (s *Store) begin(p *peer, now time.Time) {
	if s == nil {
		return
	}
	line := stateOf(p)
	line.Began = now.UnixMilli()
	s.append(line)
	s.flush(now)
}

// end notes what a visit means for the schedule.
func (s *Store) end(p *peer, now time.Time) {
	if s != nil {
		s.append(stateOf(p))
		s.flush(now)
	}
}

// record notes a peer's new record.
func (s *Store) record(p *peer) {
	if s != nil {
		s.append(wholeOf(p))
	}
}

// forget notes that a peer has left the table.
func (s *Store) forget(p *peer) {
	if s != nil {
		s.append(storedPeer{ID: p.id, Gone: true})
	}
}

// append adds a line to what the next flush writes.
func (s *Store) append(line storedPeer) {
	before := s.buffer.Len()
	s.encode(&s.buffer, line)
	if s.next != nil {
		n, _ := s.next.w.Write(s.buffer.Bytes()[before:]) // an error stays, and flush tells
		s.next.size += int64(n)
	}
}

// encode writes the line. Lines hold nothing that JSON cannot.
func (s *Store) encode(dst *bytes.Buffer, line any) {
	text, err := json.Marshal(line)
	if err != nil {
		s.log.Error("peer table", slog.Any("error", err))
		return
	}
	dst.Write(text)
	dst.WriteByte('\n')
}

// flush writes the buffer with one write. What a full disk keeps from being written
// is written by the next compaction.
func (s *Store) flush(now time.Time) {
	if s.buffer.Len() == 0 {
		return
	}
	if s.broken {
		s.buffer.Reset()
		return
	}
	n, err := s.file.Write(s.buffer.Bytes())
	s.size += int64(n)
	s.buffer.Reset()
	if err != nil {
		s.fail(now, err)
	}
}

// fail notes that the file can no longer be trusted to hold everything.
func (s *Store) fail(now time.Time, err error) {
	s.broken = true
	s.last = now
	s.log.Error("the peer table cannot be written: after a crash it would be old; free the disk or mend its permissions",
		slog.String("file", s.path), slog.Any("error", err))
}

// tick writes what has come in and carries a compaction on, or begins one.
func (s *Store) tick(t *table, now time.Time) {
	if s == nil {
		return
	}
	s.flush(now)
	var err error
	switch {
	case s.next != nil:
		err = s.carryOn(t)
	case s.broken && now.Sub(s.last) >= storeLogEvery, !s.broken && s.size > max(compactLeast, growthLimit*s.live):
		err = s.compact(t, now)
	}
	if err != nil {
		s.abandon()
		s.fail(now, err)
	}
}

// compact begins a new file with the addresses that must not be dialled yet.
func (s *Store) compact(t *table, now time.Time) error {
	f, err := os.OpenFile(s.path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	s.next = &compaction{file: f, w: bufio.NewWriterSize(f, 1<<16), rest: make([]*peer, 0, len(t.byID))}
	for _, p := range t.byID {
		s.next.rest = append(s.next.rest, p)
	}
	var head bytes.Buffer
	s.encode(&head, s.header)
	for a, last := range t.dialled {
		if now.Sub(last) < t.scaled(spacing) {
			s.encode(&head, storedPeer{Address: a.String(), Began: last.UnixMilli()})
		}
	}
	n, err := s.next.w.Write(head.Bytes())
	s.next.size = int64(n)
	return err
}

// carryOn writes some more peers, and after the last one puts the new file in the
// old one's place as soon as it is on the disk.
func (s *Store) carryOn(t *table) error {
	c := s.next
	if c.synced != nil {
		select {
		case err := <-c.synced:
			c.busy = false
			if err != nil {
				return err
			}
			return s.replace()
		default:
			return nil
		}
	}
	var line bytes.Buffer
	step := min(compactStep, len(c.rest))
	for _, p := range c.rest[:step] {
		if t.byID[p.id] != p { // it has left meanwhile
			continue
		}
		line.Reset()
		s.encode(&line, wholeOf(p))
		n, err := c.w.Write(line.Bytes())
		c.size += int64(n)
		if err != nil {
			return err
		}
	}
	c.rest = c.rest[step:]
	if len(c.rest) > 0 {
		return nil
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	c.synced, c.busy = make(chan error, 1), true
	go func() { c.synced <- c.file.Sync() }() // abandon and replace wait for it
	return nil
}

// replace makes the new file the table's.
func (s *Store) replace() error {
	c := s.next
	if err := c.w.Flush(); err != nil { // lines that came while it was synced
		return err
	}
	if err := os.Rename(c.file.Name(), s.path); err != nil {
		return err
	}
	s.file.Close()
	s.file, s.size, s.live, s.broken, s.next = c.file, c.size, c.size, false, nil
	return syncDir(filepath.Dir(s.path))
}

// abandon drops a compaction; the old file goes on.
func (s *Store) abandon() {
	if s.next == nil {
		return
	}
	if s.next.busy {
		if err := <-s.next.synced; err != nil {
			s.log.Debug("sync of an abandoned compaction", slog.Any("error", err))
		}
	}
	s.next.file.Close()
	os.Remove(s.next.file.Name()) // if it stays, the next compaction overwrites it
	s.next = nil
}

// finish compacts the file at a stop and closes it.
func (s *Store) finish(t *table, now time.Time) {
	if s == nil {
		return
	}
	s.flush(now)
	s.abandon()
	err := s.compact(t, now)
	for err == nil && s.next.synced == nil {
		err = s.carryOn(t)
	}
	if err == nil {
		err = <-s.next.synced
		s.next.busy = false
	}
	if err == nil {
		err = s.replace()
	}
	if err != nil {
		s.abandon()
		s.fail(now, err)
	}
	s.Close()
}

// Close frees the file of a store that no sentry ran with. Further calls do
// nothing.
func (s *Store) Close() {
	if s != nil && s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}
