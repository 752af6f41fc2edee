package report

import (
	"math"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/geo"
)

// HideFromPublic removes from nodes, which are all that are published together, what the API
// does not show without a key: what says where a node can be reached, and more of a place than
// its country where few of the nodes that count in totals are. Coordinates that remain are
// rounded. Places that are only simulated remain.
func HideFromPublic(nodes []*Node) {
	cells := geo.Cells{}
	for _, n := range nodes {
		if n.Weight != nil && *n.Weight > 0 {
			cells[n.cell()]++
		}
	}
	for _, n := range nodes {
		n.hideAddresses()
		if !n.simulated() {
			n.coarsen(cells.Hide(n.cell()))
		}
	}
}

func (l Location) cell() geo.Cell {
	latitude, longitude := math.NaN(), math.NaN()
	if l.Latitude != nil && l.Longitude != nil {
		latitude, longitude = *l.Latitude, *l.Longitude
	}
	return geo.CellOf(orEmpty(l.CountryCode), orEmpty(l.Region), orEmpty(l.City), latitude, longitude)
}

// coarsen rounds the coordinates, or removes all but the country of a place that is hidden.
func (l *Location) coarsen(hidden bool) {
	if hidden {
		l.Region, l.City, l.Latitude, l.Longitude = nil, nil, nil, nil
	}
	for _, c := range []**float64{&l.Latitude, &l.Longitude} {
		if *c != nil {
			*c = new(geo.Coarse(**c))
		}
	}
}

// hideAddresses also hides an address that a node writes into what it calls itself.
func (n *Node) hideAddresses() {
	n.ENR, n.Multiaddr, n.IP, n.IP6, n.Port = "", "", nil, nil, nil
	if eth2.HasAddress(n.Agent) {
		n.Agent, n.ClientVersion, n.agentHidden = "", nil, true
	}
	if eth2.HasAddress(orEmpty(n.ClientRelease)) { // of a row that an earlier version stored
		n.ClientRelease = nil
	}
}
