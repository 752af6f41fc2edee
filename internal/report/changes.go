package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// Changes are the differences between the nodes of a window and those of the span of the
// same length before it. Lists are never nil.
type Changes struct {
	Window Window `json:"window"`
	// Before is the span that the window is compared with. Comparable is false when nothing
	// was recorded in one of the two: then the lists are empty, and nothing is known.
	Before     Window `json:"before"`
	Comparable bool   `json:"comparable"`
	// NodesBefore and Nodes completed a handshake in each, or were watched in it. Returned of
	// Nodes were not met in the span before, but earlier.
	NodesBefore int `json:"nodes_before"`
	Nodes       int `json:"nodes"`
	Returned    int `json:"returned"`
	// Appeared nodes completed their first handshake of all in the window.
	Appeared []Appeared `json:"appeared"`
	// Vanished nodes were met in the span before the window, and nothing answered in it when
	// they were dialled. NoHandshake counts those that answered without completing one, such
	// as nodes that have no room, NotTried those that nobody dialled.
	Vanished    []Vanished `json:"vanished"`
	NoHandshake int        `json:"no_handshake"`
	NotTried    int        `json:"not_tried"`
	// Moved nodes were reached at another IP address of the same family.
	Moved []Moved `json:"moved"`
	// Upgraded nodes run another release, or another client, than before.
	Upgraded []Upgraded `json:"upgraded"`
}

// Appeared is a new node. Replaces is the vanished peer that was reached at the same
// address: the node may be the same one with a new key.
type Appeared struct {
	ID       string `json:"id"`
	Client   string `json:"client"`
	Version  string `json:"version"`
	At       int64  `json:"at"` // Unix milliseconds
	Replaces string `json:"replaces,omitempty"`
}

// Vanished is a node that does not answer any more.
type Vanished struct {
	ID          string `json:"id"`
	Client      string `json:"client"`
	Version     string `json:"version"`
	LastSeen    int64  `json:"last_seen"` // Unix milliseconds
	Dials       int    `json:"dials"`     // in the window, all unanswered
	LastOutcome string `json:"last_outcome"`
}

// Moved is a node at a new address.
type Moved struct {
	ID   string `json:"id"`
	From string `json:"from"`
	To   string `json:"to"`
	At   int64  `json:"at"` // of the newest handshake, Unix milliseconds
}

// Upgraded is a node with another version.
type Upgraded struct {
	ID          string `json:"id"`
	FromClient  string `json:"from_client"`
	FromVersion string `json:"from_version"`
	Client      string `json:"client"`
	Version     string `json:"version"`
	At          int64  `json:"at"` // of the newest handshake, Unix milliseconds
}

// handshakes are the newest handshakes of a node before the report's range and in it.
type handshakes struct {
	first       int64 // of all, Unix milliseconds
	before, now handshake
	// metBefore is when the node was last met before the range, by a handshake or in a watch.
	metBefore int64
}

// handshake is what one says of its node. At 0 is none.
type handshake struct {
	at              int64
	client, version string
	address         endpoint // of an outbound one, the newest
}

func (h *handshakes) add(row dataset.ValidatorRow, from int64) {
	if h.first == 0 || row.Timestamp < h.first {
		h.first = row.Timestamp
	}
	into := &h.now
	if row.Timestamp < from {
		h.metBefore = max(h.metBefore, row.Timestamp)
		into = &h.before
	}
	if row.Timestamp < into.at {
		return
	}
	client, release := clientOf(row)
	into.at, into.client, into.version = row.Timestamp, client, orEmpty(release)
	if at, ok := parseMultiaddr(row.Multiaddr); ok && row.Direction == event.Outbound {
		into.address = at
	}
}

// Changes compares the report's range, which has a beginning, with the span before it.
func (r *Report) Changes() Changes {
	w := r.window()
	c := Changes{
		Window: *w, Before: r.recorded.window(w.From-(w.To-w.From), w.From),
		Appeared: []Appeared{}, Vanished: []Vanished{}, Moved: []Moved{}, Upgraded: []Upgraded{},
	}
	c.Comparable = c.Window.covered() > 0 && c.Before.covered() > 0
	gone := map[endpoint]string{}
	for _, n := range r.nodes {
		if n.sentry() {
			continue
		}
		h := n.handshakes
		wasThere := h.metBefore >= c.Before.From && h.metBefore > 0
		if wasThere {
			c.NodesBefore++
		}
		if n.reached() {
			c.Nodes++
			if !wasThere && h.first > 0 && h.first < c.Window.From {
				c.Returned++
			}
		}
		if !c.Comparable {
			continue
		}
		switch {
		case n.reached():
			c.addReached(n)
		case !wasThere:
		case n.answered:
			c.NoHandshake++
		case n.unanswered == 0:
			c.NotTried++
		default:
			c.Vanished = append(c.Vanished, Vanished{n.ID, h.before.client, h.before.version, n.LastSeen, n.unanswered, n.LastOutcome})
			if h.before.address.addr.IsValid() {
				gone[h.before.address] = n.ID
			}
		}
	}
	for i := range c.Appeared {
		c.Appeared[i].Replaces = gone[r.nodes[c.Appeared[i].ID].handshakes.now.address]
	}
	c.sort()
	return c
}

// addReached adds what is new of a node that was reached in the window.
func (c *Changes) addReached(n *Node) {
	was, is := n.handshakes.before, n.handshakes.now
	if n.handshakes.first >= c.Window.From {
		c.Appeared = append(c.Appeared, Appeared{ID: n.ID, Client: is.client, Version: is.version, At: n.handshakes.first})
		return
	}
	if is.at == 0 { // it was only watched
		return
	}
	if from, to := was.address.addr, is.address.addr; from.IsValid() && to.IsValid() && from != to && from.Is4() == to.Is4() {
		c.Moved = append(c.Moved, Moved{n.ID, from.String(), to.String(), is.at})
	}
	if was.client != is.client || was.version != is.version {
		c.Upgraded = append(c.Upgraded, Upgraded{n.ID, was.client, was.version, is.client, is.version, is.at})
	}
}

func (c *Changes) sort() {
	slices.SortFunc(c.Appeared, func(a, b Appeared) int { return cmp.Or(cmp.Compare(b.At, a.At), strings.Compare(a.ID, b.ID)) })
	slices.SortFunc(c.Vanished, func(a, b Vanished) int {
		return cmp.Or(cmp.Compare(b.LastSeen, a.LastSeen), strings.Compare(a.ID, b.ID))
	})
	slices.SortFunc(c.Moved, func(a, b Moved) int { return cmp.Or(cmp.Compare(b.At, a.At), strings.Compare(a.ID, b.ID)) })
	slices.SortFunc(c.Upgraded, func(a, b Upgraded) int { return cmp.Or(cmp.Compare(b.At, a.At), strings.Compare(a.ID, b.ID)) })
}
