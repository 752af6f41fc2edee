package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/tracker"
)

// CatchUpByHour is CatchUp for an empty tracker that also makes the rows of peer_estimates, and
// the totals, of past hours that have handshakes and no rows: as a consumer would have made
// them, from the events before the hour. Where there are none before, as in the first hour, it
// takes the hour's own. The active validators are the tracker's: those of then are not known.
// It returns how many hours it has made.
func CatchUpByHour(ctx context.Context, w *dataset.Writer, t *tracker.Tracker, log *slog.Logger) (made int, err error) {
	every := t.EstimateEvery().Milliseconds()
	hours, err := hoursWithout(ctx, w.Dir(), every)
	if err = withoutDamaged(err, log); err != nil {
		return 0, err
	}
	if len(hours) == 0 {
		return 0, CatchUp(ctx, w, t, log)
	}
	log.Info("estimating past hours from the stored events", slog.Int("hours", len(hours)), slog.Time("first", time.UnixMilli(hours[0]).UTC()), slog.Time("last", time.UnixMilli(hours[len(hours)-1]).UTC()))
	r := replayed{w: w, t: t, log: log, made: map[int64]bool{}}
	defer t.AsOf(time.Time{})
	for i, hour := range hours {
		if err := r.estimate(ctx, hour, every); err != nil {
			return len(r.made), fmt.Errorf("estimate the hour of %s: %w", time.UnixMilli(hour).UTC().Format(time.RFC3339), err)
		}
		if done := i + 1; done%24 == 0 {
			log.Info("estimated past hours", slog.Int("hours", done), slog.Int("of", len(hours)))
		}
	}
	if err := r.rest(ctx); err != nil {
		t.Drop()
		return len(r.made), err
	}
	log.Info("the tracker has caught up with the datasets", slog.Int("events", r.events), slog.Int("estimated_hours", len(r.made)))
	return len(r.made), nil
}

// hoursWithout are the hours with handshakes and no rows of peer_estimates, oldest first.
func hoursWithout(ctx context.Context, dir string, every int64) ([]int64, error) {
	newest, any, err := dataset.Newest(dir)
	if err != nil || !any {
		return nil, err
	}
	hours := map[int64]bool{}
	if err := dataset.Handshakes(ctx, dir, newest, func(_ string, at int64) { hours[at/every*every] = true }); err != nil {
		return nil, err
	}
	err = dataset.Scan(ctx, dir, dataset.Range{}, func(r dataset.EstimateRow) error {
		delete(hours, r.Timestamp/every*every)
		return nil
	})
	return slices.Sorted(maps.Keys(hours)), err
}

// replayed folds stored events up to one hour after the other.
type replayed struct {
	w    *dataset.Writer
	t    *tracker.Tracker
	log  *slog.Logger
	made map[int64]bool

	from   int64 // events before are in; 0 for none
	events int
}

// maxPastRows bounds the rows of a segment of past hours, segmentSpan their time: segments
// are removed as a whole.
const maxPastRows, segmentSpan = 250_000, 24 * time.Hour

// estimate makes the rows of an hour.
func (r *replayed) estimate(ctx context.Context, hour, every int64) error {
	rows, err := r.rows(ctx, hour, hour)
	if err == nil && len(rows) == 0 {
		rows, err = r.rows(ctx, hour+every, hour+every-1)
	}
	if err != nil || len(rows) == 0 {
		return err
	}
	for _, p := range rows {
		if err := dataset.Append(r.w, estimateRow(p)); err != nil {
			return err
		}
	}
	r.t.Apply(r.w.Segment())
	r.made[hour] = true
	if span := segmentSpan.Milliseconds(); r.w.Rows() >= maxPastRows || hour/span != (hour+every)/span {
		return r.w.Commit(dataset.Coverage{})
	}
	return nil
}

// rows folds the events before a time and returns the estimates as of a time.
func (r *replayed) rows(ctx context.Context, before, at int64) ([]tracker.PeerEstimate, error) {
	r.t.AsOf(time.UnixMilli(at))
	if err := r.fold(ctx, before); err != nil {
		return nil, err
	}
	r.t.Apply(r.w.Segment())
	return r.t.Hour(), nil
}

// fold adds the events up to a time, 0 for all.
func (r *replayed) fold(ctx context.Context, before int64) error {
	if before > 0 && before <= r.from {
		return nil
	}
	err := dataset.EventsIn(ctx, r.w.Dir(), dataset.Range{From: r.from, To: before}, func(e event.Event) error {
		r.t.Add(e)
		r.events++
		return nil
	})
	r.from = before
	return withoutDamaged(err, r.log)
}

// rest commits the rows, and brings the tracker up to now.
func (r *replayed) rest(ctx context.Context) error {
	if r.w.Rows() > 0 {
		if err := r.w.Commit(dataset.Coverage{}); err != nil {
			return err
		}
	}
	r.t.AsOf(time.Time{})
	if err := r.fold(ctx, 0); err != nil {
		return err
	}
	if err := withoutDamaged(addTotals(ctx, r.w.Dir(), r.t, 0, r.made), r.log); err != nil {
		return err
	}
	r.t.Apply(r.w.Segment() - 1)
	return r.t.Write(ctx)
}
