package devnet

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// churning is a network in which every kind of change happens within a few epochs.
func churning(nodes int) Config {
	cfg := fast(nodes)
	cfg.SlotsPerEpoch = 8
	// A restart costs some hundredths of a second of a core under the race detector.
	cfg.SlotDuration = 250 * time.Millisecond
	cfg.Churn = Churn{Leave: 0.1, Return: 0.5, Move: 0.1, Rekey: 0.1}
	return cfg
}

// TestChurn: after every kind of change, whoever is up by the truth answers at the
// address and with the key of the truth, and can be found.
func TestChurn(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	d := start(t, churning(30))
	digest := d.ourStatus().ForkDigest
	eventually(t, "nodes that left, came back, moved and changed their key", func() bool {
		truth := d.Truth()
		var left, back, moved bool
		for _, n := range truth.Nodes {
			lives := truth.Lives(n.PeerID)
			for i, l := range lives {
				left = left || !l.To.IsZero() && i == len(lives)-1
				if i > 0 {
					same := slices.Equal(l.Multiaddrs, lives[i-1].Multiaddrs)
					back, moved = back || same, moved || !same
				}
			}
		}
		return left && back && moved && len(truth.Nodes) > 32
	})
	c := newCrawler(t)
	visited := make(map[string]bool)
	eventually(t, "a handshake with 30 nodes, ten of them with a second key", func() bool {
		newer := 0
		for _, n := range d.Truth().LiveDuring(time.Now(), time.Now()) {
			if !visited[n.PeerID] && c.visit(t, d, n) {
				visited[n.PeerID] = true
			}
		}
		for _, n := range d.Truth().Nodes[30:] {
			if visited[n.PeerID] {
				newer++
			}
		}
		return len(visited) >= 30 && newer >= 10
	})
	// A search lasts some epochs on a slow machine: it must find who was up all the
	// while, and several searches make up the number.
	found := make(map[string]bool)
	eventually(t, "every node that is up is found, with its address of now", func() bool {
		from := time.Now()
		records := findAll(t, d.Network().Bootnodes)
		live := d.Truth().LiveDuring(from, time.Now())
		for _, n := range live {
			var id eth2.NodeID
			if err := id.UnmarshalText([]byte(n.NodeID)); err != nil {
				t.Fatal(err)
			}
			node := records[[32]byte(id)]
			if node == nil || node.String() != n.ENR || enr.FromNode(node).Eth2.ForkDigest != digest {
				return false
			}
		}
		for _, n := range live {
			found[n.PeerID] = true
		}
		return len(found) > 15
	})
}

// visit shakes hands with a node; false when it went down meanwhile.
func (c *crawler) visit(t *testing.T, d *Devnet, n Node) bool {
	t.Helper()
	id, err := c.connect(t.Context(), n.Multiaddrs[0])
	if err != nil {
		return false
	}
	defer c.Network().ClosePeer(id)
	_, err = c.handshake(t.Context(), id, 2, d.ourStatus())
	return err == nil && id.String() == n.PeerID
}

// TestChurnOfASeed: the same seed takes down the same nodes at the same epochs.
func TestChurnOfASeed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	const nodes, epochs = 20, 3
	firstEnds := func() map[int]eth2.Epoch {
		cfg := churning(nodes)
		cfg.SlotsPerEpoch, cfg.SlotDuration = 16, 100*time.Millisecond
		// Epoch 1 begins when the network is up, however slow the machine.
		cfg.GenesisTime = time.Now().Add(4 * time.Second)
		d := start(t, cfg)
		clock := d.Network().Clock
		eventually(t, "some epochs", func() bool { return clock.EpochAt(time.Now()) > epochs })
		truth, ends := d.Truth(), make(map[int]eth2.Epoch)
		for i, n := range truth.Nodes[:nodes] {
			if to := truth.Lives(n.PeerID)[0].To; !to.IsZero() && clock.EpochAt(to) <= epochs {
				ends[i] = clock.EpochAt(to)
			}
		}
		return ends
	}
	first := firstEnds()
	if len(first) == 0 {
		t.Error("no node went down")
	}
	if diff := cmp.Diff(first, firstEnds()); diff != "" {
		t.Errorf("another churn from the same seed:\n%s", diff)
	}
}

// TestSubnetsAfterRekey: a successor's subscriptions are in the truth from its
// first moment.
func TestSubnetsAfterRekey(t *testing.T) {
	t.Parallel()
	cfg := churning(10)
	cfg.Churn = Churn{Rekey: 0.2}
	d := start(t, cfg)
	c := newCrawler(t)
	digest := d.ourStatus().ForkDigest
	eventually(t, "a successor whose hello is as the truth says", func() bool {
		for _, n := range d.Truth().LiveDuring(time.Now(), time.Now()) {
			if n.Index < 10 {
				continue
			}
			id, err := peer.Decode(n.PeerID)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Network().ConnsToPeer(id)) == 0 {
				if _, err := c.connect(t.Context(), n.Multiaddrs[0]); err != nil {
					continue
				}
				if _, err := c.handshake(t.Context(), id, 2, d.ourStatus()); err != nil {
					continue
				}
			}
			got := c.subnets(id, digest, eth2.TopicAttestation)
			if len(got) > 0 && slices.Equal(got, d.Truth().SubnetsAt(n.PeerID, time.Now())) {
				return true
			}
		}
		return false
	})
}
