package devnet

import (
	"io"
	"slices"
	"sync"
	"time"
)

// registry is the truth of who is who, and of when each node was up: in memory
// and, with a directory, in truth_lives.ndjson. Safe for concurrent use.
type registry struct {
	mu     sync.Mutex
	nodes  []Node // by index; elements are replaced in a copy, never changed
	byPeer map[string]int
	lives  [][]Life // by index, in order of time
	log    *ndjson  // nil without a directory
}

func newRegistry(w io.Writer) *registry {
	return &registry{byPeer: make(map[string]int), log: newNDJSON(w)}
}

// Life is a span in which a node was up at one address.
type Life struct {
	From time.Time
	To   time.Time // zero while it lasts
	ENR  string
	// Multiaddrs as in Node.
	Multiaddrs []string
}

type lifeLine struct {
	Time       int64    `json:"t"` // Unix ms
	PeerID     string   `json:"peer_id"`
	Index      int      `json:"index"`
	Up         bool     `json:"up"`
	ENR        string   `json:"enr,omitempty"`
	Multiaddrs []string `json:"multiaddrs,omitempty"`
}

// add registers a node, which is not up yet. Nodes come in order of index.
func (r *registry) add(n Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byPeer[n.PeerID] = len(r.nodes)
	r.nodes = append(slices.Clip(r.nodes), n)
	r.lives = append(r.lives, nil)
}

// up begins a life of a registered node with the record and addresses it has now.
func (r *registry) up(n Node, at time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	nodes := slices.Clone(r.nodes)
	nodes[n.Index] = n
	r.nodes = nodes
	r.lives[n.Index] = append(r.lives[n.Index], Life{From: at, ENR: n.ENR, Multiaddrs: n.Multiaddrs})
	return r.log.write(lifeLine{at.UnixMilli(), n.PeerID, n.Index, true, n.ENR, n.Multiaddrs})
}

// down ends the latest life of a node.
func (r *registry) down(peerID string, at time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.byPeer[peerID]
	if k := len(r.lives[i]) - 1; k >= 0 && r.lives[i][k].To.IsZero() {
		r.lives[i][k].To = at
		return r.log.write(lifeLine{Time: at.UnixMilli(), PeerID: peerID, Index: i})
	}
	return nil
}

// flush hands everything written so far to the file.
func (r *registry) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.flush()
}

func (r *registry) snapshot() []Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes
}

func (r *registry) index(peerID string) (int, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, ok := r.byPeer[peerID]
	return i, ok
}

func (r *registry) node(peerID string) (Node, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, ok := r.byPeer[peerID]
	if !ok {
		return Node{}, false
	}
	return r.nodes[i], true
}

func (r *registry) livesOf(peerID string) []Life {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, ok := r.byPeer[peerID]
	if !ok {
		return nil
	}
	return slices.Clone(r.lives[i])
}

// within says whether one life of node i holds the whole span.
func (r *registry) within(i int, from, to time.Time) bool {
	for _, l := range r.lives[i] {
		if !l.From.After(from) && (l.To.IsZero() || l.To.After(to)) {
			return true
		}
	}
	return false
}

// live lists the nodes that were up for the whole span, in order of index.
func (r *registry) live(from, to time.Time) []Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Node
	for i, n := range r.nodes {
		if r.within(i, from, to) {
			out = append(out, n)
		}
	}
	return out
}
