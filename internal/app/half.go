package app

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/dataset"
)

// Bounds of the pause before the consumer's half of a run is opened again; it doubles from
// one to the other.
const reopenMin, reopenMax = 2 * time.Second, time.Minute

// half is the consumer's half of a Pipeline.
type half struct {
	datasets *datasets
	storage  *storage
	cleanups
}

// openHalf opens the consumer's half: the durable first, then what its owner writes. The lock
// is the half's from then on, even when it fails.
func (p *Pipeline) openHalf(ctx context.Context, lock *dataset.Lock) (err error) {
	h := &half{}
	defer func() {
		if err != nil {
			h.cleanUp()
		}
	}()
	h.add(func() { lock.Close() }) // if no writer has
	durable, err := durableName(p.cfg)
	if err != nil {
		return err
	}
	sub, err := subscribe(ctx, p.cfg, durable, p.broker.conn, p.svc)
	if err != nil {
		return err
	}
	h.add(sub.Close)
	if h.datasets, err = openDatasets(lock, p.places, p.svc); err != nil {
		return err
	}
	h.add(h.datasets.close)
	if err := h.datasets.addColumns(ctx, p.svc); err != nil {
		return err
	}
	if err := h.datasets.openTracker(ctx, newEstimates(p.cfg.Estimates, p.cfg.DataDir, p.cfg.Network, p.log)); err != nil {
		return err
	}
	if h.storage, err = openStorage(p.cfg, sub, sub, h.datasets, p.broker, p.svc); err != nil {
		return err
	}
	if err := h.datasets.openCopy(p.cfg.ClickHouse, durable, p.svc); err != nil {
		return err
	}
	p.half = h
	p.storage.Store(h.storage)
	return nil
}

func (p *Pipeline) closeHalf() {
	if p.half != nil {
		p.half.cleanUp()
		p.half = nil
	}
}

// run stores events until ctx ends, or the consumer has to stop.
func (h *half) run(ctx context.Context) error {
	following, stop := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return h.datasets.estimates.follow(following, h.datasets.currentTracker) })
	g.Go(func() error { return h.storage.runMirror(following) })
	g.Go(func() error { return h.datasets.runCopy(following) })
	g.Go(func() error { h.storage.exclude.Follow(following, h.storage.log); return nil })
	g.Go(func() error {
		defer stop()
		return h.storage.consumer.Run(ctx)
	})
	return g.Wait()
}

// store runs the consumer's half until ctx ends. When the half has to stop it is opened again
// as soon as that is possible: when another process has given up the durable or the data
// directory, or somebody has repaired what the log names. The error is why it does not run at
// the end.
func (p *Pipeline) store(ctx context.Context) error {
	for {
		err := p.half.run(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		p.log.Error("the consumer has stopped, the crawl continues: the consumer will be reopened when possible", slog.Any("error", err))
		p.closeHalf()
		if !p.reopen(ctx) {
			return err
		}
		p.svc.ready.set(p.ready)
		p.log.Info("the consumer is open again and reads its events from the stream")
	}
}

// reopen opens the half again. It is false when ctx has ended before that.
func (p *Pipeline) reopen(ctx context.Context) bool {
	said := ""
	for pause := reopenMin; ; pause = min(2*pause, reopenMax) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
		err := p.tryReopen(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() == nil && err.Error() != said { // each reason once
			said = err.Error()
			p.log.Error("cannot reopen the consumer yet, will retry", slog.Duration("retry_in", min(2*pause, reopenMax)), slog.Any("error", err))
			p.svc.ready.setReason("the consumer has stopped and cannot be reopened yet: " + said)
		}
	}
}

func (p *Pipeline) tryReopen(ctx context.Context) error {
	if err := p.dir.check(); err != nil { // nothing may be made in another directory
		return err
	}
	lock, err := dataset.TakeLock(p.cfg.DataDir)
	if err != nil {
		return err
	}
	return p.openHalf(ctx, lock)
}
