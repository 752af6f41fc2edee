package dataset

import (
	"encoding/json"

	"github.com/chainbound/valtrack/internal/geo"
)

// Text is a column of text that is null when it is empty. The Parquet writer takes a batch of
// these at once, and pointers one by one; reading one allocates nothing.
type Text string

// MarshalJSON implements json.Marshaler.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}

// Number is a column of numbers that is null when it is 0: see Text.
type Number uint32

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if n == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(uint32(n))
}

// SetPlace sets the columns of the place; a nil place makes them null. The row shares what
// it points to with the place.
func (r *ValidatorRow) SetPlace(p *geo.Place) {
	p, r.GeoLatitude, r.GeoLongitude = placeOf(p)
	r.GeoCountry, r.GeoCountryCode, r.GeoRegion, r.GeoCity = Text(p.Country), Text(p.CountryCode), Text(p.Region), Text(p.City)
	r.GeoASN, r.GeoOrganization, r.GeoHosting, r.GeoCloud, r.GeoSource = Number(p.ASN), Text(p.Organization), Text(p.Hosting), Text(p.Cloud), Text(p.Source)
}

// SetPlace is as that of ValidatorRow.
func (r *EstimateRow) SetPlace(p *geo.Place) {
	p, r.GeoLatitude, r.GeoLongitude = placeOf(p)
	r.GeoCountry, r.GeoCountryCode, r.GeoRegion, r.GeoCity = Text(p.Country), Text(p.CountryCode), Text(p.Region), Text(p.City)
	r.GeoASN, r.GeoOrganization, r.GeoHosting, r.GeoCloud, r.GeoSource = Number(p.ASN), Text(p.Organization), Text(p.Hosting), Text(p.Cloud), Text(p.Source)
}

var nowhere geo.Place

// placeOf gives a place, an empty one for nil, and its coordinates: 0 is one, so that only
// they need pointers.
func placeOf(p *geo.Place) (place *geo.Place, latitude, longitude *float64) {
	switch {
	case p == nil:
		return &nowhere, nil, nil
	case !p.Located:
		return p, nil, nil
	}
	return p, &p.Latitude, &p.Longitude
}
