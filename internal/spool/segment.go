package spool

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/event"
)

const (
	segmentSuffix = ".spool"
	// damagedSuffix is appended to the name of a segment that could not be read.
	damagedSuffix = ".damaged"
	// maxSegment is the maximum size of a segment, in bytes.
	maxSegment = 8 << 20
)

// segment is one file of the spool. Its size, and positions in it, include the data
// that is held in memory because it could not be written.
type segment struct {
	file     *diskio.AppendFile
	seq      uint64 // its number, in its file name
	producer string // of its frames' keys: one start of one sentry
	lastKey  string // of the newest event of an earlier process
	size     int64  // bytes
	frames   int
	taken    int   // frames that Take has returned
	acked    int   // frames acknowledged
	last     int64 // where the last frame begins
	// generation grows when the file's content is replaced: positions of an earlier
	// generation mean nothing then.
	generation int
	// fsyncFailed is true once an fsync has failed: no more frames go there, and it is
	// not fsynced again.
	fsyncFailed bool
	ackedAt     time.Time // when all of it was acknowledged; zero before
	// resent is true once a Rewind has had the time since ackedAt begin again.
	resent bool
}

func newSegment(path string, seq uint64, producer string) *segment {
	return &segment{file: diskio.NewAppendFile(path, nil), seq: seq, producer: producer}
}

func segmentPath(dir string, seq uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x", seq)+segmentSuffix)
}

// parseSegmentName reads a segment's number from its file name.
func parseSegmentName(name string) (seq uint64, ok bool) {
	digits, found := strings.CutSuffix(name, segmentSuffix)
	if !found || len(digits) != 16 {
		return 0, false
	}
	_, err := fmt.Sscanf(digits, "%016x", &seq)
	return seq, err == nil
}

func (s *segment) path() string { return s.file.Path() }

// held is how much of the segment is in memory because it could not be written, in
// bytes.
func (s *segment) held() int { return len(s.file.Held()) }

// onDisk is how much of the segment is in its file, in bytes.
func (s *segment) onDisk() int64 { return s.size - int64(s.held()) }

// append adds a frame. An error means that the frame could not be written and is held.
func (s *segment) append(frame []byte) error {
	err := s.file.Append(frame)
	s.last = s.size
	s.size += int64(len(frame))
	s.frames++
	return err
}

// read returns n bytes of the segment from offset off on, or fewer at its end. file is
// the caller's own handle, nil before there is a file.
func (s *segment) read(file *os.File, off, n int64) ([]byte, error) {
	b := make([]byte, max(0, min(n, s.size-off)))
	onDisk := max(0, min(int64(len(b)), s.onDisk()-off))
	if onDisk > 0 {
		if _, err := file.ReadAt(b[:onDisk], off); err != nil {
			return nil, fmt.Errorf("read %s: %w", s.path(), err)
		}
	}
	if rest := b[onDisk:]; len(rest) > 0 {
		copy(rest, s.file.Held()[off+onDisk-s.onDisk():])
	}
	return b, nil
}

// loadSegment counts the frames in a file of an earlier process; those up to the
// position acked are acknowledged. A tail that is no frame is cut off: torn is its
// length in bytes. An error means that the file cannot be read.
func loadSegment(path string, seq uint64, acked position) (s *segment, torn int64, err error) {
	s = newSegment(path, seq, "")
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
	for off := int64(0); ; {
		next, start, end, ok := findFrame(b[off:])
		if !ok {
			break
		}
		s.last = off + int64(start)
		off += int64(end)
		s.size = off
		s.frames++
		if seq == acked.seq && off == acked.off && next.sum == acked.sum {
			s.acked, s.taken = s.frames, s.frames
		}
		if key, err := event.ParseKey(next.Key); err == nil {
			s.producer, s.lastKey = key.Producer(), next.Key
		}
	}
	if torn = info.Size() - s.size; torn > 0 {
		_ = os.Truncate(path, s.size) // should it fail, the next start finds the tail again
	}
	return s, torn, nil
}

// keepLast replaces the segment by its last frame alone. Positions from before do not
// fit the new content: those in memory by generation, the one on disk by the sum of
// its frame.
func (s *segment) keepLast() error {
	file, err := os.Open(s.path())
	if err != nil {
		return err
	}
	defer file.Close()
	b, err := s.read(file, s.last, s.size-s.last)
	if err != nil {
		return err
	}
	if err := diskio.ReplaceFile(s.path(), b, 0o644); err != nil {
		return err
	}
	_ = s.file.Close() // of content that is gone
	s.file = diskio.NewAppendFile(s.path(), nil)
	s.size, s.frames, s.taken, s.acked, s.last = int64(len(b)), 1, 0, 0, 0
	s.generation++
	return nil
}
