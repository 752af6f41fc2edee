package tracker

import (
	"fmt"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
)

// A node that comes back under another id at its address counts once.
func TestOneNodeAnAddress(t *testing.T) {
	dir, now := t.TempDir(), start.Add(10*time.Hour)
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	for i, at := range []time.Duration{1, 2, 3} {
		for _, e := range c.visit(i, start.Add(at*time.Hour), 0) {
			if h, ok := e.(*event.MetadataReceived); ok && i < 2 {
				h.Multiaddr = "/ip6/2001:db8:0::7/tcp/9000"
			}
			tr.Add(e)
		}
	}
	// An inbound connection tells no address.
	for _, e := range c.visit(3, start.Add(4*time.Hour), 0) {
		if h, ok := e.(*event.MetadataReceived); ok {
			h.Direction, h.Multiaddr = event.Inbound, "/ip6/2001:db8::7/tcp/9000"
		}
		tr.Add(e)
	}
	flush(t, tr, 0)
	v, err := Read(t.Context(), dir) // while tr writes
	if err != nil {
		t.Fatal(err)
	}
	nodes, twice := v.Counted()
	var ids []string
	for _, p := range nodes {
		ids = append(ids, p.ID)
	}
	if diff := gocmp.Diff([]string{peerID(1), peerID(2), peerID(3)}, ids); diff != "" || twice != 1 {
		t.Errorf("%d left out, counted (-want +got):\n%s", twice, diff)
	}
	total := v.Totals()
	if total.Nodes != 3 || total.DuplicateIDs != 1 || len(total.Clients) != 3 {
		t.Errorf("totals %+v", total)
	}
	p := v.Peer(peerID(1))
	if p.Address != "tcp/[2001:db8::7]:9000" {
		t.Errorf("address %q", p.Address)
	}
	if o := v.SameAddress(p); len(o) != 1 || o[0].ID != peerID(0) {
		t.Errorf("same address: %v", o)
	}
}

func TestOldStatisticsGo(t *testing.T) {
	dir, now := t.TempDir(), start.Add(400*time.Hour)
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	const days = Window + 6
	for d := range days {
		at := start.Add(time.Duration(d) * 24 * time.Hour).Add(time.Hour)
		for _, e := range c.visit(0, at, 1) {
			tr.Add(e)
		}
		flush(t, tr, uint64(d))
	}
	p := tr.State().Peer(peerID(0))
	if len(p.days) != Window || p.days[0].day != dayOf(start.UnixMilli())+days-Window {
		t.Errorf("%d days from %d", len(p.days), p.days[0].day)
	}
	if p.Observations != days {
		t.Errorf("%d observations, want all %d", p.Observations, days)
	}
	// A peer that was not heard of for long is forgotten, also in the database.
	now = start.Add(days*24*time.Hour + forgetAfter + time.Hour)
	if err := tr.Recompute(t.Context()); err != nil {
		t.Fatal(err)
	}
	tr.killed(t)
	if n := opened(t, dir, &now).State().Len(); n != 0 {
		t.Errorf("%d peers after %v", n, forgetAfter)
	}
}

// One node under an old id that was found by QUIC and a new one that was found by TCP:
// its record has both ports. Another one behind its address has others.
func TestOneNodeOverTransports(t *testing.T) {
	dir, now := t.TempDir(), start.Add(10*time.Hour)
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	found := func(i int, multiaddr string, tcp, quic uint16) {
		record := c.discovered(i, start.Add(time.Minute))
		record.IP, record.Port, record.QUIC = "192.0.2.7", tcp, quic
		tr.Add(record)
		for _, e := range c.visit(i, start.Add(time.Duration(1+i)*time.Hour), 0) {
			if h, ok := e.(*event.MetadataReceived); ok {
				h.Multiaddr = multiaddr
			}
			tr.Add(e)
		}
	}
	found(0, "/ip4/192.0.2.7/udp/9001/quic-v1", 9000, 9001)
	found(1, "/ip4/192.0.2.7/tcp/9000", 9000, 9001)
	found(2, "/ip4/192.0.2.7/tcp/9100", 9100, 9101)
	found(3, "/ip4/198.51.100.7/tcp/9000", 9000, 9001) // its record claims an address that no dial has shown
	flush(t, tr, 0)
	nodes, twice := counted(tr.peers)
	var ids []string
	for _, p := range nodes {
		ids = append(ids, p.ID)
	}
	if diff := gocmp.Diff([]string{peerID(1), peerID(2), peerID(3)}, ids); diff != "" || twice != 1 {
		t.Errorf("%d left out, counted (-want +got):\n%s", twice, diff)
	}
}

