package report

import (
	"math"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/geo"
)

// HideFromPublic removes from nodes, which are all that are published together, what the API
// does not show without a key: what says where a node can be reached, and more of a place than
// its country where few of the nodes that count in totals are. Coordinates that remain are
// rounded.
func HideFromPublic(nodes []*Node) {
	cells := geo.Cells{}
	for _, n := range nodes {
		if n.Weight != nil && *n.Weight > 0 {
			cells[n.cell()]++
		}
	}
	for _, n := range nodes {
		n.hideAddresses()
		n.coarsen(cells.Hide(n.cell()))
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

// About says what the nodes of a file are of, as entries of its footer: times are RFC 3339, and
// as_of is when the estimates were made.
func (r *Report) About() map[string]string {
	s := r.Summary()
	about := map[string]string{"valtrack.network": strings.Join(s.Networks, ",")}
	if s.FirstSeen > 0 {
		about["valtrack.first_seen"], about["valtrack.last_seen"] = clock(s.FirstSeen), clock(s.LastSeen)
	}
	if w := s.Window; w != nil {
		about["valtrack.from"], about["valtrack.to"] = clock(w.From), clock(w.To)
	}
	if v := s.Validators; v != nil {
		about["valtrack.as_of"], about["valtrack.active_validators"] = clock(v.Hour), strconv.FormatUint(v.ActiveValidators, 10)
	}
	return about
}
