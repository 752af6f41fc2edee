package report

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Report collects rows: the tables one after the other, records first.
type Report struct {
	in       dataset.Range // whose rows count; those before only say what was known
	made     int64         // when the report was made, Unix milliseconds
	nodes    map[string]*Node
	outcomes map[string]*outcome
	networks map[string]bool
	rows     Counts
	recorded recorded
	state    *tracker.State  // nil when nothing is tracked
	totals   *tracker.Totals // of a range that ends before now: those of its last hour
	removed  int             // nodes in totals whose rows are gone
	counted  []counted       // the nodes of the totals
	model    *estimate.Model // that sums them; nil without estimates
	damaged  error           // see Damaged
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
	// ClockErrors are rows whose times are known to be wrong (clock_error_ms); nothing else
	// of the report counts them.
	ClockErrors int `json:"clock_errors"`
}

func newReport() *Report {
	return &Report{
		made: time.Now().UnixMilli(), nodes: make(map[string]*Node), outcomes: make(map[string]*outcome), networks: make(map[string]bool),
		recorded: recorded{at: make(map[int64]bool)},
	}
}

// Read reads the committed rows of a data directory, also while a consumer writes
// there. The report is of the rows in a range; the zero range has all. A directory without
// datasets gives an empty report.
func Read(ctx context.Context, dataDir string, in dataset.Range) (*Report, error) {
	r := newReport()
	r.restrict(in)
	var all dataset.Range
	if err := r.without(dataset.Scan(ctx, dataDir, all, r.addDiscovery)); err != nil {
		return nil, err
	}
	if err := r.without(dataset.Scan(ctx, dataDir, all, r.addHandshake)); err != nil {
		return nil, err
	}
	if err := r.without(dataset.Scan(ctx, dataDir, all, r.addVisit)); err != nil {
		return nil, err
	}
	state, err := ReadState(ctx, dataDir)
	if err != nil {
		return nil, err
	}
	if in.To > 0 && in.To < r.made {
		return r, r.readPast(ctx, dataDir, state)
	}
	r.setState(state)
	return r, nil
}

// without goes on without the rows of damaged parts.
func (r *Report) without(err error) error {
	if errors.Is(err, dataset.ErrDamaged) {
		r.damaged = errors.Join(r.damaged, err)
		return nil
	}
	return err
}

// Damaged names the damaged parts whose rows the report lacks; nil when it has all rows.
func (r *Report) Damaged() error { return r.damaged }

// Removed counts the nodes that are in the totals of a window in the past, and whose rows were
// removed since.
func (r *Report) Removed() int { return r.removed }

// restrict makes the report one of the rows in a range.
func (r *Report) restrict(in dataset.Range) {
	r.in = in
	if r.recorded.from = max(0, 2*in.From-r.end()); in == (dataset.Range{}) { // Changes looks back as far again
		r.recorded.from = math.MaxInt64
	}
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
		p := state.Peer(id)
		if p != nil && n.GeoSource == nil && n.Multiaddr == p.Multiaddr { // the row is of an earlier version
			var row dataset.ValidatorRow
			row.SetPlace(p.Place)
			n.Location = locationOf(&row)
		}
		if p != nil && p.Estimate != nil && n.Client != string(eth2.ClientValtrack) {
			e := trusted(p.Estimate)
			n.Estimated, n.EpochsWatched, n.AllSubnets = &e, p.Estimate.EpochsWatched, p.Estimate.AllSubnets
			n.Weight = new(float64)
		}
	}
	r.model = estimate.NewModel(state.Params(), estimate.DefaultPrior(), nil)
	peers, _ := state.Counted()
	for i, w := range state.Weights() {
		if n := r.nodes[peers[i].ID]; n != nil && n.Estimated != nil {
			n.Weight = &w
			r.counted = append(r.counted, counted{n, peers[i].Estimate.Estimate, w})
		}
	}
}

// lookBack is how long before a window's end the hour began whose estimates it shows, in a
// window in which none begins. Hours of real networks are no longer.
const lookBack = time.Hour

