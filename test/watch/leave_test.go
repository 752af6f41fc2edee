package watch

import (
	"slices"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/sentry"
)

// What a watch has covered is kept, whoever ends it.
func TestInterruptedWatchKeepsWhatItCovered(t *testing.T) {
	const nodes, slot = 12 / slowness, slowness * 100 * time.Millisecond
	for _, tt := range []struct {
		name     string
		end      func(t *testing.T, c *crawl)
		outcomes []string
	}{
		{"by the peers", func(t *testing.T, c *crawl) {
			if err := c.net.Close(); err != nil {
				t.Error(err)
			}
			c.waitFor(t, "the end of every watch", waitLong, func() bool { return c.sentry.Stats().Watching == 0 })
		}, []string{event.OutcomeReset, event.OutcomeGoodbye}},
		{"by us", func(_ *testing.T, c *crawl) { c.stop() }, []string{event.OutcomeCanceled}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := startCrawl(t,
				devnet.Config{Nodes: nodes, Seed: 8, SlotDuration: slot, Validators: slices.Repeat([]int{900}, nodes)},
				sentry.Config{WatchEpochs: 1000, MaxWatched: nodes, MaxConnections: 100},
			)
			for deadline := time.Now().Add(waitLong); c.sentry.Stats().Watching < nodes; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("not everyone is watched")
				}
			}
			if n := c.sentry.Stats().Reachable; n != nodes {
				t.Errorf("%d reachable, and %d are watched", n, nodes)
			}
			time.Sleep(2 * c.net.Network().Clock.EpochDuration()) // to have something to cover
			ends := time.Now()
			tt.end(t, c)
			list := c.watches(t)
			if len(list) != nodes {
				t.Errorf("%d watches, want %d", len(list), nodes)
			}
			var all Score
			for _, w := range list {
				if !slices.Contains(tt.outcomes, w.Outcome) {
					t.Errorf("outcome %s, want one of %v", w.Outcome, tt.outcomes)
				}
				if w.To.Before(ends.Add(-slot)) {
					t.Errorf("covered until %v before the end", ends.Sub(w.To))
				}
				w.To = ends // what a node does while it stops is not reported
				w.Changes = slices.DeleteFunc(w.Changes, func(c devnet.SubscriptionChange) bool { return c.Time.After(ends) })
				all.Add(w, c.truthOf(w, slot*3/4), slot*3/4)
			}
			if all.Truth < nodes || !all.Good() {
				t.Errorf("%s", &all)
			}
		})
	}
}
