package watch

import (
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/sentry"
)

// A node that has room for us dials us again after our goodbye, once a second. Between two
// visits that costs it two connections at most.
func TestGoodbyeCostsANodeTwoConnections(t *testing.T) {
	const nodes, windows, slot = 8, 6, slowness * 200 * time.Millisecond
	c := startCrawl(t,
		devnet.Config{Nodes: nodes, Seed: 4, SlotDuration: slot, SlotsPerEpoch: 32, Faults: devnet.Mix{devnet.Redials: 0.5}},
		sentry.Config{WatchEpochs: 1, MaxWatched: 2, MaxConnections: 100},
	)
	epoch := c.net.Network().Clock.EpochDuration()
	time.Sleep(windows * epoch) // what is measured is time
	var redialling []devnet.Node
	for _, n := range c.net.Truth().Nodes {
		if n.Persona == devnet.Redials {
			redialling = append(redialling, n)
		}
	}
	if len(redialling) == 0 {
		t.Fatal("nobody redials")
	}
	visits := make(map[string]int)
	for _, contact := range c.net.Seen("") {
		if contact.Requests.MetaData > 0 {
			visits[contact.NodePeerID]++
		}
	}
	total := uint64(0)
	for _, n := range redialling {
		dials := c.net.Redials(n.Index)
		total += dials
		if most := 2 * uint64(visits[n.PeerID]); dials > most || dials == 0 || visits[n.PeerID] < 2 {
			t.Errorf("%s dialled %d times in %d windows with %d visits, want 1 to %d", n.Agent, dials, windows, visits[n.PeerID], most)
		}
	}
	s := c.sentry.Stats()
	t.Logf("%d nodes dialled %.1f times per window each; %d guests, %d refused, %d inbound visits",
		len(redialling), float64(total)/float64(len(redialling)*windows), s.Guests, s.Refused, s.Inbound)
}
