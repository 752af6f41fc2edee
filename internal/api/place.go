package api

import (
	"cmp"
	"math"

	"github.com/chainbound/valtrack/internal/tracker"
)

// smallCell is how many nodes a fine place has at least for the public to see it: fewer
// could be recognised.
const smallCell = 5

// placeOf is where a peer is.
func placeOf(p *tracker.Peer) place {
	out := place{latitude: math.NaN(), longitude: math.NaN()}
	g := p.Place
	if g == nil {
		return out
	}
	out.country, out.code, out.region, out.city = cmp.Or(g.Country, g.CountryCode), g.CountryCode, g.Region, g.City
	out.asn, out.asName, out.hosting, out.cloud = g.ASN, g.Organization, string(g.Hosting), g.Cloud
	if g.Located {
		out.latitude, out.longitude = g.Latitude, g.Longitude
	}
	return out
}

// fine identifies the place of a node as closely as it is shown.
type fine struct{ code, region, city string }

func (p place) fine() fine { return fine{p.code, p.region, p.city} }

// hide marks the nodes whose place has few nodes.
func hide(nodes []node) {
	cells := map[fine]int{}
	for i := range nodes {
		cells[nodes[i].place.fine()]++
	}
	for i := range nodes {
		nodes[i].hidden = cells[nodes[i].place.fine()] < smallCell
	}
}
