package watch

import (
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/sentry"
)

// A node that has room for us dials us again after our goodbye, once a second. Between two
// visits that costs it two connections at most, also when it dials for each visit, since
// its record has no port.
func TestGoodbyeCostsANodeTwoConnections(t *testing.T) {
	const nodes, windows, slot = 11, 6, slowness * 200 * time.Millisecond
	c := startCrawl(t,
		devnet.Config{Nodes: nodes, Seed: 4, SlotDuration: slot, SlotsPerEpoch: 32, Faults: devnet.Mix{devnet.Redials: 0.36, devnet.NoPort: 0.36}},
		sentry.Config{WatchEpochs: 1, MaxWatched: 2, MaxConnections: 100},
	)
	dialling := make(map[devnet.Persona][]devnet.Node)
	for _, n := range c.net.Truth().Nodes {
		dialling[n.Persona] = append(dialling[n.Persona], n)
		if n.Persona == devnet.NoPort {
			c.dialledBy(t, n)
		}
	}
	epoch := c.net.Network().Clock.EpochDuration()
	time.Sleep(windows * epoch) // what is measured is time
	dials := make(map[int]uint64)
	for _, list := range dialling {
		for _, n := range list {
			dials[n.Index] = c.net.Redials(n.Index)
		}
	}
	time.Sleep(slot) // what it dialled last may become a visit
	visits := make(map[string]int)
	contacts := make(map[string][]devnet.Contact)
	for _, contact := range c.net.Seen("") {
		contacts[contact.NodePeerID] = append(contacts[contact.NodePeerID], contact)
		if contact.Requests.MetaData > 0 {
			visits[contact.NodePeerID]++
		}
	}
	for _, persona := range []devnet.Persona{devnet.Redials, devnet.NoPort} {
		list := dialling[persona]
		if len(list) == 0 {
			t.Fatalf("no node of persona %s", persona)
		}
		var total, slack uint64
		if persona == devnet.NoPort {
			slack = c.sentry.Stats().Refused // of these it dials again at once
		}
		for _, n := range list {
			dials := dials[n.Index]
			total += dials
			if most := 2*uint64(visits[n.PeerID]) + slack; dials > most || dials == 0 || visits[n.PeerID] < 2 {
				t.Errorf("%s %s dialled %d times in %d windows with %d visits, want 1 to %d", persona, n.Agent, dials, windows, visits[n.PeerID], most)
				for _, contact := range contacts[n.PeerID] {
					t.Logf("inbound %t, opened %s, closed %s, %+v", contact.Inbound, contact.Opened.Format(time.StampMilli), contact.Closed.Format(time.StampMilli), contact.Requests)
				}
			}
		}
		t.Logf("%s: %d nodes dialled %.1f times per window each", persona, len(list), float64(total)/float64(len(list)*windows))
	}
	s := c.sentry.Stats()
	if most := uint64(len(dialling[devnet.NoPort]) * windows / 5); s.Refused > most {
		t.Errorf("%d connections refused, want at most %d: those that come while the one before them ends", s.Refused, most)
	}
	t.Logf("%d guests, %d refused, %d inbound visits", s.Guests, s.Refused, s.Inbound)
}
