package spool

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

// readChunk is how much of a segment is read at a time, in bytes.
const readChunk = 256 << 10

// reader is where Take continues.
type reader struct {
	seq   uint64
	off   int64
	index int // frames of the segment before off
	file  *os.File
}

func (r *reader) closeFile() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// moveTo puts the reader at the beginning of a segment.
func (r *reader) moveTo(seq uint64) {
	r.closeFile()
	*r = reader{seq: seq}
}

// Take returns the events after those that it returned before, oldest first: at most
// n, and no more than a chunk of some 256 KiB. left counts the events behind them. An
// error says that nothing can be read just now, because the process is out of file
// descriptors or memory.
func (s *Spool) Take(n int) (events []event.Encoded, left int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 {
		events, err = s.takeBatch(n)
	}
	for _, seg := range s.segments {
		left += seg.frames - seg.taken
	}
	return events, left, err
}

func (s *Spool) takeBatch(n int) ([]event.Encoded, error) {
	for {
		seg := s.readableSegment()
		if seg == nil {
			return nil, nil
		}
		events, err := s.scan(seg, n)
		if isTransient(err) || len(events) > 0 {
			return events, err
		}
		if err != nil {
			s.reader.closeFile()
			s.quarantine(seg.path(), err)
			s.forget(slices.Index(s.segments, seg))
		}
	}
}

// isTransient reports an error that is about this process at this moment, not about
// the file.
func isTransient(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// quarantine renames a segment's file that cannot be read, so that publishing
// continues without it. Should the rename fail, the next start tries again.
func (s *Spool) quarantine(path string, err error) {
	s.damaged++
	s.dirty = true
	aside := path + damagedSuffix
	s.cfg.Log.Error("a spool segment cannot be read, continuing without it; if renamed back, the next start publishes it",
		slog.String("file", path), slog.String("renamed_to", aside), slog.Any("error", errors.Join(err, os.Rename(path, aside))))
}

// readableSegment is the segment with something to read, nil when there is none.
func (s *Spool) readableSegment() *segment {
	for i, seg := range s.segments {
		if seg.seq < s.reader.seq {
			continue
		}
		if seg.seq > s.reader.seq { // the first, or the one after a dropped one
			s.reader.moveTo(seg.seq)
		}
		if s.reader.off < seg.size {
			return seg
		}
		if i+1 < len(s.segments) {
			s.reader.moveTo(s.segments[i+1].seq)
		}
	}
	return nil
}

// scan reads a chunk of the segment. When that holds no whole frame it reads a larger
// one, and at the segment's end it skips what is no frame.
func (s *Spool) scan(seg *segment, n int) (events []event.Encoded, err error) {
	r := &s.reader
	if r.file == nil && seg.onDisk() > 0 {
		if r.file, err = os.Open(seg.path()); err != nil {
			return nil, err // it names the file
		}
	}
	for chunk := int64(readChunk); ; chunk *= 4 {
		b, err := seg.read(r.file, r.off, chunk)
		if err != nil {
			return nil, err
		}
		for len(events) < n {
			f, start, end, ok := findFrame(b)
			if !ok {
				break
			}
			if start > 0 {
				s.logDamage(seg, start)
			}
			b = b[end:]
			r.off += int64(end)
			r.index++
			events = append(events, f.Encoded)
			s.taken = append(s.taken, position{seq: seg.seq, off: r.off, sum: f.sum, index: r.index, generation: seg.generation})
		}
		seg.taken = max(seg.taken, r.index)
		switch {
		case len(events) > 0:
			return events, nil
		case r.off+int64(len(b)) == seg.size:
			s.logDamage(seg, len(b))
			r.off = seg.size
			return nil, nil
		}
	}
}

func (s *Spool) logDamage(seg *segment, bytes int) {
	s.damaged++
	s.cfg.Log.Error("the spool is damaged, continuing after the damage", slog.String("file", seg.path()), slog.Int64("at", s.reader.off), slog.Int("bytes", bytes))
}

// Ack says that the oldest n of the events that Take has returned are acknowledged,
// and keeps mark with that for the next process. Acknowledged events are kept for
// keepAcked, or for keep if that is longer.
func (s *Spool) Ack(n int, mark Mark, keep time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = max(keep, keepAcked)
	if n = min(n, len(s.taken)); n <= 0 {
		return
	}
	pos := s.taken[n-1]
	s.taken = s.taken[n:]
	s.acked.mark, s.ackedAt = mark, time.Now()
	for _, seg := range s.segments {
		if seg.seq > pos.seq {
			return
		}
		if seg.seq < pos.seq {
			seg.acked = seg.frames
		} else if seg.generation == pos.generation {
			seg.acked = max(seg.acked, pos.index)
			s.acked.pos = pos
		}
		if seg.acked == seg.frames && seg.ackedAt.IsZero() && seg != s.segments[len(s.segments)-1] {
			seg.ackedAt = s.ackedAt
		}
	}
}

// Mark is the mark of the last acknowledgement, of this process or an earlier one.
func (s *Spool) Mark() Mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked.mark
}

// Rewind makes Take return again every event that is still kept, and counts them.
// None of them is acknowledged then.
func (s *Spool) Rewind() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reader.moveTo(0)
	s.taken = nil
	s.acked.pos = position{}
	for _, seg := range s.segments {
		seg.taken, seg.acked, seg.ackedAt = 0, 0, time.Time{}
		n += seg.frames
	}
	if len(s.segments) > 0 {
		s.acked.pos.seq = s.segments[0].seq
	}
	return n
}
