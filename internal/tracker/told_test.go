package tracker

import (
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// What a watch was told after the handshake is newer than the handshake, in whatever order
// the events come, and older than the next handshake.
func TestMetaDataOfAWatchIsNewerThanItsHandshake(t *testing.T) {
	at := start.Add(time.Hour)
	cgc := func(n uint64) *event.MetaData {
		return &event.MetaData{Attnets: eth2.NewAttnets([]int{int(n % 64)}), CustodyGroupCount: &n}
	}
	handshake := func(minutes int, n uint64) event.Event {
		return &event.MetadataReceived{Common: common(at.Add(time.Duration(minutes) * time.Minute)), ID: peerID(0), VisitID: "v",
			MetaData: cgc(n), ClientVersion: prysm, Direction: event.Inbound}
	}
	from := at.Add(time.Second).UnixMilli()
	watch := &event.VisitEnded{Common: common(at.Add(10 * time.Minute)), ID: peerID(0), VisitID: "v", Outcome: event.OutcomeOK,
		Watch: &event.Watch{From: from, To: from + 500_000, MetaDataChanges: []event.WatchMetaData{{At: 60_000, MetaData: *cgc(53)}}}}
	for _, c := range []struct {
		name   string
		events []event.Event
		want   uint64
	}{
		{"watch after its handshake", []event.Event{handshake(0, 4), watch}, 53},
		{"watch before its handshake", []event.Event{watch, handshake(0, 4)}, 53},
		{"a newer handshake", []event.Event{handshake(0, 4), watch, handshake(20, 8)}, 8},
		{"a newer handshake that comes first", []event.Event{handshake(20, 8), handshake(0, 4), watch}, 8},
	} {
		now := at.Add(time.Hour)
		tr := opened(t, t.TempDir(), &now)
		for _, e := range c.events {
			tr.Add(e)
		}
		flush(t, tr, 0)
		p := tr.State().Peer(peerID(0))
		if p.CustodyGroupCount == nil || *p.CustodyGroupCount != c.want || p.Attnets != eth2.NewAttnets([]int{int(c.want)}) {
			t.Errorf("%s: custody group count %v, attnets %v, want %d", c.name, p.CustodyGroupCount, p.Attnets, c.want)
		}
	}
}

// Another sentry of this program is no node of the network.
func TestSentriesAreNotCounted(t *testing.T) {
	now := start.Add(2 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	c := newCrawl(1)
	c.agents = []string{lighthouse, "valtrack/v1.2.3"}
	for _, e := range c.events(2, 1, start.Add(time.Hour), time.Minute) {
		tr.Add(e)
	}
	flush(t, tr, 0)
	nodes, duplicates := tr.State().Counted()
	if len(nodes) != 1 || nodes[0].ID != peerID(0) || duplicates != 0 {
		t.Errorf("%d nodes, %d duplicates", len(nodes), duplicates)
	}
	if p := tr.State().Peer(peerID(1)); p.Client.Kind != eth2.ClientValtrack {
		t.Errorf("the sentry is taken for %+v", p.Client)
	}
}
