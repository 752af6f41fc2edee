package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
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

// Bounds of Config: every message of a segment waits for its commit in memory and in the
// broker.
const (
	maxSegmentRows = 2_000_000
	maxSegmentAge  = time.Hour
)

const (
	// commitMargin is the least time between a segment's age and AckWait: the
	// commit itself has to fit in.
	commitMargin = 10 * time.Second
	// retryMin and retryMax bound the pause after a write failed; it doubles from one
	// to the other.
	retryMin, retryMax = time.Second, time.Minute
	// checkEvery is how often the consumer looks whether its data directory is there.
	checkEvery = time.Second
	// writeEvery is how often the tracker is written while segments are committed for
	// their size: a backlog. A crash then costs reading that much from the datasets, a
	// second or two, and each write costs as much as the events of a second.
	writeEvery = 10 * time.Second
	// attachEvery is how often a tracker that could not be opened is tried again.
	attachEvery = 10 * time.Second
)

// Config of a consumer.
type Config struct {
	// SegmentRows is the number of events at which a segment is committed, SegmentAge
	// the age of its first event at which it is. Zero is the default.
	SegmentRows int
	SegmentAge  time.Duration
	// CompactEvery is the span of time whose parts are merged into one when it has
	// passed; those of 24 such spans are merged again. Zero is the default, below zero
	// is never.
	CompactEvery time.Duration
	// Retention is the age at which parts are removed; zero keeps them forever.
	Retention time.Duration
	// Network is the name of the network that the data directory belongs to, and
	// GenesisValidatorsRoot tells it from others of its name. Events of others are rejected;
	// those without a root count by their name alone. Empty stores the events of all.
	Network               string
	GenesisValidatorsRoot eth2.Root
	// OnRoot, unless it is nil, is called with the root of the first event that has one when
	// GenesisValidatorsRoot is zero: that event decides. After an error it is not stored yet.
	OnRoot func(eth2.Root) error
	// Tracker, unless it is nil, gets every event of a committed segment once. Only the
	// consumer may use it from New until Run has returned.
	Tracker *tracker.Tracker
	// NoTracker is why there is no tracker yet although there should be one. OpenTracker is
	// then called until it gives one, or nil when there can be none.
	NoTracker   error
	OpenTracker func(context.Context) (*tracker.Tracker, error)
	// Excluded, unless it is nil, reports whether a message is about an excluded node: e is its
	// event, or nil for data that is none. Such a message is acknowledged and its content
	// is not stored anywhere. It is called by one goroutine at a time.
	Excluded func(e event.Event, data []byte) bool
	// Places, unless it is nil, finds where nodes are.
	Places *geo.Locator
	Log    *slog.Logger
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

// Check reports settings that do not fit each other, or make a subscription that does
// not.
func (c Config) Check() error {
	c = c.withDefaults()
	switch {
	case c.SegmentRows < 1 || c.SegmentRows > maxSegmentRows:
		return fmt.Errorf("segments of %d rows: want 1 to %d; up to %d unacknowledged messages wait in memory and in the broker", c.SegmentRows, maxSegmentRows, c.MaxAckPending())
	case c.SegmentAge <= 0 || c.SegmentAge > maxSegmentAge:
		return fmt.Errorf("segments of %v: want a duration above zero, such as 1m, up to %v; messages wait %v for their acknowledgement", c.SegmentAge, maxSegmentAge, c.AckWait())
	case c.CompactEvery > 0 && c.CompactEvery < c.SegmentAge:
		return fmt.Errorf("merging the parts of each %v: want at least the age of a segment, %v", c.CompactEvery, c.SegmentAge)
	case c.Retention < 0 || c.Retention > 0 && c.Retention < c.CompactEvery:
		return fmt.Errorf("retention %v: want 0, or at least %v, whose parts are merged", c.Retention, c.CompactEvery)
	}
	return nil
}

// AckWait is the subscription's AckWait that fits the segments: a message must not be
// redelivered while it waits for its commit.
func (c Config) AckWait() time.Duration { return 2*c.withDefaults().SegmentAge + 3*commitMargin }

// MaxAckPending is the subscription's MaxAckPending that fits the segments: the
// next one must be able to fill while the acks of the last are under way.
func (c Config) MaxAckPending() int { return 2 * c.withDefaults().SegmentRows }

// Source delivers messages; *bus.Subscription is one.
type Source interface {
	// Run calls handle with one message after another until ctx ends, and returns nil
	// when handle has returned from the last one received. Once Run has returned,
	// handle is not running and is not called again. The context that handle gets ends
	// as soon as Run has to end for any reason.
	Run(ctx context.Context, handle func(context.Context, bus.Message)) error
	// AckWait is the time after which an unanswered message is redelivered.
	AckWait() time.Duration
}

// Stats counts messages since the consumer was made.
type Stats struct {
	Stored   uint64 // events in committed segments
	Rejected uint64 // events that are invalid, or of another network
	// OtherNetwork counts those of another network among Rejected, and NotKept those for
	// which the file of rejected events has no room.
	OtherNetwork, NotKept uint64
	Excluded              uint64    // messages about excluded nodes
	Duplicates            uint64    // messages of events that are stored already
	Conflicts             uint64    // messages with other content than what is stored under their key
	Pending               int       // messages that wait for their segment's commit
	CommitDue             time.Time // when they are committed at the latest, unless Pending is 0 or writes fail
	Segments              uint64    // segments committed
	Failures              uint64    // segments that could not be written
	Merged                uint64    // parts merged into others
	Removed               uint64    // parts removed by retention
	// Missing counts, by sentry, the events that are neither stored nor rejected but
	// were numbered before others that are. Do not change it.
	Missing map[string]uint64
	// Covered counts, by sentry, the events that are stored or were removed by
	// retention, those of earlier runs too. Do not change it.
	Covered map[string]uint64
	// ClockErrors counts, by sentry, the events in committed segments whose clock was known
	// to be off. Do not change it.
	ClockErrors map[string]uint64
	// Places counts handshakes by what is known of their address: known, unknown, or private.
	Places     map[string]uint64
	LastCommit time.Time // zero before the first
	// Err is why writes fail: of the last attempt to commit a segment, nil when that succeeded.
	Err error
	// Estimates is why the tracker lacks what is stored; nil when it does not.
	Estimates error
	// Stopped is why Run has ended although its context has not; nil before.
	Stopped error
}

// Consumer stores the events of one source in one data directory.
type Consumer struct {
	cfg      Config
	source   Source
	log      *slog.Logger
	writer   *dataset.Writer
	rejected *rejectedFile
	sentries sentryNames
	places   placeCounts
	// The constants above, except in tests.
	retryMin, writeEvery, attachEvery time.Duration

	tracker atomic.Pointer[tracker.Tracker]

	mu    sync.Mutex
	stats Stats
}

// New makes a consumer that writes with w. Run closes w; after an error of New the
// caller does. New refuses a source whose AckWait is too short for the segments.
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
	c := &Consumer{cfg: cfg, source: source, log: cfg.Log, writer: w, rejected: rejected, sentries: sentryNames{}, retryMin: retryMin, writeEvery: writeEvery, attachEvery: attachEvery}
	c.tracker.Store(cfg.Tracker)
	c.updateCoverageStats(&c.stats)
	c.stats.Estimates = cfg.NoTracker
	return c, nil
}