// Peers at a node's address whose records name its ports, but that were dialled at others,
// do not take its place.
func TestClaimedEndpointsDisplaceNobody(t *testing.T) {
	dir, now := t.TempDir(), start.Add(10*time.Hour)
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	found := func(i int, multiaddr string, tcp, quic, udp uint16) {
		record := c.discovered(i, start.Add(time.Minute))
		record.IP, record.Port, record.QUIC, record.UDP = "192.0.2.7", tcp, quic, udp
		tr.Add(record)
		for _, e := range c.visit(i, start.Add(time.Duration(1+i)*time.Hour), 0) {
			if h, ok := e.(*event.MetadataReceived); ok {
				h.Multiaddr = multiaddr
			}
			tr.Add(e)
		}
	}
	found(0, "/ip4/192.0.2.7/tcp/9000", 9000, 9001, 9000)
	found(1, "/ip4/192.0.2.7/tcp/9100", 9100, 9001, 9100)
	found(2, "/ip4/192.0.2.7/tcp/9200", 9200, 9201, 9000)
	found(3, "/ip4/192.0.2.7/udp/9301/quic-v1", 9000, 9301, 9300)
	flush(t, tr, 0)
	nodes, twice := counted(tr.peers)
	if len(nodes) != 4 || nodes[0].ID != peerID(0) || twice != 0 {
		t.Errorf("%d nodes counted, %d left out", len(nodes), twice)
	}
}

// Addresses are personal data: they go a month after they were last seen to hold, while
// what a peer showed stays for longer.
func TestOldAddressesGo(t *testing.T) {
	dir, now := t.TempDir(), start.Add(2*time.Hour)
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	visit := func(i int, at time.Time, multiaddr string) {
		for _, e := range c.visit(i, at, 0) {
			if h, ok := e.(*event.MetadataReceived); ok {
				h.Multiaddr = multiaddr
			}
			tr.Add(e)
		}
	}
	tr.Add(c.discovered(0, start))
	visit(0, start.Add(time.Hour), "/ip4/192.0.2.1/tcp/9000") // never seen again
	visit(1, start.Add(time.Hour), "/ip4/192.0.2.2/tcp/9000")
	visit(1, start.Add(31*24*time.Hour), "/ip4/192.0.2.3/tcp/9000") // has moved
	flush(t, tr, 0)
	now = start.Add(32 * 24 * time.Hour)
	if err := tr.Recompute(t.Context()); err != nil {
		t.Fatal(err)
	}
	tr.killed(t)
	tr = opened(t, dir, &now)
	if p := tr.State().Peer(peerID(0)); p.Address != "" || p.Multiaddr != "" || len(p.Endpoints) > 0 || p.Record.ENR != "" || p.Record.IP != "" || p.Observations != 1 {
		t.Errorf("kept of the peer that is gone: %+v", p)
	}
	if p := tr.State().Peer(peerID(1)); len(p.Endpoints) != 1 || p.Address != "tcp/192.0.2.3:9000" || p.Multiaddr == "" {
		t.Errorf("kept of the peer that has moved: %+v", p)
	}
}

// The bound holds after each segment, not only each hour.
func TestPeersAreBounded(t *testing.T) {
	now := start.Add(10 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	tr.maxPeers = 10
	c := newCrawl(1)
	for _, e := range c.events(5, 1, start.Add(time.Hour), 0) {
		tr.Add(e)
	}
	flush(t, tr, 0)
	for i := range 20 {
		tr.Add(c.discovered(100+i, start.Add(2*time.Hour)))
	}
	flush(t, tr, 1)
	if tr.State().Len() != 10 || tr.State().Peer(peerID(4)) == nil {
		t.Errorf("%d peers, one with a handshake: %v", tr.State().Len(), tr.State().Peer(peerID(4)) != nil)
	}
}

// A peer chooses its agent: neither its days nor what is learned may grow with it.
func TestVersionsAreBounded(t *testing.T) {
	now := start.Add(10 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	c := newCrawl(1)
	for i := range maxVersions + 50 {
		c.agents = []string{fmt.Sprintf("Lighthouse/v8.%d.0/x", i)}
		for _, e := range c.visit(i, start.Add(time.Hour), 0) {
			tr.Add(e)
		}
		for _, e := range c.visit(0, start.Add(time.Duration(i)*time.Second), 0) {
			tr.Add(e)
		}
	}
	flush(t, tr, 0)
	if n := len(tr.State().Peer(peerID(0)).days); n != maxVersionsADay {
		t.Errorf("%d versions in a day", n)
	}
	last := tr.learner.learned.Versions[len(tr.learner.learned.Versions)-1]
	if n := len(tr.learner.learned.Versions); n != maxVersions || last.Kind != "other" || last.Nodes != 51 || !last.Unproven() {
		t.Errorf("%d versions, the last %+v", n, last)
	}
}

// A month of one peer in one segment, as a rebuild has it, leaves the newest days.
func TestManyDaysAtOnce(t *testing.T) {
	now := start.Add(30 * 24 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	c := newCrawl(1)
	for day := range 29 {
		for _, e := range c.visit(0, start.Add(time.Duration(day)*24*time.Hour+time.Hour), 0) {
			tr.Add(e)
		}
	}
	flush(t, tr, 0)
	days := tr.State().Peer(peerID(0)).days
	if want := dayOf(start.UnixMilli()) + 28; len(days) != Window || days[len(days)-1].day != want {
		t.Errorf("%d days to %d, want %d to %d", len(days), days[len(days)-1].day, Window, want)
	}
}
