package api

import (
	"cmp"
	"math"

	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/report"
	"github.com/chainbound/valtrack/internal/tracker"
)

// placeOf is where a peer is.
func placeOf(p *tracker.Peer) place {
	out := place{latitude: math.NaN(), longitude: math.NaN()}
	g := p.Place
	if g == nil {
		return out
	}
	out.country, out.code, out.region, out.city = cmp.Or(g.Country, g.CountryCode), g.CountryCode, g.Region, g.City
	out.asn, out.asName, out.hosting, out.cloud, out.source = g.ASN, g.Organization, string(g.Hosting), g.Cloud, g.Source
	if g.Located {
		out.latitude, out.longitude = g.Latitude, g.Longitude
	}
	return out
}

// location is the place as reports group by it.
func (p place) location() report.Location {
	return report.Location{
		Country: known(p.country), CountryCode: known(p.code), Region: known(p.region), City: known(p.city),
		ASN: known(p.asn), ASName: known(p.asName), Hosting: known(p.hosting), Cloud: known(p.cloud),
	}
}

// cell is the place of a node as closely as the public sees it.
func (p place) cell() geo.Cell {
	return geo.CellOf(p.code, p.region, p.city, p.latitude, p.longitude)
}

func (p place) located() bool { return !math.IsNaN(p.latitude) && !math.IsNaN(p.longitude) }

// hide marks the nodes whose place has few nodes. Only nodes that count in totals make a place
// one of many: others are gone, or are further ids of one node.
func hide(nodes []node) {
	cells := geo.Cells{}
	for i := range nodes {
		if n := &nodes[i]; n.counts() {
			cells[n.place.cell()]++
		}
	}
	for i := range nodes {
		nodes[i].hidden = cells.Hide(nodes[i].place.cell())
	}
}
