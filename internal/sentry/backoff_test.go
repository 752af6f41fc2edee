package sentry

import (
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

func TestBackoffGrowsToItsLimit(t *testing.T) {
	for _, outcome := range event.Outcomes()[1:] {
		g := backoffOf(outcome)
		if got := g.after(1); got != g.first {
			t.Errorf("%s: first wait %v, want %v", outcome, got, g.first)
		}
		last := time.Duration(0)
		for fails := 1; fails < 200; fails++ {
			wait := g.after(fails)
			if wait < last || wait > g.limit {
				t.Fatalf("%s: %v after %d failures, %v before, limit %v", outcome, wait, fails, last, g.limit)
			}
			last = wait
		}
		if last != g.limit {
			t.Errorf("%s: ends at %v, limit %v", outcome, last, g.limit)
		}
		if g.after(1<<62) != g.limit {
			t.Errorf("%s: overflows", outcome)
		}
		if g.first < spacing {
			t.Errorf("%s: %v is under the spacing", outcome, g.first)
		}
	}
}

func TestGoodbyeWaits(t *testing.T) {
	for code, want := range map[uint64]time.Duration{129: 10 * time.Minute, 2: 12 * time.Hour, 128: 12 * time.Hour, 250: 2 * time.Hour, 1: 5 * time.Minute, 1 << 60: 5 * time.Minute} {
		if got := goodbyeWait(code, false); got != want {
			t.Errorf("goodbye %d: %v, want %v", code, got, want)
		}
		if got := goodbyeWait(code, true); got > 10*time.Minute && code != 250 {
			t.Errorf("goodbye %d near the fork: %v", code, got)
		}
	}
}

func TestJitterKeepsPromises(t *testing.T) {
	for range 1000 {
		if d := jitter(time.Minute); d < time.Minute || d > 72*time.Second+1 {
			t.Fatalf("jitter gave %v", d)
		}
	}
	if jitter(0) != 0 {
		t.Error("no wait became one")
	}
}
