package bus

import (
	"context"
	"sync"
	"time"
)

// every limits how often an ongoing problem is logged. The first call of due is
// always true.
type every struct {
	mu     sync.Mutex
	period time.Duration
	last   time.Time
}

func newEvery(period time.Duration) *every { return &every{period: period} }

func (e *every) due() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if !e.last.IsZero() && now.Sub(e.last) < e.period {
		return false
	}
	e.last = now
	return true
}

// sleep waits for d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
