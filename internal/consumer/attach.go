package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/chainbound/valtrack/internal/loglimit"
	"github.com/chainbound/valtrack/internal/tracker"
)

// attachLogEvery limits the log of attempts to open the tracker.
const attachLogEvery = 10 * time.Minute

// errStopping ends an attempt to attach a tracker.
var errStopping = errors.New("the consumer is stopping")

// attachTracker opens the tracker that could not be opened at the start, as when another
// program had locked its database, and brings it up to the datasets. It tries until that
// succeeds or ctx ends. Events are stored meanwhile.
func (in *ingest) attachTracker(ctx context.Context) {
	limit := loglimit.Every(attachLogEvery)
	ticker := time.NewTicker(in.attachEvery)
	defer ticker.Stop()
	for err := in.cfg.NoTracker; err != nil; err = in.tryAttach(ctx) {
		if ctx.Err() != nil {
			return
		}
		if tracker.NeedsPerson(err) {
			in.giveUpTracker(err)
			return
		}
		in.count(func(s *Stats) {
			s.Estimates = fmt.Errorf("storing events without estimates, retrying every %v: %w", in.attachEvery, err)
		})
		if limit.Allow() {
			in.log.Error("storing events without estimates, will retry", slog.Duration("every", in.attachEvery), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
	in.count(func(s *Stats) { s.Estimates = nil })
}

// giveUpTracker leaves the tracker to a rebuild, which reads all segments, merged or not.
func (in *ingest) giveUpTracker(err error) {
	in.writer.HoldCompactionFrom(trackerHold, math.MaxUint64)
	in.count(func(s *Stats) {
		s.Estimates = fmt.Errorf("none are made until the database is rebuilt and the consumer is restarted: %w", err)
	})
	in.log.Error("storing events without estimates until a restart", slog.Any("error", err))
}

func (in *ingest) tryAttach(ctx context.Context) error {
	t, err := in.cfg.OpenTracker(ctx)
	if err != nil || t == nil {
		return err
	}
	if err := in.attach(ctx, t); err != nil {
		return errors.Join(err, t.Abandon())
	}
	in.log.Info("the tracker has caught up with the datasets: estimates resume")
	return nil
}

// attach brings a tracker up to the datasets and has it follow them. Ingest waits: nothing
// may be committed meanwhile.
func (in *ingest) attach(ctx context.Context, t *tracker.Tracker) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.blocked == nil && !in.stopping {
		in.commit() // the tracker gets an open segment from its beginning
	}
	switch {
	case in.blocked != nil:
		return in.blocked
	case in.stopping:
		return errStopping
	}
	if err := CatchUp(ctx, in.writer, t, in.log); err != nil {
		return err
	}
	in.follow(t)
	return nil
}

// follow has a tracker that is up to date with the datasets follow them.
func (in *ingest) follow(t *tracker.Tracker) {
	in.writer.HoldCompactionFrom(trackerHold, in.writer.Segment()) // it does not have later ones yet
	in.sinks = append(in.sinks, newTrackerSink(in.Consumer, t))
	in.tracker.Store(t)
}
