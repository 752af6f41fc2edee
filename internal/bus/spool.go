package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/crashpoint"
	"github.com/chainbound/valtrack/internal/event"
)

const (
	// DefaultSpoolSize bounds the spool on disk, in bytes: at the 700 bytes of a
	// mean frame 1.5 million events, 16 hours of 26 events/s.
	DefaultSpoolSize = 1 << 30
	// MinSpoolSize holds a few of the largest events.
	MinSpoolSize = 8 << 20
	// maxSegment is how large a segment's file grows, in bytes.
	maxSegment = 8 << 20
	// spoolSyncEvery is how often the spool is fsynced. The death of the process
	// loses nothing, since what Publish has written is the kernel's; a power cut
	// loses at most this much. A disk that took nothing is tried again as often.
	spoolSyncEvery = time.Second
	// heldMax bounds what waits in memory while the disk takes nothing, in bytes;
	// some 12 000 events. What comes then is dropped.
	heldMax = 8 << 20
	// heldSegment is when a segment ends that the disk does not take, in bytes, so
	// that what is acknowledged can leave the memory.
	heldSegment = 1 << 20
	// keepAcked is how long an acknowledged segment stays, for a broker that comes
	// back with an older store: nats-server fsyncs every 2 minutes by default. Time
	// without an acknowledgement does not count, while the disk takes what comes: the
	// broker may be away all the while.
	keepAcked = 3 * time.Minute
)

// ErrSpoolFull is the error of an event that is dropped because the disk takes
// nothing and the memory is full.
var ErrSpoolFull = errors.New("the spool's disk takes nothing and its memory is full")

// SpoolConfig describes a spool.
type SpoolConfig struct {
	// Dir is the spool's own directory, made if it is missing. One process at a
	// time may use it.
	Dir string
	// Sentry and Boot stand in the key of every event of this process. Counters
	// begin at 1, so the pair must never have been used before.
	Sentry string
	Boot   uint64
	// MaxBytes bounds the spool on disk; 0 means DefaultSpoolSize, and less than
	// MinSpoolSize is taken as that.
	MaxBytes int64
	Log      *slog.Logger
}

// Spool keeps events on disk until they have been acknowledged: a log of segments,
// each a file of checksummed frames. What Publish has accepted survives the death
// of the process, unless the disk took nothing. Beyond its bound the oldest segment
// is dropped.
type Spool struct {
	cfg        SpoolConfig
	producer   string // the beginning of every key of this process
	segmentMax int64
	stop       chan struct{}
	worker     sync.WaitGroup
	complain   *every           // about the disk
	dropping   *every           // about the bound
	now        func() time.Time // for what people read: nothing depends on it

	mu       sync.Mutex
	grown    func()     // called with the lock when an event was added
	segments []*segment // oldest first; frames are appended to the last
	nextSeq  uint64
	dirty    bool // the directory has changed since it was fsynced
	counter  uint64
	frame    []byte // reused
	key      []byte // reused
	reader   spoolReader
	acked    position
	mark     streamMark // with acked
	ackedAt  time.Time  // when the last acknowledgement came
	ackFile  *os.File
	ackSaved savedAck // the sync loop's own
	held     int      // bytes of frames that wait in memory
	err      error    // of the last write; nil when it went well
	closed   bool
	dropped  uint64
	damaged  uint64
}

// position is the end of a frame: what is before it has been acknowledged.
type position struct {
	seq   uint64
	off   int64
	sum   uint32 // the CRC-32C of that frame
	index int    // frames of the segment up to it
	gen   int
}

// SpoolStats tells what a spool holds.
type SpoolStats struct {
	Events  int    // not acknowledged yet
	Bytes   int64  // the acknowledged that are still kept included
	Dropped uint64 // lost since the start: over the bound, or no disk and no memory
	Damaged uint64 // places and files that could not be read since the start
	Held    int    // bytes that wait in memory for a disk that takes nothing
	Err     error  // why the disk takes nothing; nil when it does
}

// OpenSpool opens the spool and what earlier processes have left in it.
func OpenSpool(cfg SpoolConfig) (*Spool, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultSpoolSize
	}
	cfg.MaxBytes = max(cfg.MaxBytes, MinSpoolSize)
	s := &Spool{
		cfg: cfg, producer: event.Key{Sentry: cfg.Sentry, Boot: cfg.Boot}.Producer(),
		segmentMax: min(maxSegment, cfg.MaxBytes/4),
		stop:       make(chan struct{}),
		complain:   newEvery(complainEvery), dropping: newEvery(complainEvery),
		now: time.Now, grown: func() {},
	}
	if err := s.restore(); err != nil {
		return nil, err
	}
	s.worker.Go(s.syncLoop)
	return s, nil
}

