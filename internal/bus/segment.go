package bus

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

const (
	segmentSuffix = ".spool"
	// damagedSuffix follows it in the name of a file that could not be read.
	damagedSuffix = ".damaged"
	// readChunk is how much of a segment is read at a time, in bytes.
	readChunk = 256 << 10
)

// segment is one file of the spool. Its size, and positions in it, count what
// stands in the file and then what still waits in memory for the disk.
type segment struct {
	appendFile
	seq      uint64
	producer string // of its frames' keys: one start of one sentry
	size     int64  // bytes
	frames   int
	taken    int   // frames given to the publisher
	settled  int   // frames acknowledged
	last     int64 // where the last frame begins
	// gen grows when the file's content is replaced: positions from before mean
	// nothing then.
	gen int
	// suspect is true once an fsync has failed: no more frames go there, and it is
	// not fsynced again.
	suspect bool
	// settledAt is when everything in it had been acknowledged, zero before.
	settledAt time.Time
}

func segmentPath(dir string, seq uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x", seq)+segmentSuffix)
}

// segmentSeq reads a segment's number from its file name.
func segmentSeq(name string) (seq uint64, ok bool) {
	digits, found := strings.CutSuffix(name, segmentSuffix)
	if !found || len(digits) != 16 {
		return 0, false
	}
	_, err := fmt.Sscanf(digits, "%016x", &seq)
	return seq, err == nil
}

// onDisk is how much of the segment is in its file, in bytes.
func (s *segment) onDisk() int64 { return s.size - int64(len(s.buf)) }

// append adds a frame. A disk that takes nothing is an error, and the frame waits
// in memory.
func (s *segment) append(frame []byte) error {
	err := s.add(frame)
	s.last = s.size
	s.size += int64(len(frame))
	s.frames++
	return err
}

// read gives the segment's bytes from offset off: n of them, or all that there
// are. file is the caller's own handle, nil before there is a file.
func (s *segment) read(file *os.File, off, n int64) ([]byte, error) {
	b := make([]byte, max(0, min(n, s.size-off)))
	onDisk := max(0, min(int64(len(b)), s.onDisk()-off))
	if onDisk > 0 {
		if _, err := file.ReadAt(b[:onDisk], off); err != nil {
			return nil, fmt.Errorf("read %s: %w", s.path, err)
		}
	}
	if rest := b[onDisk:]; len(rest) > 0 {
		copy(rest, s.buf[off+onDisk-s.onDisk():])
	}
	return b, nil
}

// loadSegment counts the frames of a file that an earlier process has written, of
// which those up to the position acked are settled. A tail that is no frame is cut
// off: torn is its length in bytes. An error means that the file cannot be read.
func loadSegment(path string, seq uint64, acked position) (s *segment, torn int64, err error) {
	s = &segment{appendFile: appendFile{path: path}, seq: seq}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("spool: %w", err)
	}
	b := make([]byte, min(info.Size(), maxSegment+maxFrame))
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, 0, fmt.Errorf("spool: read %s: %w", path, err)
	}
	var settled int
	for off := int64(0); ; {
		next, start, end, ok := nextFrame(b[off:])
		if !ok {
			break
		}
		s.last = off + int64(start)
		off += int64(end)
		s.size = off
		s.frames++
		if seq == acked.seq && off == acked.off && next.sum == acked.sum {
			settled = s.frames
		}
		if key, err := event.ParseKey(next.key); err == nil {
			s.producer = key.Producer()
		}
	}
	s.settled, s.taken = settled, settled
	if torn = info.Size() - s.size; torn > 0 {
		_ = os.Truncate(path, s.size) // should it fail, the next start finds the end again
	}
	return s, torn, nil
}

// keepLast replaces the segment by its last frame alone. The directory is for the
// caller to fsync. Positions from before do not fit the new content: those in memory
// by gen, the one on disk by the sum of its frame.
func (s *segment) keepLast() error {
	file, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer file.Close()
	b, err := s.read(file, s.last, s.size-s.last)
	if err != nil {
		return err
	}
	tmp := s.path + ".tmp"
	if err = writeSynced(tmp, b); err == nil {
		err = os.Rename(tmp, s.path)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	s.close()
	s.buf, s.unsynced = nil, false
	s.size, s.frames, s.taken, s.settled, s.last = int64(len(b)), 1, 0, 0, 0
	s.gen++
	return nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
