package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/chainbound/valtrack/internal/crashpoint"
	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// syncPeriod is how often the spool is fsynced, and so how much a power cut loses.
	// Failed writes are tried again as often.
	syncPeriod = time.Second
	// keepAcked is how long an acknowledged segment is kept at least, for a broker that comes
	// back with an older store: nats-server fsyncs every 2 minutes by default. Time
	// without an acknowledgement does not count, unless writes fail: the broker may be
	// away all the while.
	keepAcked = 3 * time.Minute
)

func (s *Spool) syncLoop() {
	t := time.NewTicker(syncPeriod)
	defer t.Stop()
	limit := loglimit.Every(logPeriod)
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			if err := s.flush(); err != nil && limit.Allow() {
				st := s.Stats()
				s.cfg.Log.Error("cannot write the spool, will retry", slog.Int("held_bytes", st.Held), slog.Uint64("dropped", st.Dropped), slog.Any("error", err))
			}
		}
	}
}

// unsynced is a file that was written since its last fsync. The file may be closed
// meanwhile.
type unsynced struct {
	seg  *segment
	file *os.File
}

// flush writes what is held, fsyncs what was written, saves the acknowledged position
// and removes segments that are not needed any more. The fsyncs happen without the
// lock.
func (s *Spool) flush() error {
	s.mu.Lock()
	err := s.writeHeld()
	var written []unsynced
	for _, seg := range s.segments {
		if seg.fsyncFailed {
			continue
		}
		if f := seg.file.Unsynced(); f != nil {
			written = append(written, unsynced{seg, f})
		}
	}
	dirty := s.dirty
	s.dirty = false
	acked := s.acked
	s.mu.Unlock()

	err = errors.Join(err, s.syncFiles(written))
	if dirty {
		if failed := diskio.SyncDir(s.cfg.Dir); failed != nil {
			err = errors.Join(err, failed)
			s.mu.Lock()
			s.dirty = true
			s.mu.Unlock()
		}
	}
	crashpoint.At("spool synced")
	err = errors.Join(err, s.acks.save(acked))
	crashpoint.At("spool saved")
	s.tidy()
	return err
}

// writeHeld tries again to write what is held.
func (s *Spool) writeHeld() error {
	var errs []error
	for _, seg := range s.segments {
		before := seg.held()
		errs = append(errs, seg.file.WriteHeld())
		s.held += seg.held() - before
	}
	s.err = errors.Join(errs...)
	return s.err
}

// syncFiles fsyncs the files. A segment whose fsync fails gets no more frames: the
// kernel may have dropped what was not written, and a second fsync would not say so.
func (s *Spool) syncFiles(files []unsynced) (err error) {
	for _, u := range files {
		failed := u.file.Sync()
		if failed == nil || errors.Is(failed, os.ErrClosed) { // closed: removed meanwhile
			continue
		}
		err = errors.Join(err, fmt.Errorf("sync %s: %w", u.seg.path(), failed))
		s.mu.Lock()
		u.seg.fsyncFailed = true
		s.mu.Unlock()
	}
	return err
}

// untilRewound, as the time for which acknowledged events are kept, says that they will be
// sent again.
const untilRewound = math.MaxInt64 * time.Nanosecond

// tidy closes the files of segments that are complete, and removes segments that consumers
// have stored or that were acknowledged long enough ago.
func (s *Spool) tidy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.ackedAt
	if s.err != nil { // room is worth more
		now = time.Now()
	}
	for i := 0; i < len(s.segments)-1; i++ {
		seg := s.segments[i]
		if seg.held() == 0 && (!seg.file.NeedsSync() || seg.fsyncFailed) {
			_ = seg.file.Close() // fsynced before, or never again
		}
		aged := seg.acked == seg.frames && !seg.ackedAt.IsZero() && now.Sub(seg.ackedAt) >= s.keep
		if aged || s.storedIn(seg) == seg.frames {
			s.remove(i)
			i--
		}
	}
}

// freeMemory removes acknowledged segments that writes have failed for until a frame of n
// bytes has room, the oldest first. What will be sent again stays: new events are then
// refused, and counted.
func (s *Spool) freeMemory(n int) {
	if s.keep == untilRewound {
		return
	}
	for i := 0; s.held+n > maxHeld && i < len(s.segments)-1; {
		if seg := s.segments[i]; seg.held() > 0 && seg.acked == seg.frames {
			s.remove(i)
		} else {
			i++
		}
	}
}

// needed counts the events of a segment that are lost with it, as far as is known: those
// that were not taken, or all that consumers have not stored when they will be sent again.
func (s *Spool) needed(seg *segment) int {
	if s.keep == untilRewound {
		return seg.frames - s.storedIn(seg)
	}
	return seg.frames - seg.taken
}

// makeRoom drops the oldest segments until n more bytes fit under the limit. It keeps
// the last event of each producer: what is missing before that event shows downstream.
func (s *Spool) makeRoom(n int64) {
	var total int64
	for _, seg := range s.segments {
		total += seg.size
	}
	for i := 0; total+n > s.cfg.MaxBytes && i < len(s.segments)-1; {
		seg := s.segments[i]
		total -= seg.size
		lost := s.needed(seg)
		if lost > 0 && seg.producer != s.segments[i+1].producer && s.shrink(seg) {
			total += seg.size
			lost--
			i++
		} else {
			s.remove(i)
		}
		s.countDropped(lost)
	}
}

// shrink reduces a segment to its last event; false when that cannot be written.
func (s *Spool) shrink(seg *segment) bool {
	if seg.frames == 1 {
		return true
	}
	if seg.held() > 0 || seg.keepLast() != nil {
		return false
	}
	if s.reader.seq == seg.seq {
		s.reader.moveTo(seg.seq)
	}
	return true
}

func (s *Spool) countDropped(events int) {
	if events == 0 {
		return
	}
	s.dropped += uint64(events)
	if s.dropLog.Allow() {
		s.cfg.Log.Error("the spool is full, dropping the oldest events", slog.Int64("limit_bytes", s.cfg.MaxBytes), slog.Uint64("dropped", s.dropped))
	}
}

// remove deletes the i-th segment.
func (s *Spool) remove(i int) {
	path := s.segments[i].path()
	s.forget(i)
	os.Remove(path)
}

// forget closes the i-th segment and takes it off the list.
func (s *Spool) forget(i int) {
	seg := s.segments[i]
	s.held -= seg.held()
	_ = seg.file.Close()
	s.segments = append(s.segments[:i], s.segments[i+1:]...)
}