// readPast adds the estimates of the last hour that began before the window's end, or at it:
// those at the end of an hour are made when the next one begins. The state's are of now.
func (r *Report) readPast(ctx context.Context, dataDir string, state *tracker.State) error {
	var rows pastRows
	in := dataset.Range{From: min(r.in.From, r.in.To-lookBack.Milliseconds()), To: r.in.To + 1}
	err := dataset.Scan(ctx, dataDir, in, func(row dataset.EstimateRow) error {
		n := r.nodes[row.ID]
		if n == nil || row.Timestamp < n.estimatedAt || n.Client == string(eth2.ClientValtrack) {
			return nil
		}
		rows.add(n, row)
		n.estimatedAt = row.Timestamp
		n.Estimated = &Estimated{
			int(row.Validators), row.ValidatorsLow, row.ValidatorsHigh, row.ValidatorsMean, row.PValidator,
			row.StakeETH, row.StakeLow, row.StakeHigh, nil, row.Trust, row.Flags, row.ValidatorsSD, row.ValidatorsShared,
		}
		n.EpochsWatched, n.AllSubnets, n.Weight = row.EpochsWatched, row.AllSubnets, row.Weight
		if n.Weight == nil {
			n.Weight = new(1.0)
		}
		return nil
	})
	if err = r.without(err); err != nil || state == nil {
		return err
	}
	for _, n := range r.nodes {
		if n.Weight != nil && n.estimatedAt < rows.hour {
			n.Weight = new(float64) // it had left the totals by then
		}
	}
	r.counted, r.model = rows.counted, rows.model(state.Params())
	history, err := tracker.ReadHistory(ctx, dataDir, in.From, in.To)
	if n := len(history.Totals); n > 0 {
		r.totals = &history.Totals[n-1]
		if r.totals.Hour == rows.hour {
			r.removed = max(0, r.totals.Nodes-len(rows.counted))
		}
	}
	return err
}

func (r *Report) node(id string) *Node {
	n := r.nodes[id]
	if n == nil {
		n = &Node{ID: id}
		r.nodes[id] = n
	}
	return n
}

// isAfter reports whether a time is after the report's range: then its rows say only that
// something was recorded.
func (r *Report) isAfter(at int64) bool { return r.in.To > 0 && at >= r.in.To }

// counts reports whether a row of a time is in the report's range.
func (r *Report) counts(at int64) bool { return at >= r.in.From }

func (r *Report) addDiscovery(row dataset.DiscoveryRow) error {
	if row.ClockErrorMS != nil {
		r.rows.ClockErrors++
		return nil
	}
	if r.recorded.add(row.Timestamp, row.Timestamp); r.isAfter(row.Timestamp) {
		return nil
	}
	n := r.node(row.ID)
	n.network = row.Network
	n.seen(row.Timestamp)
	if r.counts(row.Timestamp) {
		r.rows.Discoveries++
		r.networks[row.Network] = true
		n.discovered = true
	}
	if n.record != nil && !tracker.LaterRecord(row.Timestamp, row.Seq, row.Own, n.recordAt, *n.record) {
		return nil
	}
	newer := n.record != nil && row.Seq != *n.record
	n.record, n.recordAt, n.ENR, n.NodeID = &row.Seq, row.Timestamp, row.ENR, row.NodeID
	n.IP, n.Port = cmp.Or(row.IP, row.IP6), row.Port
	n.IP6 = row.IP6
	n.NextForkVersion, n.NextForkEpoch, n.announcedEpoch, n.NFD = row.NextForkVersion, row.NextForkEpoch, row.NextForkEpoch, row.NFD
	if row.NextForkEpoch != nil && *row.NextForkEpoch == uint64(eth2.FarFutureEpoch) {
		n.NextForkEpoch = nil
	}
	n.recordCustody = row.CustodyGroupCount
	if n.handshake == 0 {
		n.ForkDigest = row.ForkDigest
	}
	switch {
	case newer: // the node has signed it since the one before was found
		n.told(row.Timestamp, toldByRecord, row.CustodyGroupCount, attnetsOf(row.Attnets))
	case n.metaDataAt == 0:
		n.told(0, toldByRecord, row.CustodyGroupCount, nil)
	}
	return nil
}

func (r *Report) addHandshake(row dataset.ValidatorRow) error {
	if row.ClockErrorMS != nil {
		r.rows.ClockErrors++
		return nil
	}
	if r.recorded.add(row.Timestamp, row.Timestamp); r.isAfter(row.Timestamp) {
		return nil
	}
	n := r.node(row.ID)
	n.network = row.Network
	n.seen(row.Timestamp)
	n.met = max(n.met, row.Timestamp)
	n.handshakes.add(row, r.in.From)
	if r.counts(row.Timestamp) {
		r.rows.Handshakes++
		r.networks[row.Network] = true
		n.Observations++
		n.connected = true
		n.open(row.Timestamp)
	}
	if row.Timestamp < n.handshake {
		return nil
	}
	n.handshake = row.Timestamp
	client, release := clientOf(row)
	n.setClient(row.Timestamp, row.ClientVersion, client, release)
	n.OS, n.Arch = row.OS, row.Arch
	n.LastEpoch, n.Direction, n.Transport = row.Epoch, row.Direction, row.Transport
	n.ForkDigest, n.Multiaddr = &row.ForkDigest, row.Multiaddr
	n.AllSubnets = row.AllSubnets
	n.Location = locationOf(&row)
	n.told(row.Timestamp, toldByHandshake, row.CustodyGroupCount, row.LongLivedSubnets)
	n.ShortLivedSubnets = row.ShortLivedSubnets
	if slices.Equal(n.LongLivedSubnets, row.LongLivedSubnets) {
		n.SubnetRule = row.SubnetRule
	}
	n.ENR = cmp.Or(n.ENR, row.ENR)
	if row.NodeID != nil {
		n.NodeID = *row.NodeID
	}
	return nil
}

