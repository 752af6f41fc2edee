package bus

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// spoolReader is where take goes on.
type spoolReader struct {
	seq   uint64
	off   int64
	index int // frames of the segment before off
	file  *os.File
}

func (r *spoolReader) closeFile() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// moveTo puts the reader at the beginning of a segment.
func (r *spoolReader) moveTo(seq uint64) {
	r.closeFile()
	*r = spoolReader{seq: seq}
}

// take gives the events after those that it gave before, oldest first: at most n,
// and no more than a chunk.
func (s *Spool) take(n int) ([]*pending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		seg := s.reading()
		if seg == nil || n <= 0 {
			return nil, nil
		}
		out, err := s.scan(seg, n)
		if passing(err) || len(out) > 0 {
			return out, err
		}
		if err != nil {
			s.reader.closeFile()
			s.setAside(seg.path, err)
			s.forget(slices.Index(s.segments, seg))
		}
	}
}

// passing tells an error that is about this process at this moment, not about the file.
func passing(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// setAside renames a segment's file that cannot be read, so that publishing goes on
// without it. It is nobody's then; should the rename fail, the next start tries again.
func (s *Spool) setAside(path string, err error) {
	s.damaged++
	s.dirty = true
	aside := path + damagedSuffix
	s.cfg.Log.Error("a spool segment cannot be read, going on without it; renamed back, the next start publishes it",
		slog.String("file", path), slog.String("now", aside), slog.Any("error", errors.Join(err, os.Rename(path, aside))))
}

// reading is the segment with something to read, nil when there is nothing.
func (s *Spool) reading() *segment {
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

// scan reads a chunk. Where it holds no whole frame it takes a larger one, and
// skips what is no frame even so.
func (s *Spool) scan(seg *segment, n int) (out []*pending, err error) {
	r := &s.reader
	if r.file == nil && seg.onDisk() > 0 {
		if r.file, err = os.Open(seg.path); err != nil {
			return nil, err // it names the file
		}
	}
	for chunk := int64(readChunk); ; chunk *= 4 {
		b, err := seg.read(r.file, r.off, chunk)
		if err != nil {
			return nil, err
		}
		for len(out) < n {
			f, start, end, ok := nextFrame(b)
			if !ok {
				break
			}
			if start > 0 {
				s.skipped(seg, start)
			}
			b = b[end:]
			r.off += int64(end)
			r.index++
			out = append(out, newPending(f, position{seq: seg.seq, off: r.off, sum: f.sum, index: r.index, gen: seg.gen}))
		}
		seg.taken = max(seg.taken, r.index)
		switch {
		case len(out) > 0:
			return out, nil
		case r.off+int64(len(b)) == seg.size:
			s.skipped(seg, len(b))
			r.off = seg.size
			return nil, nil
		}
	}
}

func (s *Spool) skipped(seg *segment, bytes int) {
	s.damaged++
	s.cfg.Log.Error("the spool is damaged, going on after it", slog.String("file", seg.path), slog.Int64("at", s.reader.off), slog.Int("bytes", bytes))
}

// backlog counts the events that take has not given yet.
func (s *Spool) backlog() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.segments {
		n += seg.frames - seg.taken
	}
	return n
}

// settle says that the event and all before it are acknowledged, and keeps for the
// next process how far the stream was.
func (s *Spool) settle(p *pending, at streamMark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark, s.ackedAt = at, time.Now()
	for _, seg := range s.segments {
		if seg.seq > p.pos.seq {
			return
		}
		if seg.seq < p.pos.seq {
			seg.settled = seg.frames
		} else if seg.gen == p.pos.gen {
			seg.settled = max(seg.settled, p.pos.index)
			s.acked = p.pos
		}
		if seg.settled == seg.frames && seg.settledAt.IsZero() && seg != s.segments[len(s.segments)-1] {
			seg.settledAt = s.ackedAt
		}
	}
}

// rewind makes take give again everything that is still kept.
func (s *Spool) rewind() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reader.moveTo(0)
	s.acked = position{}
	for _, seg := range s.segments {
		seg.taken, seg.settled, seg.settledAt = 0, 0, time.Time{}
		n += seg.frames
	}
	if len(s.segments) > 0 {
		s.acked.seq = s.segments[0].seq
	}
	return n
}

func newPending(f frame, pos position) *pending {
	m := nats.NewMsg(f.subject)
	m.Header = nats.Header{jetstream.MsgIDHeader: []string{f.key}}
	m.Data = f.data
	return &pending{msg: m, at: f.at, pos: pos}
}
