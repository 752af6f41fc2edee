package geo

import "math"

// SmallCell is how many nodes a fine place has at least for the public to see it: fewer
// could be recognised.
const SmallCell = 5

// Cell is the place of a node as closely as the public sees it: its coordinates in tenths of
// a degree.
type Cell struct {
	code, region, city  string
	latitude, longitude int
}

// CellOf takes coordinates in degrees, NaN where they are not known.
func CellOf(code, region, city string, latitude, longitude float64) Cell {
	c := Cell{code: code, region: region, city: city, latitude: math.MaxInt, longitude: math.MaxInt}
	if !math.IsNaN(latitude) && !math.IsNaN(longitude) {
		c.latitude, c.longitude = int(math.Round(latitude*10)), int(math.Round(longitude*10))
	}
	return c
}

// fine reports whether the cell says more than a country.
func (c Cell) fine() bool { return c.city != "" || c.region != "" || c.latitude != math.MaxInt }

// Cells are how many nodes each place has.
type Cells map[Cell]int

// Hide reports whether the public may not see more of a place than its country.
func (c Cells) Hide(place Cell) bool { return place.fine() && c[place] < SmallCell }

// Coarse is a latitude or longitude, in degrees, as the public sees it: to a tenth.
func Coarse(degrees float64) float64 { return math.Round(degrees*10) / 10 }
