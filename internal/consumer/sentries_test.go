package consumer

import (
	"fmt"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

// Whatever names publishers make up, Stats name a bounded number of sentries: those with
// most events at the start, then who comes first; and no event is left out of the sums.
func TestSentriesOfStatsAreBounded(t *testing.T) {
	names := sentryNames{}
	counts := map[string]uint64{"ours": 1000}
	for i := range 5000 {
		counts[fmt.Sprint("forged-", i)] = 1
	}
	check := func(what string) {
		t.Helper()
		out := names.bound(counts)
		sum := uint64(0)
		for _, n := range out {
			sum += n
		}
		want := uint64(0)
		for _, n := range counts {
			want += n
		}
		if len(out) != maxSentries+1 || out["ours"] != 1000 || out["forged later"] != 0 || sum != want {
			t.Errorf("%s: %d names, ours %d, the later one %d, %d events in all, want %d", what, len(out), out["ours"], out["forged later"], sum, want)
		}
	}
	check("at the start")
	counts["forged later"] = 1 << 40 // takes no name from another
	check("later")
}

// A counter far beyond the last is refused and kept: it would make everything below it count
// as missing.
func TestFarCounterIsRefused(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{SegmentRows: 2}, f)
	f.send(t, "s-1-1", visit("v1"))
	for _, key := range []string{"s-1-9223372036854775807", "s-1-1073741826", "t-1-18446744073709551615"} {
		a := f.send(t, key, visit("far"))
		until(t, "the answer", func() bool { return a.String() == "term" })
	}
	f.send(t, "s-1-3", visit("v3"))
	until(t, "the commit", func() bool { return c.Stats().Segments == 1 })
	if s := c.Stats(); s.Rejected != 3 || s.Missing["s"] != 1 || s.Covered["s"] != 2 || len(s.Missing) != 1 {
		t.Errorf("stats %+v", s)
	}
	c.stop(t)
	keys, err := Rejected(dir) // as 'check data' reads them
	if err != nil || len(keys) != 0 {
		t.Errorf("rejected keys %v, %v", keys, err)
	}
	c = start(t, dir, Config{SegmentRows: 1}, f)
	near := f.send(t, "s-1-1073741826", visit("v4")) // within dataset.MaxJump of 3
	until(t, "the answer", func() bool { return near.String() == "ack" })
	c.stop(t)
	if n := len(rows[dataset.VisitRow](t, dir)); n != 3 {
		t.Errorf("%d visits", n)
	}
}
