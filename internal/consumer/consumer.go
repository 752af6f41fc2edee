// Package consumer stores events in datasets: it decodes the messages of a
// subscription, drops those stored already, derives what a handshake tells of
// validators, and appends the rows to segments. JetStream is the write-ahead log:
// a message is acknowledged only after its segment is on the disk.
package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Defaults of Config.
const (
	// DefaultSegmentRows makes parts in which the dictionaries pay: 24 bytes a row
	// where parts of 10 000 rows take 170.
	DefaultSegmentRows = 250_000
	// DefaultSegmentAge is how old an observation gets before readers see it.
	DefaultSegmentAge = time.Minute
	// DefaultCompactEvery is the time whose parts are merged first.
	DefaultCompactEvery = time.Hour
)

// Bounds of Config: every message of a segment waits for it in memory and in the
// broker.
const (
	maxSegmentRows = 2_000_000
	maxSegmentAge  = time.Hour
)

const (
	// commitMargin is the least time between a segment's age and AckWait: the
	// commit itself has to fit in.
	commitMargin = 10 * time.Second
	// retryMin and retryMax bound the pause after the dataset could not be
	// written; it doubles in between.
	retryMin, retryMax = time.Second, time.Minute
	// writeEvery is how often the tracker is written while segments fill up before their
	// time: a backlog. A crash then costs reading so much from the datasets, in a second
	// or two, and each write costs as much as the events of a second.
	writeEvery = 10 * time.Second
)

// Config of a consumer.
type Config struct {
	// SegmentRows is at how many events a segment is committed, SegmentAge at what
	// age of its first. Zero is the default.
	SegmentRows int
	SegmentAge  time.Duration
	// CompactEvery is the time whose parts are merged into one when it has passed;
	// those of 24 of it are merged again. Zero is the default, below it is never.
	CompactEvery time.Duration
	// Retention is the age at which parts are removed; zero keeps them for ever.
	Retention time.Duration
	// Tracker, unless it is nil, has every event of a committed segment, once; it is
	// the consumer's from New on, until Run has returned.
	Tracker *tracker.Tracker
	Log     *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.SegmentRows == 0 {
		c.SegmentRows = DefaultSegmentRows
	}
	if c.SegmentAge == 0 {
		c.SegmentAge = DefaultSegmentAge
	}
	if c.CompactEvery == 0 {
		c.CompactEvery = DefaultCompactEvery
	}
	return c
}

// Check tells whether the settings, and those of the subscription that follow from
// them, fit each other.
func (c Config) Check() error {
	c = c.withDefaults()
	switch {
	case c.SegmentRows < 1 || c.SegmentRows > maxSegmentRows:
		return fmt.Errorf("segments of %d rows: want 1 to %d; up to %d unacknowledged messages stand in memory and in the broker", c.SegmentRows, maxSegmentRows, c.MaxAckPending())
	case c.SegmentAge <= 0 || c.SegmentAge > maxSegmentAge:
		return fmt.Errorf("segments of %v: want a time above zero, such as 1m, up to %v; messages wait %v for their acknowledgement", c.SegmentAge, maxSegmentAge, c.AckWait())
	case c.CompactEvery > 0 && c.CompactEvery < c.SegmentAge:
		return fmt.Errorf("merging the parts of each %v: want at least the age of a segment, %v", c.CompactEvery, c.SegmentAge)
	case c.Retention < 0 || c.Retention > 0 && c.Retention < c.CompactEvery:
		return fmt.Errorf("retention %v: want 0, or at least %v, whose parts are merged", c.Retention, c.CompactEvery)
	}
	return nil
}

// AckWait is the subscription's AckWait that fits the segments: a message must
// not come again while it waits for its commit.
func (c Config) AckWait() time.Duration { return 2*c.withDefaults().SegmentAge + 3*commitMargin }

// MaxAckPending is the subscription's MaxAckPending that fits the segments: the
// next one must be able to fill while the acks of the last are under way.
func (c Config) MaxAckPending() int { return 2 * c.withDefaults().SegmentRows }

