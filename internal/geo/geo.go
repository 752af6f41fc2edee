package geo

import "strings"

// Place is what is known about an address. Empty strings and zeros are unknown.
type Place struct {
	CountryCode string // ISO 3166-1 alpha-2
	Country     string // English name
	Region      string // state or province
	City        string
	// Latitude and Longitude, in degrees, are known when Located is set.
	Latitude, Longitude float64
	Located             bool
	ASN                 uint32
	Organization        string // of the autonomous system
	// Hosting is who uses the address, in IPinfo's words: isp, hosting, business or education.
	Hosting string

	sources   [fieldCount]*Source
	simulated bool
}

// field is a part of a Place that has one source.
type field int

const (
	fieldCountry field = iota
	fieldRegion
	fieldCity
	fieldCoordinates
	fieldASN
	fieldOrganization
	fieldHosting
	fieldCount
)

var fieldNames = [fieldCount]string{"country", "region", "city", "coordinates", "asn", "organization", "hosting"}

func (p *Place) has(f field) bool {
	switch f {
	case fieldCountry:
		return p.CountryCode != "" || p.Country != ""
	case fieldRegion:
		return p.Region != ""
	case fieldCity:
		return p.City != ""
	case fieldCoordinates:
		return p.Located
	case fieldASN:
		return p.ASN != 0
	case fieldOrganization:
		return p.Organization != ""
	}
	return p.Hosting != ""
}

// Known reports whether anything is known.
func (p *Place) Known() bool {
	for f := range fieldCount {
		if p.has(f) {
			return true
		}
	}
	return false
}

// Source names the databases that the fields are from, with the dates of their data:
// "country, city: GeoLite2-City 2026-11-24; asn: RouteViews/NRO/DB-IP 2026-06-17".
func (p *Place) Source() string {
	var out strings.Builder
	if p.simulated {
		out.WriteString(simulatedSource + ", as of another address: ")
	}
	var last *Source
	for f := range fieldCount {
		s := p.sources[f]
		switch {
		case s == nil:
			continue
		case s == last:
			out.WriteString(", ")
		case last != nil:
			out.WriteString(": " + last.String() + "; ")
		}
		out.WriteString(fieldNames[f])
		last = s
	}
	if last != nil {
		out.WriteString(": " + last.String())
	}
	return out.String()
}

// fill takes what is not known yet from a database of lower priority. Its place is taken
// only where both agree about all that both know: the city of another country would make
// a place that is in no database.
func (p *Place) fill(q *Place, from *Source) {
	if p.agrees(q) {
		if !p.has(fieldCity) && !p.has(fieldCoordinates) {
			p.City = p.take(fieldCity, p.City, q.City, from)
		}
		p.Region = p.take(fieldRegion, p.Region, q.Region, from)
		if !p.has(fieldCoordinates) && q.Located {
			p.Latitude, p.Longitude, p.Located = q.Latitude, q.Longitude, true
			p.sources[fieldCoordinates] = from
		}
		if !p.has(fieldCountry) && q.has(fieldCountry) {
			p.CountryCode, p.Country = q.CountryCode, q.Country
			p.sources[fieldCountry] = from
		}
	}
	if p.ASN == 0 && q.ASN != 0 {
		p.ASN, p.sources[fieldASN] = q.ASN, from
	}
	if p.ASN == q.ASN {
		p.Organization = p.take(fieldOrganization, p.Organization, q.Organization, from)
	}
	p.Hosting = p.take(fieldHosting, p.Hosting, q.Hosting, from)
}

// take gives the value of a field: what is known, or what from says.
func (p *Place) take(f field, known, other string, from *Source) string {
	if known != "" || other == "" {
		return known
	}
	p.sources[f] = from
	return other
}

// agrees reports whether no name of a place is known differently in both.
func (p *Place) agrees(q *Place) bool {
	same := func(a, b string) bool { return a == "" || b == "" || a == b }
	return same(p.CountryCode, q.CountryCode) && same(p.Country, q.Country) && same(p.Region, q.Region) && same(p.City, q.City)
}
