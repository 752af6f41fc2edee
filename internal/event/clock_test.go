package event_test

import (
	"math"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

func TestClockError(t *testing.T) {
	const at = int64(1763800000000)
	stored := time.UnixMilli(at)
	common := func(off time.Duration) event.Common { return event.Common{Timestamp: at + off.Milliseconds()} }
	skewed := func(skew time.Duration) event.Common {
		ms := skew.Milliseconds()
		return event.Common{Timestamp: at, ClockSkewMS: &ms}
	}
	watch := func(from, to time.Duration) event.Event {
		return &event.VisitEnded{Common: common(0), Watch: &event.Watch{From: at + from.Milliseconds(), To: at + to.Milliseconds()}}
	}
	end := int64(4102444800000) // 2100
	for name, c := range map[string]struct {
		event event.Event
		want  time.Duration
	}{
		"on time":                    {&event.MetadataReceived{Common: common(0)}, 0},
		"within the limit":           {&event.MetadataReceived{Common: common(5 * time.Minute)}, 0},
		"ahead":                      {&event.MetadataReceived{Common: common(5*time.Minute + time.Millisecond)}, 5*time.Minute + time.Millisecond},
		"a day ahead":                {&event.PeerDiscovered{Common: common(26 * time.Hour)}, 26 * time.Hour},
		"end of the century":         {&event.VisitEnded{Common: event.Common{Timestamp: end}}, time.Duration(end-at) * time.Millisecond},
		"late, as after an outage":   {&event.MetadataReceived{Common: common(-30 * 24 * time.Hour)}, 0},
		"its end is ahead":           {&event.VisitEnded{Common: common(0), Started: at, Ended: at + 3600_000}, time.Hour},
		"its start is ahead":         {&event.VisitEnded{Common: common(0), Started: at + 3600_000}, time.Hour},
		"its watch ends ahead":       {watch(-time.Hour, time.Hour), time.Hour},
		"its watch begins ahead":     {watch(2*time.Hour, time.Hour), 2 * time.Hour},
		"its watch is past":          {watch(-time.Hour, -time.Minute), 0},
		"small skew":                 {&event.MetadataReceived{Common: skewed(5 * time.Minute)}, 0},
		"sentry knows it is ahead":   {&event.MetadataReceived{Common: skewed(6 * time.Minute)}, 6 * time.Minute},
		"sentry knows it is behind":  {&event.MetadataReceived{Common: skewed(-26 * time.Hour)}, -26 * time.Hour},
		"a MetaData change is ahead": {&event.VisitEnded{Common: common(0), Watch: &event.Watch{From: at, To: at, MetaDataChanges: []event.WatchMetaData{{At: 3600_000}}}}, time.Hour},
		"and as far as numbers go":   {&event.VisitEnded{Common: common(0), Watch: &event.Watch{From: at, To: at, MetaDataChanges: []event.WatchMetaData{{At: math.MaxInt64}}}}, time.Duration(end) * time.Millisecond},
		"before everything":          {&event.VisitEnded{Common: common(0), Watch: &event.Watch{From: at, To: at, MetaDataChanges: []event.WatchMetaData{{At: math.MinInt64 / 2}}}}, 0},
	} {
		if got := event.ClockError(c.event, stored); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := event.ClockError(&event.MetadataReceived{Common: common(time.Hour)}, time.Time{}); got != 0 {
		t.Errorf("%v without the time of its storing", got)
	}
}

func TestClockSkewBelowZero(t *testing.T) {
	skew := int64(-1500)
	e := &event.PeerDiscovered{
		Common: event.Common{Network: "n", CrawlerID: "c", Timestamp: 1763800000000, ClockSkewMS: &skew}, ENR: "enr:", ID: "p", NodeID: [32]byte{1},
	}
	data, err := event.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := event.Decode(e.Subject(), data)
	if err != nil || *event.CommonOf(got).ClockSkewMS != skew {
		t.Errorf("%s: %+v, %v", data, got, err)
	}
	for _, out := range []int64{math.MinInt64, math.MaxInt64, 4102444800001} {
		if skew = out; e.Validate() == nil {
			t.Errorf("skew %d is accepted", out)
		}
	}
}
