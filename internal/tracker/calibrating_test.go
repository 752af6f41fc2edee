package tracker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Peer ids can be chosen: a peer that comes later does not get ahead of others by its id.
func TestCalibratingPeersAreThoseKnownForLongest(t *testing.T) {
	var peers []*Peer
	add := func(id string, prefix int, seen int64) {
		peers = append(peers, &Peer{ID: id, FirstSeen: seen, Client: eth2.Client{Kind: eth2.ClientTeku}, Multiaddr: fmt.Sprintf("/ip4/193.0.%d.1/tcp/9000", prefix)})
	}
	for i := range 10 {
		add(fmt.Sprintf("a%d", i), i, 100) // ground to come first
		add(fmt.Sprintf("m%d", i), 20+i, int64(i))
	}
	add("a", 25, 50) // in a prefix with one that was there before
	slices.SortFunc(peers, func(a, b *Peer) int { return len(a.ID) - len(b.ID) })
	got := calibrating(peers)
	if len(got) != 20 || got[0].ID != "m0" || got[9].ID != "m9" || got[10].ID != "a0" {
		t.Errorf("%d peers, first %s, then %s and %s", len(got), got[0].ID, got[9].ID, got[10].ID)
	}
}

// A node calibrates its version with what it has shown since its validators last changed: its
// custody group count is that of now.
func TestCalibrationBeginsAtTheLastChange(t *testing.T) {
	const days, changed = 6, 4
	now := start.Add(days * 24 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	c := newCrawl(1)
	for day := range days {
		for _, e := range c.visit(0, start.Add(time.Duration(day)*24*time.Hour+time.Hour), 1) {
			tr.Add(e)
		}
	}
	flush(t, tr, 0)
	p := tr.peers[peerID(0)]
	for since, want := range map[int64]int{0: days, start.Add(changed * 24 * time.Hour).UnixMilli(): days - changed} {
		for n := range byVersion([]*Peer{p}, map[*Peer]int64{p: since}) {
			if len(n.Statistics) != want {
				t.Errorf("since %d: %d days, want %d", since, len(n.Statistics), want)
			}
		}
	}
}
