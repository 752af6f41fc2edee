package app

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/geo/hosting"
)

// A new user of the devnet sees a map of the world, with about the hosting of mainnet.
func TestSimulatedNodesHavePlaces(t *testing.T) {
	places, err := openPlaces(nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	simulatePlaces(network.Network{Name: "mainnet"}, places, slog.New(slog.DiscardHandler))
	if p := places.Find(netip.MustParseAddr("127.0.0.2")); p != nil {
		t.Errorf("another network's node has a place: %+v", p)
	}
	if places, err = openPlaces(nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	simulatePlaces(network.Network{Name: devnet.Name}, places, slog.New(slog.DiscardHandler))
	const nodes = 1000
	countries, networks, hosted := map[string]int{}, map[uint32]bool{}, 0
	ip := netip.MustParseAddr("127.0.0.2")
	for range nodes {
		p := places.Find(ip)
		if p == nil {
			t.Fatalf("%s has no place", ip)
		}
		if p.CountryCode == "" || p.City == "" || !p.Located || p.ASN == 0 || !geo.Simulated(p.Source) || strings.Contains(p.Source, ip.String()) {
			t.Errorf("%s: %+v, source %q", ip, p, p.Source)
		}
		countries[p.CountryCode]++
		networks[p.ASN] = true
		if p.Hosting == hosting.Hosting {
			hosted++
		}
		ip = ip.Next()
	}
	if len(countries) < 25 || len(networks) < 50 || countries["US"] < nodes/5 || countries["DE"] < nodes/10 || hosted < nodes/2 || hosted > nodes*4/5 {
		t.Errorf("%d countries, %d networks, %v, %d are hosted", len(countries), len(networks), countries, hosted)
	}
}
