package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/crashpoint"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// defaultSize limits the spool on disk, in bytes: at the 700 bytes of a mean frame
	// 1.5 million events, 16 hours of 26 events/s.
	defaultSize = 1 << 30
	// MinSize holds a few of the largest events.
	MinSize = 8 << 20
	// maxHeld limits what waits in memory while writes fail, in bytes; some 12 000
	// events. Further events are dropped.
	maxHeld = 8 << 20
	// maxSegmentHeld is when a segment with held data ends, in bytes, so that what is
	// acknowledged can leave the memory.
	maxSegmentHeld = 1 << 20
	// logPeriod limits log lines about an ongoing problem.
	logPeriod = 5 * time.Second
)

// errFull is the error of an event that is dropped because writes fail and the memory
// is full.
var errFull = errors.New("the spool cannot be written and its memory is full")

// Config describes a spool.
type Config struct {
	// Dir is the spool's own directory, created if it is missing. Only one process at a
	// time may use it.
	Dir string
	// Sentry and Boot are in the key of every event of this process. Counters begin at
	// 1, so the pair must never have been used before.
	Sentry string
	Boot   uint64
	// MaxBytes limits the spool on disk; 0 means 1 GiB, and less than MinSize means
	// MinSize.
	MaxBytes int64
	Log      *slog.Logger
}

// Spool keeps events on disk until they have been acknowledged. What Publish has
// accepted survives the death of the process, unless writes failed.
//
// Publish and Stats may be called from any goroutine; Take, Ack, Keep and Rewind from the
// publisher's, and Close once no other call is under way. A goroutine of the spool's
// own fsyncs and removes segments. One lock guards everything; under it only the logger's
// and its limiter's are taken.
type Spool struct {
	cfg        Config
	producer   string // the beginning of every key of this process
	segmentMax int64
	added      chan struct{}
	stop       chan struct{}
	worker     sync.WaitGroup
	acks       *ackFile // the sync loop's

	mu       sync.Mutex
	segments []*segment // oldest first; frames are appended to the last
	nextSeq  uint64
	dirty    bool // names in the directory have changed since it was fsynced
	counter  uint64
	frame    []byte // reused
	reader   reader
	taken    []position // what Take has returned and is not acknowledged, in order
	acked    ackRecord
	ackedAt  time.Time // when the last acknowledgement came
	// stored is up to where consumers have stored the events, which are not needed any more;
	// next is the position that they are known to reach next, and newest the one after that.
	stored       position
	next, newest receipt
	keep         time.Duration // how long acknowledged segments are kept
	held         int           // bytes of frames that wait in memory
	err          error         // of the last write; nil when it succeeded
	closed       bool
	// previous is the key of the newest event that an earlier process has left.
	previous string
	dropped  uint64
	dropLog  *loglimit.Limiter
	damaged  uint64
}

// Stats describes what a spool holds.
type Stats struct {
	Events  int    // not acknowledged yet
	Bytes   int64  // including acknowledged segments that are still kept
	Dropped uint64 // lost since the start: over the size limit, or neither disk nor memory
	Damaged uint64 // places and files that could not be read since the start
	Held    int    // bytes that wait in memory because writes fail
	Err     error  // why writes fail; nil when they do not
}

// Open opens the spool, with the events that earlier processes have left in it. Close
// it.
func Open(cfg Config) (*Spool, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultSize
	}
	cfg.MaxBytes = max(cfg.MaxBytes, MinSize)
	s := &Spool{
		cfg: cfg, producer: event.Key{Sentry: cfg.Sentry, Boot: cfg.Boot}.Producer(),
		segmentMax: min(maxSegment, cfg.MaxBytes/4),
		added:      make(chan struct{}, 1),
		stop:       make(chan struct{}),
		keep:       keepAcked,
		dropLog:    loglimit.Every(logPeriod),
	}
	if err := s.restore(); err != nil {
		return nil, err
	}
	s.worker.Go(s.syncLoop)
	return s, nil
}

// PreviousBootEnd is the key of the newest event that an earlier process has left; empty when
// there is none. The newest segment stays, acknowledged or not, so that it has that event unless
// the file was damaged or lost.
func (s *Spool) PreviousBootEnd() string { return s.previous }

// Publish accepts the event and never waits for the broker. When it returns nil the
// event is in the page cache and survives the death of this process; or writes fail
// just now (Stats.Err) and it is in memory alone, from where it is published or written
// later: a process that is killed before that loses it. An error means that the event
// is not kept: it is invalid, or neither disk nor memory has room for it. In that last
// case its counter is used up, and consumers see a gap.
func (s *Spool) Publish(_ context.Context, e event.Event) error {
	data, err := event.Encode(e)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("publish to the spool: %w", os.ErrClosed)
	}
	s.counter++
	key := event.Key{Sentry: s.cfg.Sentry, Boot: s.cfg.Boot, Counter: s.counter}.String()
	s.frame = appendFrame(s.frame[:0], event.Encoded{Subject: e.Subject(), Key: key, Time: time.Now(), Data: data})
	return s.append(s.frame)
}

func (s *Spool) append(frame []byte) error {
	s.freeMemory(len(frame))
	if s.held+len(frame) > maxHeld {
		s.dropped++
		return fmt.Errorf("%w: %w", errFull, s.err)
	}
	s.makeRoom(int64(len(frame)))
	seg := s.lastSegment(len(frame))
	before := seg.held()
	if err := seg.append(frame); err != nil {
		s.err = err // the sync loop logs it and tries again
	}
	s.held += seg.held() - before
	crashpoint.At("spool append")
	select {
	case s.added <- struct{}{}:
	default:
	}
	return nil
}

// Added receives a value after events have been added.
func (s *Spool) Added() <-chan struct{} { return s.added }

// lastSegment is the segment that a frame of n bytes goes to: never one behind the reader,
// which is where the last one is when a newer one could not be read.
func (s *Spool) lastSegment(n int) *segment {
	if len(s.segments) > 0 {
		seg := s.segments[len(s.segments)-1]
		if seg.seq >= s.reader.seq && seg.producer == s.producer && !seg.fsyncFailed && seg.size+int64(n) <= s.segmentMax && seg.held() < maxSegmentHeld {
			return seg
		}
	}
	seg := newSegment(segmentPath(s.cfg.Dir, s.nextSeq), s.nextSeq, s.producer)
	s.nextSeq++
	s.dirty = true
	s.segments = append(s.segments, seg)
	return seg
}

// Stats may be called at any time.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Dropped: s.dropped, Damaged: s.damaged, Held: s.held, Err: s.err}
	for _, seg := range s.segments {
		st.Events += seg.frames - seg.acked
		st.Bytes += seg.size
	}
	return st
}

// Close writes and fsyncs what is left and closes the files. Unacknowledged events
// that cannot be written even now are an error. Closing it again does nothing.
func (s *Spool) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	close(s.stop)
	s.worker.Wait()
	err := s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := 0
	for _, seg := range s.segments {
		if held := seg.file.Held(); len(held) > 0 {
			lost += min(countFrames(held), seg.frames-seg.acked)
		}
		err = errors.Join(err, seg.file.Close())
	}
	s.reader.closeFile()
	err = errors.Join(err, s.acks.file.Close())
	if lost > 0 {
		return fmt.Errorf("%d events are lost, the spool cannot be written: %w", lost, err)
	}
	if err != nil { // what it is about is acknowledged, or written and not fsynced
		s.cfg.Log.Warn("close the spool", slog.Any("error", err))
	}
	return nil
}
