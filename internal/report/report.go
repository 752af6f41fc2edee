package report

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Report collects rows, in any order.
type Report struct {
	nodes    map[string]*Node
	outcomes map[string]*outcome
	networks map[string]bool
	rows     Counts
	state    *tracker.State // nil when nothing is tracked
}

type outcome struct {
	visits int
	nodes  map[string]bool
}

// Counts are the rows that a report was computed from.
type Counts struct {
	Discoveries int `json:"discoveries"`
	Handshakes  int `json:"handshakes"`
	Visits      int `json:"visits"`
}

func newReport() *Report {
	return &Report{nodes: make(map[string]*Node), outcomes: make(map[string]*outcome), networks: make(map[string]bool)}
}

// Read reads the committed rows of a data directory, also while a consumer writes
// there. A directory without datasets gives an empty report.
func Read(ctx context.Context, dataDir string) (*Report, error) {
	r := newReport()
	var all dataset.Range
	if err := dataset.Scan(ctx, dataDir, all, r.addDiscovery); err != nil {
		return nil, err
	}
	if err := dataset.Scan(ctx, dataDir, all, r.addHandshake); err != nil {
		return nil, err
	}
	if err := dataset.Scan(ctx, dataDir, all, r.addVisit); err != nil {
		return nil, err
	}
	state, err := ReadState(ctx, dataDir)
	if err != nil {
		return nil, err
	}
	r.setState(state)
	return r, nil
}

// ReadState reads the tracker's state in a data directory; nil when there is none.
func ReadState(ctx context.Context, dataDir string) (*tracker.State, error) {
	state, err := tracker.Read(ctx, dataDir)
	if errors.Is(err, tracker.ErrMissing) {
		return nil, nil
	}
	return state, err
}

// setState adds the estimates to the nodes.
func (r *Report) setState(state *tracker.State) {
	if r.state = state; state == nil {
		return
	}
	for id, n := range r.nodes {
		if p := state.Peer(id); p != nil && p.Estimate != nil {
			e := estimated(p.Estimate.Estimate)
			n.Estimated, n.EpochsWatched, n.AllSubnets = &e, p.Estimate.EpochsWatched, p.Estimate.AllSubnets
		}
	}
}

func (r *Report) node(id string) *Node {
	n := r.nodes[id]
	if n == nil {
		n = &Node{ID: id}
		r.nodes[id] = n
	}
	return n
}

func (r *Report) addDiscovery(row dataset.DiscoveryRow) error {
	r.rows.Discoveries++
	r.networks[row.Network] = true
	n := r.node(row.ID)
	n.discovered = true
	n.seen(row.Timestamp)
	if n.record != nil && row.Seq < *n.record {
		return nil
	}
	n.record, n.ENR, n.NodeID = &row.Seq, row.ENR, row.NodeID
	n.IP, n.Port = cmp.Or(row.IP, row.IP6), row.Port
	n.NextForkVersion, n.NFD = row.NextForkVersion, row.NFD
	if n.Observations == 0 {
		n.ForkDigest = row.ForkDigest
	}
	return nil
}

func (r *Report) addHandshake(row dataset.ValidatorRow) error {
	r.rows.Handshakes++
	r.networks[row.Network] = true
	n := r.node(row.ID)
	n.Observations++
	n.seen(row.Timestamp)
	if row.Timestamp < n.handshake {
		return nil
	}
	n.handshake = row.Timestamp
	n.Client, n.ClientVersion, n.OS, n.Arch = row.Client, row.ClientRelease, row.OS, row.Arch
	n.LastEpoch, n.Direction, n.Transport = row.Epoch, row.Direction, row.Transport
	n.ForkDigest, n.Multiaddr = &row.ForkDigest, row.Multiaddr
	n.CustodyGroupCount, n.AllSubnets = row.CustodyGroupCount, row.AllSubnets
	n.LongLivedSubnets, n.ShortLivedSubnets, n.SubnetRule = row.LongLivedSubnets, row.ShortLivedSubnets, row.SubnetRule
	n.ENR = cmp.Or(n.ENR, row.ENR)
	if row.NodeID != nil {
		n.NodeID = *row.NodeID
	}
	return nil
}

func (r *Report) addVisit(row dataset.VisitRow) error {
	if row.More { // a part of a watch: the visit counts with its last part
		return nil
	}
	r.rows.Visits++
	r.networks[row.Network] = true
	out := r.outcomes[row.Outcome]
	if out == nil {
		out = &outcome{nodes: make(map[string]bool)}
		r.outcomes[row.Outcome] = out
	}
	out.visits++
	out.nodes[row.ID] = true
	n := r.node(row.ID)
	n.visited = true
	if row.Ended >= n.visit {
		n.visit, n.LastOutcome = row.Ended, row.Outcome
	}
	return nil
}

// Nodes lists the nodes that completed at least one handshake, the most observed
// first.
func (r *Report) Nodes() []*Node {
	nodes := slices.Collect(maps.Values(r.nodes))
	nodes = slices.DeleteFunc(nodes, func(n *Node) bool { return n.Observations == 0 })
	slices.SortFunc(nodes, func(x, y *Node) int {
		return cmp.Or(cmp.Compare(y.Observations, x.Observations), cmp.Compare(x.ID, y.ID))
	})
	return nodes
}

// Node finds a node by its peer id, or by its node id as 0x and hex.
func (r *Report) Node(id string) (*Node, bool) {
	if n, ok := r.nodes[id]; ok {
		return n, true
	}
	for _, n := range r.nodes {
		if n.NodeID == id {
			return n, true
		}
	}
	return nil, false
}
