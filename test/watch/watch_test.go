package watch

import (
	"os"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/sentry"
)

// longVariable, when it is set, asks for the long run: `make watch-long`.
const longVariable = "VALTRACK_LONG"

// A watch has each node's duty list, as its truth has it. The long run, on a machine
// of its own, is about times too.
func TestWatchReproducesTheDuties(t *testing.T) {
	nodes, epochs, slot := 30/slowness, 3, 400*time.Millisecond
	long := os.Getenv(longVariable) != ""
	if long {
		nodes, epochs, slot = 300, 20, time.Second
	}
	c := startCrawl(t,
		devnet.Config{Nodes: nodes, Seed: 5, SlotDuration: slot, SlotsPerEpoch: 16},
		sentry.Config{WatchEpochs: epochs, MaxWatched: nodes, MaxConnections: 2*nodes + 100},
	)
	epoch := c.net.Network().Clock.EpochDuration()
	whole := func() map[string]*Visit {
		done := make(map[string]*Visit)
		for _, w := range c.watches(t) {
			if w.Outcome == event.OutcomeOK {
				done[w.Peer] = w
			}
		}
		return done
	}
	began := time.Now()
	c.waitFor(t, "a whole watch of every node", time.Duration(2*epochs+10)*epoch+waitLong, func() bool {
		return c.sentry.Stats().Outcomes[event.OutcomeOK] >= uint64(nodes) && len(whole()) == nodes
	})
	took := time.Since(began)
	var all Score
	rotations := 0
	clock := c.net.Network().Clock
	for id, w := range whole() {
		node, _ := c.net.Truth().Node(id)
		if held := int(clock.EpochAt(w.To) - clock.EpochAt(w.From)); held != epochs+1 {
			t.Errorf("%s was watched over %d boundaries, want %d", node.Agent, held, epochs+1)
		}
		var one Score // for the name of a node that is not as it should be
		one.Add(w, c.truthOf(w, slot*3/4), slot*3/4)
		all.Add(w, c.truthOf(w, slot*3/4), slot*3/4)
		if one.Found < one.Truth || one.Falsely > 0 {
			t.Logf("%s, %d validators: %s: %q", node.Agent, node.Validators, &one, one.Odd)
		}
		rotations += checkMetaData(t, c, w)
	}
	t.Logf("%d nodes, %d epochs, in %v: %s; %d new MetaData", nodes, epochs, took.Round(time.Second), &all, rotations)
	parts, one := c.bytesPerEpoch(t)
	t.Logf("%.0f bytes of events per watched node-epoch; %.0f if a watch were one event", parts, one)
	if all.Truth < nodes*epochs {
		t.Fatalf("only %d changes to find", all.Truth)
	}
	if !all.Good() {
		t.Errorf("want at least 99 %% found and at most 0.5 %% false")
	}
	if prompt := all.Within(Promptly); long && float64(prompt) < 0.99*float64(all.Found) {
		t.Errorf("%d of %d changes have a time within %v", prompt, all.Found, Promptly)
	}
}

// checkMetaData compares the MetaData that a watch saw with the truth and counts
// them. Whatever a node has served for more than an epoch was seen.
func checkMetaData(t *testing.T, c *crawl, w *Visit) int {
	t.Helper()
	clock := c.net.Network().Clock
	at := func(when time.Time) eth2.MetaData {
		m, _ := c.net.Truth().MetaDataAt(w.Peer, when)
		return m
	}
	last := at(w.From).SeqNumber
	for _, m := range w.MetaData {
		if m.SeqNumber <= last {
			t.Errorf("%s: MetaData %d after %d", w.Peer, m.SeqNumber, last)
		}
		last = m.SeqNumber
	}
	if want := at(w.To.Add(-clock.EpochDuration() * 5 / 4)).SeqNumber; last < want {
		t.Errorf("%s: newest MetaData seen is %d, want %d", w.Peer, last, want)
	}
	if n := len(w.MetaData); n > 0 && w.MetaData[n-1].SeqNumber == at(w.To).SeqNumber && w.MetaData[n-1].Attnets != at(w.To).Attnets {
		t.Errorf("%s: attnets %v, want %v", w.Peer, w.MetaData[n-1].Attnets, at(w.To).Attnets)
	}
	return len(w.MetaData)
}
