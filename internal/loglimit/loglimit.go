package loglimit

import (
	"sync"
	"time"
)

// Limiter allows one log line per period, to all goroutines together.
type Limiter struct {
	period time.Duration
	mu     sync.Mutex
	last   time.Time
}

// Every returns a limiter whose first line is allowed at once.
func Every(period time.Duration) *Limiter { return &Limiter{period: period} }

// Allow reports whether a line may be logged now, and counts it if so.
func (l *Limiter) Allow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.last.IsZero() && now.Sub(l.last) < l.period {
		return false
	}
	l.last = now
	return true
}
