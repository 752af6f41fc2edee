package tracker

import (
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
)

const (
	inOregon  = "/ip4/54.184.85.102/tcp/13000"
	inGermany = "/ip4/85.10.200.1/tcp/9000"
)

// openedWithPlaces is opened with places, which may be nil.
func openedWithPlaces(t *testing.T, dir string, now *time.Time, places *geo.Locator) *Tracker {
	t.Helper()
	cfg := config(dir)
	cfg.Places = places
	tr, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	tr.now, tr.refreshed = func() time.Time { return *now }, time.Time{}
	t.Cleanup(func() { tr.store.db.Close() })
	return tr
}

// A peer has the place of its newest handshake, also after a restart and when its address
// has been forgotten. The estimates of an hour have the place of that hour.
func TestPlaceOfAPeer(t *testing.T) {
	places, err := geo.Open(nil, config("").Log)
	if err != nil {
		t.Fatal(err)
	}
	dir, now := t.TempDir(), start.Add(10*time.Hour)
	c := newCrawl(1)
	visitAt := func(tr *Tracker, multiaddr string, at time.Time) {
		for _, e := range c.visit(0, at, 1) {
			if h, ok := e.(*event.MetadataReceived); ok {
				h.Multiaddr = multiaddr
			}
			tr.Add(e)
		}
	}
	code := func(tr *Tracker) string {
		t.Helper()
		p := tr.State().Peer(peerID(0))
		if p == nil {
			t.Fatal("no peer")
		}
		if p.Place == nil {
			return ""
		}
		return p.Place.CountryCode
	}
	expect := func(what string, tr *Tracker, want string) {
		t.Helper()
		if got := code(tr); got != want {
			t.Errorf("%s: country %q, want %q", what, got, want)
		}
	}

	// An earlier version knew no places.
	tr := openedWithPlaces(t, dir, &now, nil)
	visitAt(tr, inOregon, now.Add(-time.Hour))
	flush(t, tr, 0)
	expect("without databases", tr, "")
	tr.killed(t)

	tr = openedWithPlaces(t, dir, &now, places)
	expect("of an earlier version", tr, "US")
	now = now.Add(time.Hour)
	hour := tr.Hour()
	visitAt(tr, inGermany, now)
	flush(t, tr, 1)
	expect("moved", tr, "DE")
	if len(hour) != 1 || hour[0].Place == nil || hour[0].Place.CountryCode != "US" {
		t.Errorf("the hour before it moved: %+v", hour)
	}
	visitAt(tr, inOregon, now.Add(-time.Minute)) // late
	flush(t, tr, 2)
	expect("an older handshake", tr, "DE")
	tr.killed(t)

	tr = openedWithPlaces(t, dir, &now, places)
	expect("after a restart", tr, "DE")
	p := tr.State().Peer(peerID(0))
	forgotten := p.withoutAddresses(now.Add(forgetAddresses).UnixMilli())
	if forgotten.Multiaddr != "" || forgotten.Place == nil || forgotten.Place.City != p.Place.City {
		t.Errorf("without addresses: %+v", forgotten)
	}
	visitAt(tr, "/ip4/10.0.0.1/tcp/9000", now.Add(time.Minute))
	flush(t, tr, 3)
	expect("a private address", tr, "")
}
