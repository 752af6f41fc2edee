package sentry

import (
	"log/slog"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// skewValid is how long a measured skew is put into events.
	skewValid = 5 * time.Minute
	// skewWarn is the skew above which subscriptions may be taken for another slot's.
	skewWarn = 2 * time.Second
	// skewLogEvery limits the warning.
	skewLogEvery = 10 * time.Minute
	// clockJump is the difference between wall clock and monotonic clock that is taken
	// for a clock that was set; less is a clock that is being slewed.
	clockJump = time.Second
)

// clockSkew is by how much our clock is ahead of the broker's. Its zero value knows nothing.
type clockSkew struct {
	log *loglimit.Limiter

	mu       sync.Mutex
	measured time.Duration
	at       time.Time // zero when it was never measured
}

// SetClockSkew notes that our clock is ahead of the broker's by skew, give or take the
// uncertainty. Events have it for the next minutes.
func (s *Sentry) SetClockSkew(skew, uncertainty time.Duration) {
	c := &s.skew
	c.mu.Lock()
	c.measured, c.at = skew, time.Now()
	c.mu.Unlock()
	if skew.Abs() > skewWarn+uncertainty && c.log.Allow() {
		s.log.Warn("this machine's clock differs from the broker's: set it, for example with NTP, or the broker's if that is the wrong one",
			slog.Duration("ahead", skew.Round(time.Millisecond)), slog.Duration("uncertainty", uncertainty.Round(time.Millisecond)))
	}
}

// milliseconds is the skew at a moment, nil when it was not measured lately. A clock that
// was set since then is taken into account.
func (c *clockSkew) milliseconds(now time.Time) *int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := now.Sub(c.at)
	if c.at.IsZero() || passed > skewValid {
		return nil
	}
	skew := c.measured
	if jump := now.Round(0).Sub(c.at.Round(0)) - passed; jump.Abs() > clockJump {
		skew += jump
	}
	ms := skew.Milliseconds()
	return &ms
}
