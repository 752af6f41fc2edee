package consumer

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

// clockErrors are, by sentry, the open segment's events whose clock is known to be off. The
// zero value is empty.
type clockErrors map[string]*clockError

type clockError struct {
	events uint64
	off    time.Duration // of the newest
}

func (c *clockErrors) add(sentry string, off time.Duration) {
	if *c == nil {
		*c = clockErrors{}
	}
	one := (*c)[sentry]
	if one == nil {
		if len(*c) >= maxSentries {
			sentry = otherSentries
		}
		if one = (*c)[sentry]; one == nil {
			one = &clockError{}
			(*c)[strings.Clone(sentry)] = one // it may be a part of a message
		}
	}
	one.events++
	one.off = off
}

// sentryOf names the sentry of an event: by its key, or by its crawler id when it came
// without one.
func sentryOf(key string, e event.Event) string {
	if k, err := event.ParseKey(key); err == nil {
		return k.Sentry
	}
	return event.CommonOf(e).CrawlerID
}

// warn logs one line per sentry.
func (c clockErrors) warn(log *slog.Logger) {
	for _, sentry := range slices.Sorted(maps.Keys(c)) {
		direction := "ahead"
		if c[sentry].off < 0 {
			direction = "behind"
		}
		log.Warn("a sentry's clock is wrong: its events are stored but not used for estimates. Set its clock, for example with NTP, or the broker's if that is the wrong one",
			slog.String("sentry", sentry), slog.Duration(direction, c[sentry].off.Abs().Round(time.Second)), slog.Uint64("events", c[sentry].events))
	}
}

// addTo returns the sum of the counts and those in total, which is not changed.
func (c clockErrors) addTo(total map[string]uint64) map[string]uint64 {
	if len(c) == 0 {
		return total
	}
	out := maps.Clone(total)
	if out == nil {
		out = map[string]uint64{}
	}
	for sentry, one := range c {
		if _, known := out[sentry]; !known && len(out) >= maxSentries {
			sentry = otherSentries
		}
		out[sentry] += one.events
	}
	return out
}
