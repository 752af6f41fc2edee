package bus

import (
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
	// suspect is true once an fsync has failed: nothing more is written there.
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
// which those before the offset acked are settled. A tail that is no frame is cut
// off: torn is its length in bytes.
func loadSegment(path string, seq uint64, acked int64) (s *segment, torn int64, err error) {
	s = &segment{appendFile: appendFile{path: path}, seq: seq}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
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
		if off == acked {
			settled = s.frames
		}
		if key, err := event.ParseKey(next.key); err == nil {
			s.producer = key.Producer()
		}
	}
	s.settled, s.taken = settled, settled
	if torn = info.Size() - s.size; torn > 0 {
		if err := f.Truncate(s.size); err != nil {
			return nil, 0, fmt.Errorf("spool: cut off the torn end of %s: %w", path, err)
		}
	}
	return s, torn, nil
}

// keepLast replaces the segment by its last frame alone.
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
	if err := os.WriteFile(s.path+".tmp", b, 0o644); err != nil {
		return err
	}
	if err := os.Rename(s.path+".tmp", s.path); err != nil {
		return err
	}
	s.close()
	s.buf, s.unsynced = nil, false
	s.size, s.frames, s.taken, s.settled, s.last = int64(len(b)), 1, 0, 0, 0
	s.gen++
	return nil
}
