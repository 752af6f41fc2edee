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
	s.cfg.Log.Error("cannot read a spool segment, continuing without it; if it is renamed back, the next start publishes it",
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
	s.cfg.Log.Error("the spool is damaged, skipping the damaged part", slog.String("file", seg.path()), slog.Int64("at", s.reader.off), slog.Int("bytes", bytes))
}

// Ack says that the oldest n of the events that Take has returned are acknowledged,
// and keeps mark with that for the next process. number grows with the acknowledgements
// and is what Keep refers to; 0 means that there is none.
func (s *Spool) Ack(n int, mark Mark, number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.remember(receipt{number, s.acked.pos}) }()
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

// receipt is the number of an acknowledgement, and what is acknowledged with it.
type receipt struct {
	number uint64
	pos    position
}

// Keep says that consumers have stored everything up to the acknowledgement of that
// number: it is not needed any more. What is acknowledged beyond that is kept for
// keepAcked, or for d if that is longer. untilRewound as d says that it will be sent
// again: nothing of it is removed before Rewind, except for the size limit.
//
// Of the acknowledgements between two calls only some positions are remembered, so that a
// number may free less than what has it.
func (s *Spool) Keep(stored uint64, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = max(d, keepAcked)
	for range 2 { // next, and then newest
		if s.next.number > 0 && s.next.number <= stored {
			s.stored, s.next = s.next.pos, receipt{}
			s.remember(s.newest)
		}
	}
}

func (s *Spool) remember(r receipt) {
	s.newest = r
	if s.next.number == 0 {
		s.next = r
	}
}

// storedIn counts the first events of a segment that consumers have stored.
func (s *Spool) storedIn(seg *segment) int {
	switch {
	case seg.seq < s.stored.seq:
		return seg.frames
	case seg.seq == s.stored.seq && seg.generation == s.stored.generation:
		return s.stored.index
	}
	return 0
}

// Mark is the mark of the last acknowledgement, of this process or an earlier one.
func (s *Spool) Mark() Mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked.mark
}

// Rewind makes Take return again every event that is kept and that consumers have not
// stored, and counts them. None of them is acknowledged then. lost says that some are known
// to be lost: then all are kept as new ones are. Otherwise a segment is kept longer for the
// first Rewind only, so that a broker that restarts all the time does not fill the spool.
func (s *Spool) Rewind(lost bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := s.stored
	for _, seg := range s.segments {
		if seg.seq == start.seq && seg.generation != start.generation {
			start = position{seq: seg.seq, generation: seg.generation}
		}
		stored := s.storedIn(seg)
		seg.taken, seg.acked = stored, stored
		n += seg.frames - stored
		if lost || !seg.resent {
			seg.resent = !lost && !seg.ackedAt.IsZero()
			seg.ackedAt = time.Time{}
		}
	}
	s.reader.closeFile()
	s.reader = reader{seq: start.seq, off: start.off, index: start.index}
	if start.seq == 0 && len(s.segments) > 0 {
		start.seq = s.segments[0].seq
	}
	s.acked.pos, s.taken = start, nil
	s.next, s.newest = receipt{}, receipt{} // numbers may begin again
	return n
}