// Publish takes the event over and never waits for the broker. When it returns nil the
// event is the kernel's, and survives the death of this process; or the disk takes
// nothing just now (Stats.Err), and it is in memory alone, to be published from there
// or written when the disk takes it: a process that is killed before loses it. An error
// means that the event is not kept (ErrSpoolFull: its counter is used up).
func (s *Spool) Publish(_ context.Context, e event.Event) error {
	data, err := event.Encode(e)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.key = append(s.key[:0], s.producer...)
	s.key = append(s.key, '-')
	s.key = strconv.AppendUint(s.key, s.counter+1, 10)
	s.frame = beginFrame(s.frame[:0], s.now(), e.Subject(), s.key)
	s.frame = append(s.frame, data...)
	endFrame(s.frame)
	s.counter++ // also of one that is dropped now: a gap among the keys tells of it
	return s.append(s.frame)
}

func (s *Spool) append(frame []byte) error {
	if s.held+len(frame) > heldMax {
		s.dropped++
		return fmt.Errorf("%w: %w", ErrSpoolFull, s.err)
	}
	s.makeRoom(int64(len(frame)))
	seg := s.tail(len(frame))
	before := len(seg.buf)
	if err := seg.append(frame); err != nil {
		s.err = err // the sync loop tells of it and tries again
	}
	s.held += len(seg.buf) - before
	crashpoint.At("spool append")
	s.grown()
	return nil
}

// tail is the segment that a frame of n bytes goes to.
func (s *Spool) tail(n int) *segment {
	if len(s.segments) > 0 {
		seg := s.segments[len(s.segments)-1]
		if seg.producer == s.producer && !seg.suspect && seg.size+int64(n) <= s.segmentMax && len(seg.buf) < heldSegment {
			return seg
		}
	}
	seg := &segment{appendFile: appendFile{path: segmentPath(s.cfg.Dir, s.nextSeq)}, seq: s.nextSeq, producer: s.producer}
	s.nextSeq++
	s.dirty = true
	s.segments = append(s.segments, seg)
	return seg
}

// Stats may be called at any time.
func (s *Spool) Stats() SpoolStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := SpoolStats{Dropped: s.dropped, Damaged: s.damaged, Held: s.held, Err: s.err}
	for _, seg := range s.segments {
		st.Events += seg.frames - seg.settled
		st.Bytes += seg.size
	}
	return st
}

// close syncs and closes the files. Unacknowledged frames that the disk does not
// take even now are an error.
func (s *Spool) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.worker.Wait()
	err := s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := 0
	for _, seg := range s.segments {
		if len(seg.buf) > 0 {
			lost += min(framesIn(seg.buf), seg.frames-seg.settled)
		}
		err = errors.Join(err, seg.close())
	}
	s.reader.closeFile()
	err = errors.Join(err, s.ackFile.Close())
	if lost > 0 {
		return fmt.Errorf("%d events are lost, the disk takes nothing: %w", lost, err)
	}
	if err != nil { // what is at stake is acknowledged, or written and not fsynced
		s.cfg.Log.Warn("close the spool", slog.Any("error", err))
	}
	return nil
}

// framesIn counts the frames in b, the rest of one that was cut included.
func framesIn(b []byte) (n int) {
	for len(b) > 0 {
		_, start, end, ok := nextFrame(b)
		if n++; !ok {
			return n
		}
		if start > 0 {
			n++
		}
		b = b[end:]
	}
	return n
}

// restore reads what earlier processes have left.
func (s *Spool) restore() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	entries, err := os.ReadDir(s.cfg.Dir) // sorted by name
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := s.openAcked(); err != nil {
		return err
	}
	s.nextSeq = s.acked.seq + 1
	s.reader.moveTo(s.acked.seq)
	for _, entry := range entries {
		path := filepath.Join(s.cfg.Dir, entry.Name())
		seq, ok := segmentSeq(entry.Name())
		switch {
		case filepath.Ext(path) == ".tmp":
			os.Remove(path)
		case ok:
			if err := s.load(path, seq); err != nil {
				return err
			}
		}
	}
	if n := s.Stats().Events; n > 0 {
		s.cfg.Log.Info("events in the spool from before", slog.Int("events", n), slog.String("dir", s.cfg.Dir))
	}
	return nil
}

func (s *Spool) load(path string, seq uint64) error {
	s.nextSeq = max(s.nextSeq, seq+1)
	seg, torn, err := loadSegment(path, seq, s.acked)
	if passing(err) {
		return err
	}
	if err != nil {
		s.setAside(path, err)
		return nil
	}
	if seq < s.acked.seq {
		seg.settled, seg.taken = seg.frames, seg.frames
	}
	if torn > 0 {
		s.cfg.Log.Warn("the end of a spool segment is torn, as after a power cut: cut it off",
			slog.String("file", path), slog.Int64("bytes", torn), slog.Int("events_before", seg.frames))
	}
	switch {
	case seg.frames == 0:
		os.Remove(path)
		return nil
	case seg.settled == seg.frames: // for a broker that comes back without it
		seg.settledAt = time.Now()
	}
	if seq == s.acked.seq && seg.settled > 0 {
		s.acked.index = seg.settled
		s.reader = spoolReader{seq: seq, off: s.acked.off, index: seg.settled}
	}
	s.segments = append(s.segments, seg)
	crashpoint.At("spool load")
	return nil
}
