package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/tracker"
)

// CatchUp brings a tracker up to date with the datasets: segments that were committed without
// it, as when the process died in between, are read again. An empty tracker is filled
// from all segments, which can take minutes. No consumer may run with w.
func CatchUp(ctx context.Context, w *dataset.Writer, t *tracker.Tracker, log *slog.Logger) error {
	if w.Segment() == 0 {
		return nil
	}
	newest, first := w.Segment()-1, uint64(0)
	if applied, ok := t.Applied(); ok {
		if applied == newest {
			return nil
		}
		if applied > newest {
			return fmt.Errorf("%w: it has segment %d, the datasets end with %d", tracker.ErrDamaged, applied, newest)
		}
		first = applied + 1
	}
	start, events := time.Now(), 0
	err := dataset.EventsAfter(ctx, w.Dir(), first, func(e event.Event) error {
		t.Add(e)
		events++
		return nil
	})
	if errors.Is(err, dataset.ErrSplit) {
		return fmt.Errorf("%w: %w", tracker.ErrDamaged, err)
	}
	if err = withoutDamaged(err, log); err == nil {
		err = withoutDamaged(addTotals(ctx, w.Dir(), t, t.LastHour()+1, nil), log)
	}
	if err == nil {
		t.Apply(newest)
		err = t.Write(ctx)
	}
	if err != nil {
		t.Drop()
		return err
	}
	if events > 0 {
		log.Info("the tracker has caught up with the datasets", slog.Int("events", events), slog.Uint64("from_segment", first), slog.Duration("took", time.Since(start)))
	}
	return nil
}

// withoutDamaged goes on without the rows of damaged parts: nobody can read them.
func withoutDamaged(err error, log *slog.Logger) error {
	if errors.Is(err, dataset.ErrDamaged) {
		log.Error("the tracker lacks the events of damaged parts: restore those and run 'valtrack rebuild'", slog.Any("error", err))
		return nil
	}
	return err
}

// addTotals sums the hours from a time on that the tracker does not have.
func addTotals(ctx context.Context, dir string, t *tracker.Tracker, from int64, has map[int64]bool) error {
	type hour struct {
		at      int64
		active  uint64
		balance float64 // 0 where it is not known
	}
	hours := map[hour]tracker.Sums{}
	err := dataset.Scan(ctx, dir, dataset.Range{From: from}, func(r dataset.EstimateRow) error {
		if has[r.Timestamp] {
			return nil
		}
		h := hour{r.Timestamp, uint64(r.ActiveValidators), orZero(r.MeanBalance)}
		if hours[h] == nil {
			hours[h] = tracker.Sums{}
		}
		hours[h].Add(eth2.ClientKind(r.Client), estimate.Estimate{
			Low: r.ValidatorsLow, Mean: r.ValidatorsMean, Variance: r.ValidatorsSD * r.ValidatorsSD, Shared: orZero(r.ValidatorsShared), Hidden: orZero(r.ValidatorsHidden), PValidator: r.PValidator,
		}, weightOf(r))
		return nil
	})
	byTime := slices.SortedFunc(maps.Keys(hours), func(a, b hour) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.active, b.active), cmp.Compare(a.balance, b.balance))
	})
	for _, h := range byTime {
		t.AddTotals(h.at, h.active, h.balance, hours[h])
	}
	return err
}

// orZero is 0 for null.
func orZero(v *float64) float64 {
	if v == nil {
		return 0
	}
	return *v
}

// weightOf is a row's weight; rows of earlier versions have none.
func weightOf(r dataset.EstimateRow) float64 {
	if r.Weight == nil {
		return 1
	}
	return *r.Weight
}

// appendEstimates appends the rows of an hour that has begun to the open segment.
func (in *ingest) appendEstimates() error {
	t := in.Tracker()
	if t == nil {
		return nil
	}
	for _, p := range t.Hour() {
		if err := dataset.Append(in.writer, estimateRow(p)); err != nil {
			return err
		}
	}
	return nil
}

// trackerHold is the name of the tracker's hold on compaction.
const trackerHold = "tracker"

// trackerSink keeps a tracker up to the datasets.
type trackerSink struct {
	tracker *tracker.Tracker
	writer  *dataset.Writer
	log     *slog.Logger
	failed  func(error) // is told how each write went

	writeEvery time.Duration
	written    time.Time // when the tracker was, or that failed, or Run began
}

func newTrackerSink(c *Consumer, t *tracker.Tracker) *trackerSink {
	return &trackerSink{tracker: t, writer: c.writer, log: c.log, failed: func(err error) { c.count(func(s *Stats) { s.Estimates = err }) }, writeEvery: c.writeEvery, written: time.Now()}
}

// Add implements sink.
func (t *trackerSink) Add(e event.Event, sentry string) {
	t.tracker.Add(e)
	t.tracker.Named(event.CommonOf(e).CrawlerID, sentry)
}

// Drop implements sink.
func (t *trackerSink) Drop() { t.tracker.Drop() }

// Commit implements sink. The segment is safe if it is not written here: it is then
// written with a later one, or when the tracker is closed, or read again after a start.
func (t *trackerSink) Commit(s segment) {
	t.tracker.Apply(s.number)
	if s.last || s.full && time.Since(t.written) < t.writeEvery {
		return
	}
	// The commit is done: a stop must not separate the two.
	err := t.tracker.Write(context.Background())
	t.failed(err)
	t.written = time.Now()
	if err != nil {
		t.log.Error("cannot write the tracker's database, will retry with the next segment", slog.Any("error", err))
		return
	}
	t.writer.HoldCompactionFrom(trackerHold, s.number+1)
}

func estimateRow(p tracker.PeerEstimate) dataset.EstimateRow {
	e := p.Estimate
	row := dataset.EstimateRow{
		ID: p.ID, Client: string(p.Client.Kind), ClientRelease: known(p.Client.Release()),
		Validators: int64(e.Median), ValidatorsLow: e.Low, ValidatorsHigh: e.High, ValidatorsMean: e.Mean, ValidatorsSD: math.Sqrt(e.Variance),
		ValidatorsShared: &e.Shared, ValidatorsHidden: &e.Hidden, Trust: new(e.Trust.String()), Flags: e.Flags.Names(),
		PValidator: e.PValidator, CustodyGroupCount: p.CustodyGroupCount, AllSubnets: e.AllSubnets, Observations: int64(p.Observations), EpochsWatched: e.EpochsWatched,
		Weight: &p.Weight, LastSeen: p.LastSeen, ActiveValidators: int64(p.Params.ActiveValidators),
		Common: dataset.Common{Network: p.Crawler.Network, CrawlerID: p.Crawler.CrawlerID, CrawlerLocation: p.Crawler.CrawlerLocation, Timestamp: p.Hour},
	}
	if e.Stake.Known {
		row.StakeETH, row.StakeLow, row.StakeHigh, row.StakeMean = &e.Stake.Median, &e.Stake.Low, &e.Stake.High, &e.Stake.Mean
		row.MeanBalance = &p.Params.Balance.Mean
	}
	if p.NodeID != nil {
		id := p.NodeID.String()
		row.NodeID = &id
	}
	row.SetPlace(p.Place)
	return row
}
