package watch

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/sentry"
)

const (
	// longVariable, when it is set, asks for the long run: `make watch-long`.
	longVariable = "VALTRACK_LONG"
	// promptly is what a change's time may be off in 99 % of them.
	promptly = 50 * time.Millisecond
)

// score compares watches with the truth. An event of the truth is found when the
// log has the same change of the same subnet within near; a change of the log is
// false when the truth has none.
type score struct {
	truth, found, logged, falsely int
	late                          []time.Duration // of those found
	odd                           []string        // what has no counterpart, and when
}

// truth is truthOf's. near is under half of what any client holds a subnet for.
func (s *score) add(w *watchOf, truth []devnet.SubscriptionChange, near time.Duration) {
	type key struct {
		subnet int
		on     bool
	}
	open := make(map[key][]time.Time) // changes of the log not found in the truth yet
	for _, c := range w.changes {
		k := key{c.Subnet, c.On}
		open[k] = append(open[k], c.Time)
	}
	s.logged += len(w.changes)
	for _, c := range truth {
		k := key{c.Subnet, c.On}
		i := slices.IndexFunc(open[k], func(at time.Time) bool { return at.Sub(c.Time).Abs() <= near })
		edge := c.Time.Sub(w.from) < near || w.to.Sub(c.Time) < near
		if i < 0 {
			if !edge {
				s.truth++
				s.odd = append(s.odd, fmt.Sprintf("only truth has subnet %d %v at %v", c.Subnet, c.On, c.Time.Sub(w.from)))
			}
			continue
		}
		s.truth++
		s.found++
		s.late = append(s.late, open[k][i].Sub(c.Time))
		open[k] = slices.Delete(open[k], i, i+1)
	}
	for k, rest := range open {
		for _, at := range rest {
			s.falsely++
			s.odd = append(s.odd, fmt.Sprintf("only the log has subnet %d %v at %v", k.subnet, k.on, at.Sub(w.from)))
		}
	}
}

// within is how many of the changes that were found have a time at most d from the
// truth's.
func (s *score) within(d time.Duration) (n int) {
	for _, late := range s.late {
		if late.Abs() <= d {
			n++
		}
	}
	return n
}

// good: at least 99 % found and at most 0.5 % false.
func (s *score) good() bool {
	return float64(s.found) >= 0.99*float64(s.truth) && float64(s.falsely) <= 0.005*float64(s.logged)
}

func (s *score) String() string {
	slices.Sort(s.late)
	at := func(share float64) time.Duration {
		if len(s.late) == 0 {
			return 0
		}
		return s.late[int(share*float64(len(s.late)-1))]
	}
	return fmt.Sprintf("%d of %d changes found, %d of %d logged are false, late by %v (median), %v (99 %%), %v (most), %d within %v",
		s.found, s.truth, s.falsely, s.logged, at(.5), at(.99), at(1), s.within(promptly), promptly)
}

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
	whole := func() map[string]*watchOf {
		done := make(map[string]*watchOf)
		for _, w := range c.watches(t) {
			if w.outcome == event.OutcomeOK {
				done[w.peer] = w
			}
		}
		return done
	}
	began := time.Now()
	c.waitFor(t, "a whole watch of every node", time.Duration(2*epochs+10)*epoch+waitLong, func() bool {
		return c.sentry.Stats().Outcomes[event.OutcomeOK] >= uint64(nodes) && len(whole()) == nodes
	})
	took := time.Since(began)
	var all score
	rotations := 0
	clock := c.net.Network().Clock
	for id, w := range whole() {
		node, _ := c.net.Truth().Node(id)
		if held := int(clock.EpochAt(w.to) - clock.EpochAt(w.from)); held != epochs+1 {
			t.Errorf("%s was watched over %d boundaries, want %d", node.Agent, held, epochs+1)
		}
		var one score // for the name of a node that is not as it should be
		one.add(w, c.truthOf(w, slot*3/4), slot*3/4)
		all.add(w, c.truthOf(w, slot*3/4), slot*3/4)
		if one.found < one.truth || one.falsely > 0 {
			t.Logf("%s, %d validators: %s: %q", node.Agent, node.Validators, &one, one.odd)
		}
		rotations += checkMetaData(t, c, w)
	}
	t.Logf("%d nodes, %d epochs, in %v: %s; %d new MetaData", nodes, epochs, took.Round(time.Second), &all, rotations)
	parts, one := c.bytesPerEpoch(t)
	t.Logf("%.0f bytes of events per watched node-epoch; %.0f if a watch were one event", parts, one)
	if all.truth < nodes*epochs {
		t.Fatalf("only %d changes to find", all.truth)
	}
	if !all.good() {
		t.Errorf("want at least 99 %% found and at most 0.5 %% false")
	}
	if prompt := all.within(promptly); long && float64(prompt) < 0.99*float64(all.found) {
		t.Errorf("%d of %d changes have a time within %v", prompt, all.found, promptly)
	}
}

// checkMetaData compares the MetaData that a watch saw with the truth and counts
// them. Whatever a node has served for more than an epoch was seen.
func checkMetaData(t *testing.T, c *crawl, w *watchOf) int {
	t.Helper()
	clock := c.net.Network().Clock
	at := func(when time.Time) eth2.MetaData {
		m, _ := c.net.Truth().MetaDataAt(w.peer, when)
		return m
	}
	last := at(w.from).SeqNumber
	for _, m := range w.metadata {
		if m.SeqNumber <= last {
			t.Errorf("%s: MetaData %d after %d", w.peer, m.SeqNumber, last)
		}
		last = m.SeqNumber
	}
	if want := at(w.to.Add(-clock.EpochDuration() * 5 / 4)).SeqNumber; last < want {
		t.Errorf("%s: newest MetaData seen is %d, want %d", w.peer, last, want)
	}
	if n := len(w.metadata); n > 0 && w.metadata[n-1].SeqNumber == at(w.to).SeqNumber && w.metadata[n-1].Attnets != at(w.to).Attnets {
		t.Errorf("%s: attnets %v, want %v", w.peer, w.metadata[n-1].Attnets, at(w.to).Attnets)
	}
	return len(w.metadata)
}
