package consumer

import (
	"math"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Hours that were stored without estimates, as those of an import are, get them from the events
// before each hour; the first from its own. A second rebuild finds nothing to make.
func TestPastHoursAreEstimated(t *testing.T) {
	dir := t.TempDir()
	k := newTracked(dir)
	f := newFeed()
	c := start(t, dir, Config{SegmentRows: 50, CompactEvery: -1}, f)
	var last *answers
	for range 200 { // one a minute
		key, e := k.next()
		last = f.send(t, key, e)
	}
	until(t, "the ack", func() bool { return last.String() == "ack" })
	c.stop(t)

	catchUp := func() (made int) {
		t.Helper()
		w, err := dataset.Open(dir, discardLog())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		fresh, err := tracker.Create(t.Context(), k.config)
		if err != nil {
			t.Fatal(err)
		}
		if made, err = CatchUpByHour(t.Context(), w, fresh, discardLog()); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{fresh.Recompute(t.Context()), fresh.Replace()} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return made
	}
	hours := map[int64]bool{}
	for _, r := range rows[dataset.MetadataRow](t, dir) {
		hours[r.Timestamp-r.Timestamp%time.Hour.Milliseconds()] = true
	}
	if made := catchUp(); made != len(hours) || made < 4 {
		t.Errorf("made %d hours, want those of %v", made, hours)
	}
	handshakes := rows[dataset.MetadataRow](t, dir)
	first := handshakes[0].Timestamp - handshakes[0].Timestamp%time.Hour.Milliseconds()
	for _, r := range rows[dataset.EstimateRow](t, dir) {
		before, want := r.Timestamp, int64(0)
		if !hours[before] {
			t.Errorf("a row of %v", time.UnixMilli(before).UTC())
		}
		if before == first {
			before += time.Hour.Milliseconds()
		}
		for _, h := range handshakes {
			if h.ID == r.ID && h.Timestamp < before {
				want++
			}
		}
		if r.Observations != want || r.LastSeen >= before {
			t.Errorf("%s at %v: %d handshakes, last seen %v, want %d before", r.ID, time.UnixMilli(r.Timestamp).UTC(), r.Observations, time.UnixMilli(r.LastSeen).UTC(), want)
		}
	}
	history, err := tracker.ReadHistory(t.Context(), dir, 0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	checkEstimates(t, dir, history)
	if len(history.Totals) != len(hours) {
		t.Errorf("%d totals", len(history.Totals))
	}
	for _, p := range peers(t, dir) {
		if p.Observations != 20 || p.Watches != 20 {
			t.Errorf("peer %s: %d observations, %d watches", p.ID, p.Observations, p.Watches)
		}
	}
	if made := catchUp(); made != 0 {
		t.Errorf("%d hours were made again", made)
	}
}
