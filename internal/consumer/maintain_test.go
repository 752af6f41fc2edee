package consumer

import (
	"strings"
	"testing"
	"time"
)

func TestRetentionDoubtsTheClock(t *testing.T) {
	start := time.Now()
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name   string
		found  time.Time // of the newest part
		passed time.Duration
		moved  time.Duration // the clock, beside the time that passed
		want   string        // empty: parts may be removed
	}{
		{"as it should be", start.Add(-time.Minute), time.Hour, 0, ""},
		{"nothing stored before", time.Time{}, time.Hour, 0, ""},
		{"corrected by a little", start.Add(-time.Minute), time.Hour, 10 * time.Minute, ""},
		{"a year ahead", start.Add(-time.Minute), time.Hour, 365 * day, "the clock jumped by 8760h0m0s"},
		{"a year back", start.Add(-time.Minute), time.Hour, -365 * day, "the clock jumped"},
		{"away for a month", start.Add(-30 * day), time.Hour, 0, "unless the consumer was stopped"},
		{"a day later", start.Add(-30 * day), 25 * time.Hour, 0, ""},
		{"parts of next year", start.Add(365 * day), time.Hour, 0, "unless the consumer was stopped"},
	} {
		got := clock{start, tt.found}.doubt(start.Add(tt.passed+tt.moved), tt.passed)
		if !strings.Contains(got, tt.want) || got != "" && tt.want == "" {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
