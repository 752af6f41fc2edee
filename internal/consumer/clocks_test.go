package consumer

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/tracker"
)

// One sentry with a wrong clock must not decide which nodes are recent, which days are over,
// or which hour it is: not live, not when the tracker catches up, and not after a rebuild.
func TestClockErrors(t *testing.T) {
	honest := func(dir string, k *tracked) (list []event.Event) {
		for range 20 {
			_, e := k.next()
			list = append(list, e)
		}
		return list
	}
	now := time.Now()
	wrong := map[string]func(h *event.MetadataReceived, v *event.VisitEnded){
		"a day ahead": func(h *event.MetadataReceived, v *event.VisitEnded) {
			at := now.Add(26 * time.Hour).UnixMilli()
			h.Timestamp, v.Timestamp, v.Started, v.Ended, v.Watch.From, v.Watch.To = at, at, at, at, at, at+60_000
		},
		"in 2099": func(h *event.MetadataReceived, v *event.VisitEnded) {
			at := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
			h.Timestamp, v.Timestamp, v.Started, v.Ended, v.Watch.From, v.Watch.To = at, at, at, at, at, at+60_000
		},
		"measured a day behind": func(h *event.MetadataReceived, v *event.VisitEnded) {
			skew := int64(-26 * 3600_000)
			at := now.UnixMilli() + skew
			h.Timestamp, v.Timestamp, v.Started, v.Ended, v.Watch.From, v.Watch.To = at, at, at, at, at, at+60_000
			h.ClockSkewMS, v.ClockSkewMS = &skew, &skew
		},
	}
	for name, spoil := range wrong {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			k := newTracked(dir)
			events := honest(dir, k)
			h, v := *(events[0].(*event.MetadataReceived)), *(events[1].(*event.VisitEnded))
			watch := *v.Watch
			watch.Changes = nil
			v.Watch, h.CrawlerID, v.CrawlerID = &watch, "wrong", "wrong"
			spoil(&h, &v)

			f := newFeed()
			f.stored = now
			tr := k.open(t)
			var log bytes.Buffer // read when nobody writes
			c := openIn(t, dir, Config{SegmentRows: len(events) + 2, Tracker: tr}, f)
			c.log = slog.New(slog.NewTextHandler(&log, nil))
			live := run(t, c)
			for i, e := range append(events, &h, &v) {
				key := fmt.Sprintf("s-1-%d", i+1)
				if i >= len(events) {
					key = fmt.Sprintf("wrong-1-%d", i)
				}
				f.send(t, key, e)
			}
			until(t, "the commit", func() bool { return live.Stats().Segments == 1 })
			if d := cmp.Diff(map[string]uint64{"wrong": 2}, live.Stats().ClockErrors); d != "" {
				t.Errorf("clock errors (-want +got):\n%s", d)
			}
			live.stop(t)
			if err := tr.Close(); err != nil {
				t.Fatal(err)
			}
			if text := log.String(); strings.Count(text, "a sentry's clock is wrong") != 1 || !strings.Contains(text, "sentry=wrong") {
				t.Errorf("log:\n%s", text)
			}
			checkClockRows(t, dir, h.Timestamp)
			checkUnspoilt(t, "live", dir)
			rebuild(t, dir, k)
			checkUnspoilt(t, "rebuilt", dir)
		})
	}
}

// checkClockRows: the datasets have what was sent, and mark it.
func checkClockRows(t *testing.T, dir string, at int64) {
	t.Helper()
	marked := 0
	check := func(crawler string, timestamp int64, off *int64) {
		if wrong := crawler == "wrong"; wrong != (off != nil) || wrong && timestamp != at {
			t.Errorf("a row of %s at %d with clock_error_ms %v", crawler, timestamp, off)
		} else if wrong {
			marked++
		}
	}
	for _, r := range rows[dataset.MetadataRow](t, dir) {
		check(r.CrawlerID, r.Timestamp, r.ClockErrorMS)
	}
	for _, r := range rows[dataset.ValidatorRow](t, dir) {
		check(r.CrawlerID, r.Timestamp, r.ClockErrorMS)
	}
	for _, r := range rows[dataset.VisitRow](t, dir) {
		check(r.CrawlerID, r.Timestamp, r.ClockErrorMS)
	}
	if marked != 3 {
		t.Errorf("%d rows are marked, want 3", marked)
	}
	health, err := dataset.Check(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range health.Tables {
		if want := map[string]int64{dataset.Metadata: 1, dataset.ValidatorMetadata: 1, dataset.Visit: 1}[table.Table]; table.ClockErrors != want {
			t.Errorf("check counts %d clock errors in %s, want %d", table.ClockErrors, table.Table, want)
		}
	}
}

// checkUnspoilt: the tracker knows nothing of what the wrong clock said.
func checkUnspoilt(t *testing.T, when, dir string) {
	t.Helper()
	state, err := tracker.Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if nodes, _ := state.Counted(); len(nodes) != 5 {
		t.Errorf("%s: %d nodes are counted, want 5", when, len(nodes))
	}
	for _, p := range peers(t, dir) {
		if p.Observations != 2 || p.Watches != 2 || time.UnixMilli(p.LastSeen).After(time.Now()) || p.Crawler.CrawlerID == "wrong" {
			t.Errorf("%s: %d observations, %d watches, last seen %v", when, p.Observations, p.Watches, time.UnixMilli(p.LastSeen))
		}
	}
	for _, hour := range state.History.Counts {
		if time.UnixMilli(hour.Hour).After(time.Now()) || time.Since(time.UnixMilli(hour.Hour)) > 12*time.Hour {
			t.Errorf("%s: events are counted at %v", when, time.UnixMilli(hour.Hour))
		}
	}
}

// Publishers choose the names of sentries.
func TestClockErrorsAreBounded(t *testing.T) {
	var total map[string]uint64
	for round := range 3 {
		var c clockErrors
		for i := range 2 * maxSentries {
			c.add(fmt.Sprintf("%d-%d", round, i), time.Hour)
		}
		total = c.addTo(total)
	}
	sum := uint64(0)
	for _, n := range total {
		sum += n
	}
	if len(total) > maxSentries+1 || sum != 6*maxSentries {
		t.Errorf("%d names, %d events", len(total), sum)
	}
}
