package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// maintainPerSpan is how often within CompactEvery maintain checks whether a new span
// has begun, and tries a failed merge again.
const maintainPerSpan = 20

// Retention uses this machine's clock, and what it removes is lost: it pauses when the
// clock has moved differently from the time that passed (clockDrift), and for pauseNotice
// after a start that finds the newest part older than longPause: the consumer was away, or
// the clock is wrong, and somebody has time to see the warning.
const (
	clockDrift  = time.Hour
	longPause   = 48 * time.Hour
	pauseNotice = 24 * time.Hour
)

// clock is what retention checks the time against.
type clock struct {
	start time.Time // with its monotonic reading
	found time.Time // of the newest part at the start; zero for none
}

// doubt says why nothing may be removed when the clock reads now and so much time has
// passed since the start; empty when it may.
func (c clock) doubt(now time.Time, passed time.Duration) string {
	switch drift := now.Round(0).Sub(c.start.Round(0)) - passed; {
	case drift.Abs() > clockDrift:
		return fmt.Sprintf("the clock jumped by %v: restart the consumer once it is right", drift.Round(time.Second))
	case !c.found.IsZero() && c.start.Sub(c.found).Abs() > longPause && passed < pauseNotice:
		return fmt.Sprintf("the newest part at startup was from %s: unless the consumer was stopped for that long, the clock is wrong; retention resumes %v after the start", c.found.UTC().Format(time.RFC3339), pauseNotice)
	}
	return ""
}

// maintain merges parts after each CompactEvery and removes old ones, until ctx
// ends. After a failure nothing is changed and it is retried: the datasets are complete
// without it.
func (c *Consumer) maintain(ctx context.Context) {
	every := c.cfg.CompactEvery
	if every < 0 {
		every = DefaultCompactEvery
	}
	ticker := time.NewTicker(max(every/maintainPerSpan, time.Millisecond))
	defer ticker.Stop()
	clock := clock{time.Now(), c.writer.Found()}
	var done int64 // the span in which it succeeded; the first tick is in another
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := c.writer.Sweep(time.Now()); err != nil {
			c.log.Warn("cannot remove replaced parts, will retry", slog.String("dir", c.writer.Dir()), slog.Any("error", err))
		}
		span := time.Now().UnixNano() / int64(every)
		if span == done {
			continue
		}
		err := c.compactAndRetain(ctx, clock)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errors.ErrUnsupported):
			c.log.Warn("this file system cannot swap directories atomically: parts are not merged or removed", slog.String("dir", c.writer.Dir()), slog.Any("error", err))
			return
		case err != nil:
			c.log.Warn("cannot merge or remove parts, will retry", slog.String("dir", c.writer.Dir()), slog.Any("error", err))
		default:
			done = span
		}
	}
}

func (c *Consumer) compactAndRetain(ctx context.Context, clock clock) error {
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
		if doubt := clock.doubt(time.Now(), time.Since(clock.start)); doubt != "" {
			c.log.Warn("retention paused", slog.String("reason", doubt))
			return errs[0]
		}
		removed, err := c.writer.Retain(ctx, time.Now().Add(-c.cfg.Retention))
		if removed > 0 {
			c.log.Info("removed old parts", slog.Int("parts", removed), slog.Duration("retention", c.cfg.Retention))
		}
		c.count(func(s *Stats) { s.Removed += uint64(removed) })
		errs[1] = err
	}
	return errors.Join(errs[:]...)
}
