package tracker

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

// HistoryHours bounds the history in a State, to 90 days: the newest that many hours
// of counts, and rows of totals. The database keeps all of it. It is a variable so that a soak
// need not take 90 days to fill it.
var HistoryHours = 90 * 24

// Names of hourly counts; those of visits have the outcome behind visitPrefix.
const (
	CountRecords    = "records"
	CountHandshakes = "handshakes"
	CountWatches    = "watches"
	visitPrefix     = "visits."
)

// History is the network's hourly history, oldest first; counts are events by name, those
// of visits as visits.<outcome>.
type History struct {
	Totals []Totals
	Counts []HourCounts
}

// HourCounts are one hour's events.
type HourCounts struct {
	Hour   int64 // Unix milliseconds
	Counts map[string]int64
}

// lastHour is that of the newest totals, Unix milliseconds; 0 before the first.
func (h History) lastHour() int64 {
	if n := len(h.Totals); n > 0 {
		return h.Totals[n-1].Hour
	}
	return 0
}

// with is the history with more hours, at most HistoryHours. h is not changed, since
// readers hold it.
func (h History) with(c counts, totals []Totals) History {
	h.Totals, h.Counts = slices.Clone(h.Totals), slices.Clone(h.Counts)
	for _, total := range totals {
		i, known := slices.BinarySearchFunc(h.Totals, total.Hour, func(t Totals, hour int64) int { return cmp.Compare(t.Hour, hour) })
		if known {
			h.Totals[i] = total
		} else {
			h.Totals = slices.Insert(h.Totals, i, total)
		}
	}
	for hour, names := range c {
		i, known := slices.BinarySearchFunc(h.Counts, hour, func(x HourCounts, hour int64) int { return cmp.Compare(x.Hour, hour) })
		if !known {
			h.Counts = slices.Insert(h.Counts, i, HourCounts{Hour: hour})
		}
		sum := maps.Clone(h.Counts[i].Counts)
		if sum == nil {
			sum = map[string]int64{}
		}
		for name, n := range names {
			sum[name] += n
		}
		h.Counts[i].Counts = sum
	}
	h.Totals, h.Counts = h.Totals[max(0, len(h.Totals)-HistoryHours):], h.Counts[max(0, len(h.Counts)-HistoryHours):]
	return h
}

// counts are events by the hour of their timestamp, in Unix milliseconds, and name.
type counts map[int64]map[string]int64

// add counts an event; visits has the names of the counts of visits, by outcome.
func (c counts) add(e event.Event, visits *boundedCache[string]) {
	common, _ := ofEvent(e)
	hour := common.Timestamp - common.Timestamp%time.Hour.Milliseconds()
	if c[hour] == nil {
		c[hour] = map[string]int64{}
	}
	switch e := e.(type) {
	case *event.PeerDiscovered:
		c[hour][CountRecords]++
	case *event.MetadataReceived:
		c[hour][CountHandshakes]++
	case *event.VisitEnded:
		if e.Watch != nil && e.Part == 0 {
			c[hour][CountWatches]++
		}
		if !e.More {
			c[hour][visits.get(e.Outcome, func(outcome string) string { return visitPrefix + outcome })]++
		}
	}
}

func (c counts) merge(o counts) {
	for hour, names := range o {
		if c[hour] == nil {
			c[hour] = map[string]int64{}
		}
		for name, n := range names {
			c[hour][name] += n
		}
	}
}

// VisitOutcome is the outcome of the visits that a count has the name of.
func VisitOutcome(name string) (outcome string, ok bool) { return strings.CutPrefix(name, visitPrefix) }
