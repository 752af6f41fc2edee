package discv5

import (
	"encoding/binary"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Pace of first visits.
const (
	// enumeratedAfter is the number of visits in a row without anything new after which an
	// area counts as enumerated. Tables have gaps: with two visits one node in two
	// hundred was missed.
	enumeratedAfter = 3
	// maxAreas bounds the areas that are remembered; 2^16 of some eight nodes each
	// are more than any network has.
	maxAreas = 1 << 16
)

// area is a subtree of the id space with about nearTarget nodes. The near requests
// to all of its nodes ask for the same: its nodes.
type area struct {
	unproductive int // visits in a row that brought nothing new
	inFlight     int // ongoing visits
}

// areas decides which first visits can wait: in an area that has been enumerated, a
// node need not be asked at once. The zero value is empty.
type areas struct {
	bits  int // length of an area's prefix
	known map[uint32]*area
}

// resize sets the distance below which nodes belong to one area (nearTop). What was
// known about areas of another size is forgotten; it reports whether that happened.
func (a *areas) resize(top int) bool {
	bits := min(max(256-top, 0), 32)
	if a.known != nil && bits == a.bits {
		return false
	}
	a.bits, a.known = bits, make(map[uint32]*area)
	return true
}

// of returns the area of a node, nil when there are too many.
func (a *areas) of(id enode.ID) *area {
	prefix := uint32(uint64(binary.BigEndian.Uint32(id[:4])) >> (32 - a.bits))
	if known := a.known[prefix]; known != nil {
		return known
	}
	if len(a.known) >= maxAreas {
		return nil
	}
	fresh := new(area)
	a.known[prefix] = fresh
	return fresh
}

// begin counts an ongoing visit.
func (ar *area) begin() {
	if ar != nil {
		ar.inFlight++
	}
}

// end counts the end of a visit.
func (ar *area) end(answered, productive bool) {
	if ar == nil {
		return
	}
	ar.inFlight--
	switch {
	case productive:
		ar.unproductive = 0
	case answered:
		ar.unproductive++
	}
}

// enumerated reports whether another visit is unlikely to bring anything new.
func (ar *area) enumerated() bool { return ar != nil && ar.unproductive >= enumeratedAfter }

// saturated reports whether the ongoing visits may be enough.
func (ar *area) saturated() bool { return ar != nil && ar.unproductive+ar.inFlight > enumeratedAfter }
