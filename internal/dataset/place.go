package dataset

import "github.com/chainbound/valtrack/internal/geo"

// SetPlace sets the columns of the place; a nil place makes them null. The row shares what
// it points to with the place.
func (r *ValidatorRow) SetPlace(p *geo.Place) {
	c := placeOf(p)
	r.GeoCountry, r.GeoCountryCode, r.GeoRegion, r.GeoCity, r.GeoLatitude, r.GeoLongitude = c.country, c.code, c.region, c.city, c.latitude, c.longitude
	r.GeoASN, r.GeoOrganization, r.GeoHosting, r.GeoCloud, r.GeoSource = c.asn, c.organization, c.hosting, c.cloud, c.source
}

// SetPlace is as that of ValidatorRow.
func (r *EstimateRow) SetPlace(p *geo.Place) {
	c := placeOf(p)
	r.GeoCountry, r.GeoCountryCode, r.GeoRegion, r.GeoCity, r.GeoLatitude, r.GeoLongitude = c.country, c.code, c.region, c.city, c.latitude, c.longitude
	r.GeoASN, r.GeoOrganization, r.GeoHosting, r.GeoCloud, r.GeoSource = c.asn, c.organization, c.hosting, c.cloud, c.source
}

// placeColumns are the columns of a place. An embedded struct cannot be null in parts: see
// Common.
type placeColumns struct {
	country, code, region, city  *string
	latitude, longitude          *float64
	asn                          *uint32
	organization, hosting, cloud *string
	source                       *string
}

func placeOf(p *geo.Place) (c placeColumns) {
	if p == nil {
		return c
	}
	c.country, c.code, c.region, c.city = known(&p.Country), known(&p.CountryCode), known(&p.Region), known(&p.City)
	if p.Located {
		c.latitude, c.longitude = &p.Latitude, &p.Longitude
	}
	if p.ASN != 0 {
		c.asn = &p.ASN
	}
	c.organization, c.hosting, c.cloud, c.source = known(&p.Organization), known((*string)(&p.Hosting)), known(&p.Cloud), known(&p.Source)
	return c
}

// known is nil for an empty string.
func known(s *string) *string {
	if *s == "" {
		return nil
	}
	return s
}
