package geo

import (
	"strings"

	"github.com/chainbound/valtrack/internal/geo/hosting"
)

// Place is what is known about an address. Empty strings and zeros are unknown.
type Place struct {
	CountryCode string `json:"country_code,omitempty"` // ISO 3166-1 alpha-2
	Country     string `json:"country,omitempty"`      // English name
	Region      string `json:"region,omitempty"`       // state or province
	City        string `json:"city,omitempty"`
	// Latitude and Longitude, in degrees, are known when Located is set.
	Latitude     float64 `json:"latitude,omitempty"`
	Longitude    float64 `json:"longitude,omitempty"`
	Located      bool    `json:"located,omitempty"`
	ASN          uint32  `json:"asn,omitempty"`
	Organization string  `json:"organization,omitempty"` // of the autonomous system
	// Hosting is who uses the address. It is hosting.Unknown for a network of which that is
	// not known, and empty without a network.
	Hosting hosting.Type `json:"hosting,omitempty"`
	Cloud   string       `json:"cloud,omitempty"` // of the network, see hosting.Verdict
	// Source names the databases of the fields, with the dates of their data: see describe.
	Source string `json:"source,omitempty"`

	sources [fieldCount]*Source
	// verdict is the source of Hosting when it is from the network.
	verdict string
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

// known reports whether anything is known.
func (p *Place) known() bool {
	for f := range fieldCount {
		if p.has(f) {
			return true
		}
	}
	return false
}

// describe names the databases that the fields are from, with the dates of their data, and
// what decided about hosting:
// "country, city: GeoLite2-City 2026-11-24; asn: RouteViews/NRO/DB-IP 2026-06-17; hosting: table".
func (p *Place) describe() string {
	var out strings.Builder
	last := ""
	for f, s := range p.sources {
		from := ""
		switch {
		case s != nil:
			from = s.String()
		case field(f) == fieldHosting:
			from = p.verdict
		}
		switch {
		case from == "":
			continue
		case from == last:
			out.WriteString(", ")
		case last != "":
			out.WriteString(": " + last + "; ")
		}
		out.WriteString(fieldNames[f])
		last = from
	}
	if last != "" {
		out.WriteString(": " + last)
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
	p.Hosting = hosting.Type(p.take(fieldHosting, string(p.Hosting), string(q.Hosting), from))
}

// classify sets the cloud, and the kind of hosting where no database says it.
func (p *Place) classify() {
	if p.ASN == 0 {
		return
	}
	v := hosting.Classify(p.ASN, p.Organization)
	p.Cloud = v.Cloud
	if p.Hosting == "" {
		p.Hosting, p.verdict = v.Type, v.Source
	}
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
