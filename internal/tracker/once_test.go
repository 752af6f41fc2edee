package tracker

import (
	"errors"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/event"
)

// However a crawl's events are cut into segments, however often segments are dropped
// and come again, however often the process dies before, in and after a flush: the
// state is that of a rebuild.
func TestEveryEventOnce(t *testing.T) {
	for seed := range uint64(8) {
		c := newCrawl(seed)
		all := c.events(12, 8, start.Add(time.Hour), 5*time.Hour)
		now := start.Add(48 * time.Hour)
		dir := t.TempDir()
		tr := opened(t, dir, &now)
		var segments [][]event.Event // as the datasets have them
		restart := func() {
			tr.killed(t)
			tr = opened(t, dir, &now)
			first := uint64(0)
			if applied, ok := tr.Applied(); ok {
				first = applied + 1
			}
			for _, e := range byPeer(slices.Concat(segments[first:]...)) {
				tr.Add(e)
			}
			if int(first) < len(segments) {
				flush(t, tr, uint64(len(segments)-1))
			}
		}
		for rest := all; len(rest) > 0; {
			part := rest[:min(len(rest), 1+c.IntN(40))]
			for _, e := range part {
				tr.Add(e)
			}
			switch c.IntN(7) {
			case 0: // the segment could not be written
				tr.Drop()
				continue
			case 1: // killed before it was
				restart()
				continue
			}
			rest = rest[len(part):]
			segments = append(segments, part)
			segment := uint64(len(segments) - 1)
			switch c.IntN(5) {
			case 0: // killed before the flush
				restart()
			case 1: // killed within it
				tr.crash = func() error { return errors.New("killed") }
				if err := tr.flush(t.Context(), segment); err == nil {
					t.Fatal("flushed for all that")
				}
				restart()
			case 2: // it fails, and is written with the next, unless that is killed
				tr.crash = func() error { return errors.New("disk full") }
				if err := tr.flush(t.Context(), segment); err == nil {
					t.Fatal("flushed for all that")
				}
				tr.crash = nil
			case 3: // killed after it
				flush(t, tr, segment)
				restart()
			default:
				flush(t, tr, segment)
			}
			if got, ok := tr.Applied(); !ok || got != segment {
				t.Fatalf("applied %d, %v, want %d", got, ok, segment)
			}
		}
		flush(t, tr, uint64(len(segments)))

		again, err := Create(t.Context(), config(t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		defer again.killed(t)
		for _, e := range byPeer(all) {
			again.Add(e)
		}
		flush(t, again, 7)
		if diff := gocmp.Diff(state(t, again), state(t, tr), sameState()); diff != "" {
			t.Fatalf("seed %d (-rebuilt +live):\n%s", seed, diff)
		}
		if tr.Len() != 12 || tr.Peer(peerID(3)).Observations != 8 {
			t.Fatalf("%d peers, %d observations", tr.Len(), tr.Peer(peerID(3)).Observations)
		}
		tr.killed(t)
	}
}

func TestEventsOfOtherNetworksAreLeftOut(t *testing.T) {
	now := start.Add(10 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	e := newCrawl(1).discovered(0, start)
	e.Network = "other"
	tr.Add(e)
	flush(t, tr, 0)
	if tr.Len() != 0 {
		t.Errorf("%d peers", tr.Len())
	}
}

// Estimates too are those of a rebuild, with two sentries that watch the same peers.
func TestEstimatesOfARebuild(t *testing.T) {
	t.Run("in order", func(t *testing.T) { compareWithRebuild(t, 2*time.Minute, byTime) })
	t.Run("a sentry's day comes late", func(t *testing.T) {
		t.Skip("a sealed day has lost which slots it covers: what comes late can count twice")
		compareWithRebuild(t, 2*time.Minute, func(all []event.Event) []event.Event { return all })
	})
}

// compareWithRebuild has two sentries visit the same peers, the second so much later;
// order is the one in which their events come.
func compareWithRebuild(t *testing.T, later time.Duration, order func([]event.Event) []event.Event) {
	a, b := newCrawl(1), newCrawl(2)
	b.visits = 1_000_000 // other visit ids
	from := start.Add(time.Hour)
	var first, second []event.Event
	for range 12 {
		first = append(first, a.events(8, 1, from, 0)...)
		second = append(second, b.events(8, 1, from.Add(later), 0)...)
		from = from.Add(4 * time.Hour)
	}
	all, now := slices.Concat(first, second), from
	dir := t.TempDir()
	live := opened(t, dir, &now)
	rest := order(all)
	for segment := uint64(0); len(rest) > 0; segment++ {
		part := rest[:min(len(rest), 1+a.IntN(40))]
		rest = rest[len(part):]
		for _, e := range part {
			live.Add(e)
		}
		now = now.Add(20 * time.Minute)
		flush(t, live, segment)
	}
	again, err := Create(t.Context(), config(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer again.killed(t)
	again.now = func() time.Time { return now }
	for _, e := range byPeer(all) {
		again.Add(e)
	}
	flush(t, again, 0)
	for _, tr := range []*Tracker{live, again} {
		if err := tr.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	opts := gocmp.Options{cmpopts.IgnoreUnexported(Peer{}), cmpopts.EquateEmpty(), cmpopts.EquateApprox(1e-9, 0)}
	if diff := gocmp.Diff(state(t, again), state(t, live), opts); diff != "" {
		t.Errorf("(-rebuilt +live):\n%s", diff)
	}
}
