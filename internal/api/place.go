package api

import (
	"math"

	"github.com/chainbound/valtrack/internal/tracker"
)

// smallCell is how many nodes a fine place has at least for the public to see it: fewer
// could be recognised.
const smallCell = 5

// placeOf is where a peer is.
func placeOf(*tracker.Peer) place { return place{latitude: math.NaN(), longitude: math.NaN()} }

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
