package report

import (
	"testing"

	"github.com/chainbound/valtrack/internal/estimate"
)

func TestGroupOfALocation(t *testing.T) {
	hetzner := Location{
		Country: ptr("Germany"), CountryCode: ptr("DE"), City: ptr("Falkenstein"), ASN: ptr[uint32](24940), ASName: ptr("Hetzner Online GmbH"),
		Hosting: ptr("hosting"), Cloud: ptr("hetzner"),
	}
	for by, want := range map[string]Member{
		byCountry: {Group: "DE", Label: "Germany", Holder: true},
		byCity:    {Group: "Falkenstein, DE", Holder: true},
		byNetwork: {Group: "AS24940", Label: "Hetzner Online GmbH", Holder: true},
		byHosting: {Group: "hosting"},
		byCloud:   {Group: "hetzner", Holder: true},
	} {
		if got := hetzner.Group(by); got != want {
			t.Errorf("%s: %+v, want %+v", by, got, want)
		}
		if got := (Location{}).Group(by); got.Group != "" {
			t.Errorf("%s of nothing: %+v", by, got)
		}
		if got := (Location{Hosting: ptr("unknown")}).Group(by); got.Group != "" {
			t.Errorf("%s of an unknown kind of network: %+v", by, got)
		}
	}
	// Providers without a short name are many, and no cloud; neither are access networks.
	for kind, want := range map[string]string{"hosting": otherHosting, "isp": notHosted, "business": notHosted} {
		if got := (Location{Hosting: &kind}).Group(byCloud); got != (Member{Group: want}) {
			t.Errorf("%s: %+v, want %s", kind, got, want)
		}
	}
	// The user's database may have another name for a country, and none of its code.
	if got := (Location{Country: ptr("Deutschland"), CountryCode: ptr("DE")}).Group(byCountry); got.Label != "Germany" {
		t.Errorf("%+v", got)
	}
	if got := (Location{Country: ptr("Germany")}).Group(byCountry); got.Group != "Germany" {
		t.Errorf("%+v", got)
	}
}

func TestGroupsSayThatPlacesAreSimulated(t *testing.T) {
	r := grouped(t, "prysm:10:100")
	r.counted[0].node.GeoSource = ptr("simulated; country: DB-IP City Lite 2026-06-05")
	if g, err := r.Groups("country", false); err != nil || !g.Simulated || g.Unknown == nil || g.Unknown.Nodes != 10 {
		t.Errorf("%+v, %v", g, err)
	}
	r.counted = []counted{{r.counted[1].node, estimate.Estimate{}, 1}}
	if g, err := r.Groups("country", false); err != nil || g.Simulated {
		t.Errorf("%+v, %v", g, err)
	}
}