// updateCoverageStats sets the counts by sentry.
func (c *Consumer) updateCoverageStats(s *Stats) {
	covered := c.writer.Covered()
	s.Covered = c.sentries.bound(covered.Counted()) // first: those with events are named
	s.Missing = c.sentries.bound(covered.Missing(c.rejected.keys))
}

// Run consumes until ctx ends, then commits and acknowledges what it has and
// returns nil. While writes to the data directory fail it acknowledges nothing, logs
// that and tries again; when they fail at the end, the last events stay in the stream,
// which is no error. It returns an error when the source fails, and stores nothing
// more when that is bus.ErrTaken; and when the data directory was moved or removed. Run may
// be called once.
func (c *Consumer) Run(ctx context.Context) error {
	err := c.run(ctx)
	if err != nil {
		c.count(func(s *Stats) { s.Stopped = err })
	}
	return err
}

func (c *Consumer) run(ctx context.Context) error {
	in := newIngest(c)
	if t := c.cfg.Tracker; t != nil {
		if err := CatchUp(ctx, c.writer, t, c.log); err != nil {
			return errors.Join(err, c.rejected.Close(), c.writer.Close())
		}
		in.follow(t)
	}
	g, ctx := errgroup.WithContext(ctx)
	if c.cfg.NoTracker != nil {
		c.writer.HoldCompactionFrom(trackerHold, 0) // which segments it lacks is not known
		g.Go(func() error {
			in.attachTracker(ctx)
			return nil
		})
	}
	g.Go(func() error {
		err := c.source.Run(ctx, in.handle)
		in.finish(errors.Is(err, bus.ErrTaken))
		return err
	})
	g.Go(func() error {
		c.maintain(ctx)
		return nil
	})
	g.Go(func() error { return c.watchDirectory(ctx) })
	return errors.Join(g.Wait(), c.rejected.Close(), c.writer.Close())
}

// watchDirectory returns an error when the data directory has gone, nil when ctx has ended.
func (c *Consumer) watchDirectory(ctx context.Context) error {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := c.writer.Check(); err != nil {
				return err
			}
		}
	}
}

// Tracker is the tracker that the consumer keeps up to the datasets; nil while there is none.
// Only its State and SetActiveValidators may be used until Run has returned.
func (c *Consumer) Tracker() *tracker.Tracker { return c.tracker.Load() }

// Stats may be called at any time.
func (c *Consumer) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Places = c.places.byResult()
	return s
}

func (c *Consumer) count(update func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	update(&c.stats)
}
