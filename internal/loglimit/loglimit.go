// Package loglimit limits how often an ongoing problem is logged.
package loglimit

import "time"

// Limiter allows one log line per period. It belongs to one goroutine, or to whoever
// holds the lock that guards it.
type Limiter struct {
	period time.Duration
	last   time.Time
}

// Every returns a limiter whose first line is allowed at once.
func Every(period time.Duration) *Limiter { return &Limiter{period: period} }

// Allow reports whether a line may be logged now, and counts it if so.
func (l *Limiter) Allow() bool {
	now := time.Now()
	if !l.last.IsZero() && now.Sub(l.last) < l.period {
		return false
	}
	l.last = now
	return true
}
