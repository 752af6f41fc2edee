package tracker

import (
	"cmp"
	"errors"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/eth2"
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
				tr.store.crash = func() error { return errors.New("killed") }
				if err := tr.flush(t.Context(), segment); err == nil {
					t.Fatal("flushed for all that")
				}
				restart()
			case 2: // it fails, and is written with the next, unless that is killed
				tr.store.crash = func() error { return errors.New("disk full") }
				if err := tr.flush(t.Context(), segment); err == nil {
					t.Fatal("flushed for all that")
				}
				tr.store.crash = nil
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
		if tr.State().Len() != 12 || tr.State().Peer(peerID(3)).Observations != 8 {
			t.Fatalf("%d peers, %d observations", tr.State().Len(), tr.State().Peer(peerID(3)).Observations)
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
	if tr.State().Len() != 0 {
		t.Errorf("%d peers", tr.State().Len())
	}
}

// Estimates too are those of a rebuild, with two sentries that watch the same peers.
func TestEstimatesOfARebuild(t *testing.T) {
	live, again := liveAndRebuilt(t, byTime)
	opts := gocmp.Options{cmpopts.IgnoreUnexported(Peer{}), cmpopts.EquateEmpty(), cmpopts.EquateApprox(1e-9, 0)}
	if diff := gocmp.Diff(state(t, again), state(t, live), opts); diff != "" {
		t.Errorf("(-rebuilt +live):\n%s", diff)
	}
}

// When the second sentry's events come days late another of two watches of the same
// duties may be the one that counts, but never both.
func TestLateEventsCountOnce(t *testing.T) {
	var all []event.Event
	live, again := liveAndRebuilt(t, func(a []event.Event) []event.Event {
		all = a
		for _, e := range a { // a Prysm node would show the rest of an epoch's duties at once
			if h, ok := e.(*event.MetadataReceived); ok && h.ClientVersion == prysm {
				h.SubscribedSubnets = nil
			}
		}
		return a
	})
	most := watchedEpochs(all)
	for id, p := range again.peers {
		a, b := p.Estimate, live.peers[id].Estimate
		// A part of an epoch tells all its duties at Prysm and Teku.
		exact := p.Client.Kind == eth2.ClientLighthouse
		// A rebuild has what both sentries watched, and days that are over take no late events.
		if exact && a.EpochsWatched < 0.97*most[id] {
			t.Errorf("%s: %.1f epochs are in a rebuild, %.1f were watched", id, a.EpochsWatched, most[id])
		}
		const least = 0.65
		if exact && b.EpochsWatched > most[id] || b.EpochsWatched < least*a.EpochsWatched {
			t.Errorf("%s: %.1f epochs are in, %.1f in a rebuild, %.1f were watched", id, b.EpochsWatched, a.EpochsWatched, most[id])
		}
		if m := float64(b.Median); m < a.Low || m > a.High {
			t.Errorf("%s: %d validators, in a rebuild %.0f to %.0f", id, b.Median, a.Low, a.High)
		}
		// The visits are drawn at random, and contradict the custody group count of some peers,
		// whose intervals are wide: so the subnets alone are compared, too.
		x, y := again.State().Why(p).Subnets, live.State().Why(live.peers[id]).Subnets
		if m := float64(y.Median); m < x.Low || m > x.High {
			t.Errorf("%s: by its subnets %d validators, in a rebuild %.0f to %.0f", id, y.Median, x.Low, x.High)
		}
	}
}

// liveAndRebuilt has two sentries visit the same peers; order is the one in which their
// events, which are the first sentry's and then the second's, come.
func liveAndRebuilt(t *testing.T, order func([]event.Event) []event.Event) (live, again *Tracker) {
	t.Helper()
	a, b := newCrawl(1), newCrawl(2)
	b.visits = 1_000_000 // other visit ids
	from := start.Add(time.Hour)
	var first, second []event.Event
	for range 12 {
		first = append(first, a.events(8, 1, from, 0)...)
		second = append(second, b.events(8, 1, from.Add(2*time.Minute), 0)...)
		from = from.Add(4 * time.Hour)
	}
	all, now := slices.Concat(first, second), from
	live, again = opened(t, t.TempDir(), &now), opened(t, t.TempDir(), &now)
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
	for _, e := range byPeer(all) {
		again.Add(e)
	}
	flush(t, again, 0)
	for _, tr := range []*Tracker{live, again} {
		if err := tr.Recompute(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return live, again
}

// watchedEpochs are the epochs in which each peer was watched by anybody.
func watchedEpochs(all []event.Event) map[string]float64 {
	watches := slices.DeleteFunc(slices.Clone(all), func(e event.Event) bool {
		v, ok := e.(*event.VisitEnded)
		return !ok || v.Watch == nil
	})
	slices.SortFunc(watches, func(a, b event.Event) int {
		return cmp.Compare(a.(*event.VisitEnded).Watch.From, b.(*event.VisitEnded).Watch.From)
	})
	epochs, until := map[string]float64{}, map[string]int64{}
	for _, e := range watches {
		v := e.(*event.VisitEnded)
		from := max(v.Watch.From, until[v.ID])
		epochs[v.ID] += float64(max(0, v.Watch.To-from)) / float64(params().Clock.EpochDuration().Milliseconds())
		until[v.ID] = max(until[v.ID], v.Watch.To)
	}
	return epochs
}