// Source delivers messages; *bus.Subscription is one.
type Source interface {
	// Run hands messages to handle, one after another, until ctx ends; then it
	// returns nil as soon as handle has had what was received. Once Run has
	// returned, handle is not running and is not called again. The context that it
	// has ends as soon as Run is to end for any reason.
	Run(ctx context.Context, handle func(context.Context, bus.Message)) error
	// AckWait is after what time an unanswered message comes again.
	AckWait() time.Duration
}

// Stats counts messages since the consumer was made.
type Stats struct {
	Stored     uint64 // events in committed segments
	Rejected   uint64 // events that are invalid
	Duplicates uint64 // messages of events that were there already
	Pending    int    // messages that wait for their segment's commit
	Segments   uint64 // segments committed
	Failures   uint64 // segments that could not be written
	Merged     uint64 // parts merged into others
	Removed    uint64 // parts removed for their age
	// Missing counts, by sentry, the events that are neither stored nor rejected but
	// were numbered before others that are. It is not to be changed.
	Missing map[string]uint64
	// Covered counts, by sentry, the events that are stored or were removed for their
	// age, those of earlier runs too. It is not to be changed.
	Covered map[string]uint64
	// Behind counts the messages in the stream behind the last one received.
	Behind     uint64
	LastCommit time.Time // zero before the first
	// Err is why nothing can be written just now; nil when all is well.
	Err error
}

// Consumer stores the events of one source in one data directory.
type Consumer struct {
	cfg      Config
	source   Source
	log      *slog.Logger
	writer   *dataset.Writer
	rejected *rejectedFile
	// Of a test, or those above.
	retryMin, writeEvery time.Duration

	mu    sync.Mutex
	stats Stats
}

// New makes a consumer that writes with w, whose directory is then its own until
// Run closes w; after an error of New closing it is the caller's. It refuses a
// source whose AckWait is too short for the segments.
func New(cfg Config, w *dataset.Writer, source Source) (*Consumer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if wait := source.AckWait(); wait < cfg.SegmentAge+commitMargin {
		return nil, fmt.Errorf("ack wait %v is too short for segments of %v: want at least %v", wait, cfg.SegmentAge, cfg.SegmentAge+commitMargin)
	}
	rejected, err := openRejected(w.Dir(), cfg.Log)
	if err != nil {
		return nil, err
	}
	c := &Consumer{cfg: cfg, source: source, log: cfg.Log, writer: w, rejected: rejected, retryMin: retryMin, writeEvery: writeEvery}
	c.tell(&c.stats)
	return c, nil
}

// tell sets what the keys tell of sentries.
func (c *Consumer) tell(s *Stats) {
	covered := c.writer.Covered()
	s.Missing, s.Covered = covered.Missing(c.rejected.keys), covered.Counted()
}

// Run consumes until ctx ends, then commits and acknowledges what it has and
// returns nil. While the data directory cannot be written it acknowledges
// nothing, says so and tries again; when that is so at the end, the last events
// stay in the stream, which is no error. It returns one when the source fails, and
// stores nothing more when that says bus.ErrTaken. Run may be called once.
func (c *Consumer) Run(ctx context.Context) error {
	if c.cfg.Tracker != nil {
		if err := CatchUp(ctx, c.writer, c.cfg.Tracker, c.log); err != nil {
			return errors.Join(err, c.rejected.Close(), c.writer.Close())
		}
		c.writer.HoldCompactionFrom(c.writer.Segment()) // until the tracker has them too
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		in := newIngest(c)
		err := c.source.Run(ctx, in.handle)
		in.finish(errors.Is(err, bus.ErrTaken))
		return err
	})
	g.Go(func() error {
		c.maintain(ctx)
		return nil
	})
	return errors.Join(g.Wait(), c.rejected.Close(), c.writer.Close())
}

// Stats may be called at any time.
func (c *Consumer) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

func (c *Consumer) count(update func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	update(&c.stats)
}