// clientOf is a handshake's client. Earlier versions of this program did not know its own
// agent and stored sentries as unknown.
func clientOf(row dataset.ValidatorRow) (client string, release *string) {
	if row.Client == string(eth2.ClientUnknown) {
		if c := eth2.ParseAgent(row.ClientVersion); c.Kind == eth2.ClientValtrack {
			return string(c.Kind), new(c.Release())
		}
	}
	return row.Client, row.ClientRelease
}

func (r *Report) addVisit(row dataset.VisitRow) error {
	if row.ClockErrorMS != nil {
		r.rows.ClockErrors++
		return nil
	}
	if r.recorded.add(row.Started, row.Ended); r.isAfter(row.Timestamp) {
		return nil
	}
	n := r.node(row.ID)
	n.network = row.Network
	if row.ClientVersion != nil {
		n.toldAgent(row.Started, *row.ClientVersion)
	}
	if w := row.Watch; w != nil {
		n.seen(w.To)
		n.met = max(n.met, w.To)
		n.connected = n.connected || r.counts(row.Timestamp)
		if !r.counts(row.Timestamp) {
			n.handshakes.metBefore = max(n.handshakes.metBefore, w.To)
		}
		for _, m := range w.MetaDataChanges {
			n.told(w.From+m.At, toldByWatch, m.MetaData.CustodyGroupCount, attnetsOf(&m.MetaData.Attnets))
		}
	}
	if row.More || !r.counts(row.Timestamp) { // of a watch in parts only the last one counts
		if row.More && r.counts(row.Timestamp) {
			n.open(row.Ended)
		}
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
	n.visited = true
	n.visits++
	switch row.Outcome {
	case event.OutcomeDialTimeout, event.OutcomeRefused, event.OutcomeUnreachable:
		n.unanswered++
	case event.OutcomeCanceled: // by us
	default:
		n.answered = true
	}
	if row.Ended >= n.visit {
		n.visit, n.began, n.LastOutcome = row.Ended, row.Started, row.Outcome
	}
	return nil
}

// inWindow reports whether a row in the report's range is of the node.
func (n *Node) inWindow() bool { return n.discovered || n.visited || n.connected }

// AllNodes lists the nodes of which there are rows in the report's range: those with the
// most validators first, then the most observed. Other sentries of this program are no nodes, as
// in totals: see LeftOut.
func (r *Report) AllNodes() []*Node {
	nodes := slices.Collect(maps.Values(r.nodes))
	nodes = slices.DeleteFunc(nodes, func(n *Node) bool { return !n.inWindow() || n.sentry() })
	slices.SortFunc(nodes, func(x, y *Node) int {
		return cmp.Or(cmp.Compare(y.validators(), x.validators()), cmp.Compare(y.Observations, x.Observations), cmp.Compare(x.ID, y.ID))
	})
	return nodes
}

// Nodes lists those of AllNodes that completed a handshake, or were watched after one.
func (r *Report) Nodes() []*Node {
	return slices.DeleteFunc(r.AllNodes(), func(n *Node) bool { return !n.reached() })
}

// LeftOut says how many other sentries of this program Nodes leaves out; empty for none.
func (r *Report) LeftOut() string {
	n := 0
	for _, o := range r.nodes {
		if o.sentry() && o.reached() {
			n++
		}
	}
	return leftOut(n)
}

// leftOut says that so many sentries are left out; empty for none.
func leftOut(sentries int) string {
	if sentries == 0 {
		return ""
	}
	return plural(sentries, "other Valtrack sentry") + ": no beacon nodes"
}

// end is the end of the report's range, or when it was made; Unix milliseconds.
func (r *Report) end() int64 {
	if r.in.To > 0 {
		return min(r.made, r.in.To)
	}
	return r.made
}
