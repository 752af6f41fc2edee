package geo

import (
	"log/slog"
	"net/netip"
	"testing"
)

func TestSimulatedPlaces(t *testing.T) {
	l, err := Open(nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	loopback, real := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("88.99.1.1")
	if p := l.Find(loopback); p != nil {
		t.Errorf("%+v without simulation", p)
	}
	if l, err = Open(nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	l.Simulate(func(ip netip.Addr) (netip.Addr, bool) { return real, ip == loopback })
	simulated, own := l.Find(loopback), l.Find(real)
	if simulated.CountryCode != "DE" || simulated.ASN != own.ASN || simulated.City != own.City {
		t.Errorf("%+v, want that of %s, %+v", simulated, real, own)
	}
	if !Simulated(simulated.Source) || Simulated(own.Source) {
		t.Errorf("the sources are %q, of which the first is simulated, and %q", simulated.Source, own.Source)
	}
	if p := l.Find(netip.MustParseAddr("::ffff:127.0.0.2")); p == nil || p.ASN != own.ASN {
		t.Errorf("%+v of the address written as IPv6", p)
	}
	if p := l.Find(netip.MustParseAddr("127.0.0.3")); p != nil {
		t.Errorf("%+v of an address without a stand-in", p)
	}
}
