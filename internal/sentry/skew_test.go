package sentry

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chainbound/valtrack/internal/loglimit"
)

func TestClockSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &Sentry{log: slog.New(slog.NewTextHandler(&log, nil)), skew: clockSkew{log: loglimit.Every(skewLogEvery)}}
		if e := s.common(time.Now()); e.ClockSkewMS != nil || s.Stats().ClockSkewMS != nil {
			t.Error("a skew before it was measured")
		}
		s.SetClockSkew(1500*time.Millisecond, 10*time.Millisecond)
		s.SetClockSkew(2500*time.Millisecond, time.Second) // may be below the limit
		if log.Len() > 0 {
			t.Errorf("warned: %s", &log)
		}
		s.SetClockSkew(-26*time.Hour, 10*time.Millisecond)
		s.SetClockSkew(-26*time.Hour, 10*time.Millisecond)
		if text := log.String(); strings.Count(text, "differs from the broker's") != 1 || !strings.Contains(text, "ahead=-26h0m0s") {
			t.Errorf("log: %s", text)
		}
		for _, got := range []*int64{s.common(time.Now()).ClockSkewMS, s.Stats().ClockSkewMS} {
			if got == nil || *got != -26*3600_000 {
				t.Errorf("skew %v", got)
			}
		}
		time.Sleep(skewValid + time.Second)
		if e := s.common(time.Now()); e.ClockSkewMS != nil {
			t.Error("a skew that was measured long ago")
		}
	})
}
