package app

import (
	"testing"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/sentry"
	"github.com/chainbound/valtrack/internal/tracker"
)

// What is excluded is so by id or address, and a node that was seen at an excluded address also where
// an event does not say where it is.
func TestOptOut(t *testing.T) {
	x, err := sentry.NewExclude("", []string{peerA, "192.0.2.0/24", "2001:db8::/32"})
	if err != nil {
		t.Fatal(err)
	}
	excluded := excludedBy(x)
	for i, c := range []struct {
		e    event.Event
		want bool
	}{
		{&event.PeerDiscovered{ID: peerA, IP: "203.0.113.1"}, true},
		{&event.VisitEnded{ID: peerB}, false},
		{&event.PeerDiscovered{ID: peerB, IP: "203.0.113.1", IP6: "2001:db8::1"}, true},
		{&event.VisitEnded{ID: peerB, More: true}, true},
		{&event.MetadataReceived{ID: peerC, Multiaddr: "/ip4/192.0.2.7/tcp/9000"}, true},
		{&event.VisitEnded{ID: "16Uother", Multiaddr: "/ip4/203.0.113.7/tcp/9000"}, false},
	} {
		if got := excluded(c.e, nil); got != c.want {
			t.Errorf("event %d: %v, want %v", i, got, c.want)
		}
	}
	for text, want := range map[string]bool{`{"id":"` + peerA + `"`: true, `{"multiaddr":"/ip4/192.0.2.1/tcp/1"`: true, `{"id":"16Uother"}`: false, "": false} {
		if got := excluded(nil, []byte(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for p, want := range map[*tracker.Peer]bool{
		{ID: peerA}: true, {ID: peerB}: false, {ID: peerB, Multiaddr: "/ip4/192.0.2.7/tcp/9000"}: true,
		{ID: peerB, Record: tracker.Record{IP: "192.0.2.7"}}: true, {ID: peerB, Record: tracker.Record{IP: "203.0.113.1", IP6: "2001:db8::1"}}: true,
		{ID: peerB, Multiaddr: "/ip4/203.0.113.7/tcp/9000", Record: tracker.Record{IP: "203.0.113.7"}}: false,
	} {
		if got := excludes(x, p); got != want {
			t.Errorf("%+v: %v, want %v", p, got, want)
		}
	}
	if excludedBy(nil) != nil {
		t.Error("no list is asked for each event")
	}
}
