package report

import (
	"cmp"
	"fmt"

	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/geo/hosting"
)

// Groups of the cloud grouping that are not one cloud.
const (
	otherHosting = "other hosting" // of a provider without a short name
	notHosted    = "not hosted"
)

// Groups by place or network, which Location.Group gives.
const (
	byCountry = "country"
	byCity    = "city"
	byNetwork = "network"
	byHosting = "hosting"
	byCloud   = "cloud"
)

// Group is the group of the place by one of its properties, as a Member without estimate.
func (l Location) Group(by string) Member {
	switch by {
	case byCountry:
		code := orEmpty(l.CountryCode)
		return Member{Group: cmp.Or(code, orEmpty(l.Country)), Label: cmp.Or(geo.CountryName(code), orEmpty(l.Country)), Holder: true}
	case byCity:
		if l.City == nil {
			return Member{}
		}
		return Member{Group: *l.City + ", " + cmp.Or(orEmpty(l.CountryCode), orEmpty(l.Country)), Holder: true}
	case byNetwork:
		if l.ASN == nil {
			return Member{}
		}
		return Member{Group: fmt.Sprintf("AS%d", *l.ASN), Label: orEmpty(l.ASName), Holder: true}
	case byHosting:
		return Member{Group: unlessUnknown(orEmpty(l.Hosting))}
	}
	switch kind := unlessUnknown(orEmpty(l.Hosting)); {
	case l.Cloud != nil:
		return Member{Group: *l.Cloud, Holder: true}
	case kind == string(hosting.Hosting):
		return Member{Group: otherHosting}
	case kind != "":
		return Member{Group: notHosted}
	}
	return Member{}
}

// simulated reports whether the place is not the address's own.
func (l Location) simulated() bool { return geo.Simulated(orEmpty(l.GeoSource)) }
