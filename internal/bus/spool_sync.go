package bus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/chainbound/valtrack/internal/crashpoint"
)

// ackedFile holds the position up to which events are acknowledged, as the sequence
// number of the segment, the offset in it and the checksum of the frame that ends
// there, and the stream's mark at that time (streamMark), 8 bytes each, and their
// CRC-32C. It may be older than the truth: then some events are published again.
const ackedFile = "acked"

const ackedSize, ackedData = ackedData + 4, 48

// savedAck is what the file holds.
type savedAck struct {
	pos  position
	mark streamMark
}

// openAcked reads the position. One that cannot be read means the beginning.
func (s *Spool) openAcked() error {
	path := filepath.Join(s.cfg.Dir, ackedFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.ackFile = f
	b := make([]byte, ackedSize)
	if _, err := f.ReadAt(b, 0); err == nil && binary.LittleEndian.Uint32(b[ackedData:]) == crc32.Checksum(b[:ackedData], castagnoli()) {
		s.acked = position{seq: binary.LittleEndian.Uint64(b), off: int64(binary.LittleEndian.Uint64(b[8:]))}
		s.acked.sum = uint32(binary.LittleEndian.Uint64(b[16:]))
		s.mark = streamMark{created: int64(binary.LittleEndian.Uint64(b[24:])), lastSeq: binary.LittleEndian.Uint64(b[32:]), server: binary.LittleEndian.Uint64(b[40:])}
		s.ackSaved = savedAck{s.acked, s.mark}
		return nil
	}
	return s.saveAcked(savedAck{s.acked, s.mark}) // later writes need no room on the disk
}

func (s *Spool) saveAcked(a savedAck) error {
	b := make([]byte, 0, ackedSize)
	for _, n := range []uint64{a.pos.seq, uint64(a.pos.off), uint64(a.pos.sum), uint64(a.mark.created), a.mark.lastSeq, a.mark.server} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
	if _, err := s.ackFile.WriteAt(b, 0); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.ackSaved = a
	return nil
}

func (s *Spool) syncLoop() {
	t := time.NewTicker(spoolSyncEvery)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			if err := s.flush(); err != nil && s.complain.due() {
				st := s.Stats()
				s.cfg.Log.Error("cannot write the spool, trying again", slog.Int("held_bytes", st.Held), slog.Uint64("dropped", st.Dropped), slog.Any("error", err))
			}
		}
	}
}

// flush gives the disk what it refused before, fsyncs what was written, saves the
// acknowledged position and removes segments that nobody needs any more. The fsync
// happens without the lock.
func (s *Spool) flush() error {
	s.mu.Lock()
	err := s.writeHeld()
	var written []*segment
	var files []*os.File
	for _, seg := range s.segments {
		if seg.unsynced && !seg.suspect {
			seg.unsynced = false
			written, files = append(written, seg), append(files, seg.file)
		}
	}
	dirty := s.dirty
	s.dirty = false
	acked := savedAck{s.acked, s.mark}
	s.mu.Unlock()

	for i, f := range files {
		if failed := f.Sync(); failed != nil && !errors.Is(failed, os.ErrClosed) { // closed: removed meanwhile
			err = errors.Join(err, fmt.Errorf("sync %s: %w", written[i].path, failed))
			s.distrust(written[i])
		}
	}
	if dirty {
		if failed := syncDir(s.cfg.Dir); failed != nil {
			err = errors.Join(err, failed)
			s.mu.Lock()
			s.dirty = true
			s.mu.Unlock()
		}
	}
	crashpoint.At("spool synced")
	if acked != s.ackSaved {
		err = errors.Join(err, s.saveAcked(acked))
	}
	crashpoint.At("spool saved")
	s.tidy()
	return err
}

// writeHeld tries again what the disk refused.
func (s *Spool) writeHeld() error {
	var errs []error
	for _, seg := range s.segments {
		before := len(seg.buf)
		errs = append(errs, seg.write())
		s.held += len(seg.buf) - before
	}
	s.err = errors.Join(errs...)
	return s.err
}

// distrust ends a segment whose fsync has failed: the kernel may have forgotten
// what was not written, and a second fsync would not say so.
func (s *Spool) distrust(seg *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg.suspect = true
}

// tidy closes segments that are complete, and removes those that were acknowledged
// long enough ago.
func (s *Spool) tidy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.ackedAt
	if s.err != nil { // room is worth more
		now = time.Now()
	}
	for i := 0; i < len(s.segments)-1; i++ {
		seg := s.segments[i]
		if len(seg.buf) == 0 && (!seg.unsynced || seg.suspect) {
			seg.close() // synced before, or never again
		}
		if !seg.settledAt.IsZero() && (now.Sub(seg.settledAt) >= keepAcked || len(seg.buf) > 0) {
			s.remove(i)
			i--
		}
	}
}

// makeRoom drops the oldest segments until n bytes more fit under the bound. Of
// each producer it keeps the last event: what is missing before that one is then
// seen downstream.
func (s *Spool) makeRoom(n int64) {
	var total int64
	for _, seg := range s.segments {
		total += seg.size
	}
	for i := 0; total+n > s.cfg.MaxBytes && i < len(s.segments)-1; {
		seg := s.segments[i]
		total -= seg.size
		lost := seg.frames - seg.taken
		if lost > 0 && seg.producer != s.segments[i+1].producer && s.shrink(seg) {
			total += seg.size
			lost--
			i++
		} else {
			s.remove(i)
		}
		s.drop(lost)
	}
}

// shrink leaves a segment its last event; false when the disk does not take that.
func (s *Spool) shrink(seg *segment) bool {
	if seg.frames == 1 {
		return true
	}
	if len(seg.buf) > 0 || seg.keepLast() != nil {
		return false
	}
	s.dirty = true
	if s.reader.seq == seg.seq {
		s.reader.moveTo(seg.seq)
	}
	return true
}

func (s *Spool) drop(events int) {
	if events == 0 {
		return
	}
	s.dropped += uint64(events)
	if s.dropping.due() {
		s.cfg.Log.Error("the spool is full, the oldest events are dropped", slog.Int64("bound_bytes", s.cfg.MaxBytes), slog.Uint64("dropped", s.dropped))
	}
}

// remove takes the i-th segment away.
func (s *Spool) remove(i int) {
	path := s.segments[i].path
	s.forget(i)
	os.Remove(path)
}

func (s *Spool) forget(i int) {
	seg := s.segments[i]
	s.held -= len(seg.buf)
	seg.close()
	s.segments = append(s.segments[:i], s.segments[i+1:]...)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
