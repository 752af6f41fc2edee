package watch

import (
	"slices"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/sentry"
)

// A fork of blob parameters only and a fork of the version pass while the sentry
// runs, whose records are all from before them: nobody is greeted with a wrong
// digest, nobody is lost, watches go on.
func TestForksWhileItRuns(t *testing.T) {
	const (
		nodes = 20 / slowness
		slots = 8
		slot  = slowness * 400 * time.Millisecond
		age   = 4 // epochs of the devnet at its start
		bpo   = age + 4
		gloas = age + 8
		last  = gloas + 5
	)
	c := startCrawl(t,
		devnet.Config{
			Nodes: nodes, Seed: 3, SlotDuration: slot, SlotsPerEpoch: slots,
			GenesisTime: time.Now().Add(-age * slots * slot), Validators: slices.Repeat([]int{300}, nodes),
			Forks: devnet.WithFork("gloas", gloas), Blobs: []eth2.BlobParameters{{Epoch: bpo, MaxBlobsPerBlock: 15}},
		},
		sentry.Config{WatchEpochs: 3, MaxWatched: nodes / 2, MaxConnections: 100},
	)
	net := c.net.Network()
	digestAt := func(at time.Time) eth2.ForkDigest { return net.Schedule.At(net.Clock.EpochAt(at)).Digest }
	if digestAt(net.Clock.EpochStart(bpo)) == digestAt(net.Clock.EpochStart(gloas)) || digestAt(net.Clock.EpochStart(bpo-1)) == digestAt(net.Clock.EpochStart(bpo)) {
		t.Fatal("the devnet does not fork")
	}
	c.waitFor(t, "the epochs after both forks", waitLong, func() bool { return net.Clock.EpochAt(time.Now()) >= last })
	stopped := time.Now().Truncate(time.Millisecond)
	c.stop()

	there := make(map[string]map[eth2.Epoch]bool) // where we know of each node
	note := func(id string, at time.Time) {
		if there[id] == nil {
			there[id] = make(map[eth2.Epoch]bool)
		}
		there[id][net.Clock.EpochAt(at)] = true
	}
	for _, e := range eventsOf[*event.MetadataReceived](c.collector) {
		at := time.UnixMilli(e.Timestamp)
		note(e.ID, at)
		near := digestAt(at.Add(slot)) != digestAt(at.Add(-2*slot))
		if e.ForkDigest != digestAt(at) && !near {
			t.Errorf("epoch %d: digest %v in the Status of %s, want %v", e.Epoch, e.ForkDigest, e.ID, digestAt(at))
		}
		if len(e.SubscribedSubnets) == 0 && at.Before(stopped) {
			t.Errorf("epoch %d: no subnets of %s", e.Epoch, e.ID)
		}
	}
	over := 0
	var all Score
	for _, w := range c.watches(t) {
		for at := w.From; at.Before(w.To); at = at.Add(slots * slot) {
			note(w.Peer, at)
		}
		if digestAt(w.From) != digestAt(w.To) {
			over++
		}
		all.Add(w, c.truthOf(w, slot*3/4), slot*3/4)
	}
	t.Log(&all)
	if !all.Good() {
		t.Errorf("watches are not the truth: %q", all.Odd)
	}
	if over < nodes/2 {
		t.Errorf("only %d watches lasted over a fork", over)
	}
	checkForkVisits(t, c)
	checkSentDigests(t, c)
	for id, epochs := range there {
		for e := eth2.Epoch(age + 1); e < last-1; e++ {
			if !epochs[e] && !epochs[e+1] {
				node, _ := c.net.Truth().Node(id)
				t.Errorf("%s was lost in epochs %d and %d", node.Agent, e, e+1)
			}
		}
	}
	if len(there) != nodes {
		t.Errorf("%d nodes met, want %d", len(there), nodes)
	}
}

// checkForkVisits: nobody takes the other for one of another network, and hardly a
// visit fails in another way.
func checkForkVisits(t *testing.T, c *crawl) {
	t.Helper()
	visits := eventsOf[*event.VisitEnded](c.collector)
	failed := 0
	for _, e := range visits {
		switch e.Outcome {
		case event.OutcomeOK, event.OutcomeCanceled:
			continue
		case event.OutcomeWrongNetwork, event.OutcomeGoodbye:
			t.Errorf("visit in epoch %d ended as %s (%s), goodbye %v", c.net.Network().Clock.EpochAt(time.UnixMilli(e.Ended)), e.Outcome, e.Error, e.GoodbyeCode)
		default:
			failed++
			t.Logf("visit ended as %s (%s)", e.Outcome, e.Error)
		}
	}
	if 100*failed > len(visits) {
		t.Errorf("%d of %d visits failed", failed, len(visits))
	}
}

// checkSentDigests: each Status that a node received had the digest of the moment.
func checkSentDigests(t *testing.T, c *crawl) {
	t.Helper()
	digests := make(map[eth2.ForkDigest]int)
	for _, contact := range c.net.Seen("") {
		for _, s := range contact.Statuses {
			digests[s.Digest]++
			if s.Digest != s.Want {
				t.Errorf("node %d received a Status of digest %v in epoch %d, want %v", contact.Node, s.Digest, c.net.Network().Clock.EpochAt(s.At), s.Want)
			}
		}
	}
	t.Logf("Statuses received, by digest: %v", digests)
	if len(digests) != 3 {
		t.Errorf("Statuses of %d digests, want those before, between and after the forks", len(digests))
	}
}
