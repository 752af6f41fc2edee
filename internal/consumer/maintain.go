package consumer

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// maintainPerSpan is how often in the time of CompactEvery it is looked whether a
// new span has begun, and a failed merge is tried again.
const maintainPerSpan = 20

// maintain merges parts after each CompactEvery and removes old ones, until ctx
// ends. What fails is left as it was and tried again: the datasets are whole
// without.
func (c *Consumer) maintain(ctx context.Context) {
	if c.cfg.CompactEvery < 0 && c.cfg.Retention == 0 {
		return
	}
	every := c.cfg.CompactEvery
	if every < 0 {
		every = DefaultCompactEvery
	}
	ticker := time.NewTicker(max(every/maintainPerSpan, time.Millisecond))
	defer ticker.Stop()
	var done int64 // the span in which it succeeded; the first tick is in another
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		span := time.Now().UnixNano() / int64(every)
		if span == done {
			continue
		}
		err := c.compactAndRetain(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errors.ErrUnsupported):
			c.log.Warn("this file system cannot exchange directories in one step: parts are not merged or removed", slog.String("dir", c.writer.Dir()), slog.Any("error", err))
			return
		case err != nil:
			c.log.Warn("cannot merge or remove parts, trying again", slog.String("dir", c.writer.Dir()), slog.Any("error", err))
		default:
			done = span
		}
	}
}

func (c *Consumer) compactAndRetain(ctx context.Context) error {
	var errs [2]error
	if c.cfg.CompactEvery > 0 {
		start := time.Now()
		merged, err := c.writer.Compact(ctx, c.cfg.CompactEvery)
		if merged.Into > 0 {
			c.log.Info("merged parts", slog.Int("parts", merged.Parts), slog.Int("into", merged.Into), slog.Duration("took", time.Since(start)))
		}
		c.count(func(s *Stats) { s.Merged += uint64(merged.Parts) })
		errs[0] = err
	}
	if c.cfg.Retention > 0 && ctx.Err() == nil {
		removed, err := c.writer.Retain(ctx, time.Now().Add(-c.cfg.Retention))
		if removed > 0 {
			c.log.Info("removed old parts", slog.Int("parts", removed), slog.Duration("retention", c.cfg.Retention))
		}
		c.count(func(s *Stats) { s.Removed += uint64(removed) })
		errs[1] = err
	}
	return errors.Join(errs[:]...)
}
