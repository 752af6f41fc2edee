package report

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/client"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Remote makes reports from the API of another process: the views that Report makes from a
// data directory, without what the API does not tell.
type Remote struct {
	client *client.Client
	// Meta is that of the last answer, from which the view is.
	Meta client.Meta
}

// NewRemote asks with a client.
func NewRemote(c *client.Client) *Remote { return &Remote{client: c} }

// Source says what the last view is from, and how old its data are.
func (r *Remote) Source() string {
	text := "from " + r.client.URL()
	if r.Meta.AsOf != nil {
		text += ", as of " + clock(*r.Meta.AsOf)
	}
	if r.Meta.AgeMS != nil {
		text += ", " + span(*r.Meta.AgeMS) + " ago"
	}
	if r.Meta.Public {
		text += "; the view without a key, which has no addresses"
	}
	return text
}

// summaryFields are the columns of the nodes that a summary needs.
var summaryFields = []string{
	"id", "client", "client_release", "observations", "custody_group_count", "first_seen", "last_seen", "validators", "validators_low", "validators_high", "validators_mean",
	"p_validator", "flags", "trust", "weight", "stake_eth", "stake_low", "stake_high",
}

// Summary asks for the totals, and for all nodes, of which most of the summary is made.
func (r *Remote) Summary(ctx context.Context) (RemoteSummary, error) {
	answer, err := r.client.Summary(ctx)
	if err != nil {
		return RemoteSummary{}, err
	}
	outcomes, err := r.client.Outcomes(ctx)
	if err != nil {
		return RemoteSummary{}, err
	}
	r.Meta = answer.Meta
	s := RemoteSummary{Summary: Summary{
		Networks: []string{r.Meta.Network}, Discovered: answer.Data.Funnel.Records, Validators: validatorsOf(answer.Data, r.Meta), Outcomes: []OutcomeCount{},
	}, Dialled: answer.Data.Funnel.Dialled}
	for _, o := range outcomes.Data {
		s.Outcomes = append(s.Outcomes, OutcomeCount{Outcome: o.Outcome, Visits: o.Visits})
		s.Rows.Visits += o.Visits
	}
	slices.SortFunc(s.Outcomes, func(x, y OutcomeCount) int {
		return cmp.Or(cmp.Compare(y.Visits, x.Visits), cmp.Compare(x.Outcome, y.Outcome))
	})
	clients, custody := map[string]map[string]int{}, map[uint64]int{}
	var full []*Node // those that count in full
	nodes, err := client.All(r.client.Nodes(ctx, client.NodeQuery{Fields: summaryFields}))
	if err != nil {
		return s, err
	}
	for _, row := range nodes {
		n := nodeOf(row)
		if n.FirstSeen > 0 && (s.FirstSeen == 0 || n.FirstSeen < s.FirstSeen) {
			s.FirstSeen = n.FirstSeen
		}
		s.LastSeen = max(s.LastSeen, n.LastSeen)
		if row.Observations == 0 {
			continue
		}
		s.Handshaked++
		if clients[n.Client] == nil {
			clients[n.Client] = map[string]int{}
		}
		clients[n.Client][orEmpty(n.ClientRelease)]++
		if n.CustodyGroupCount == nil {
			s.NoCGC++
		} else {
			custody[*n.CustodyGroupCount]++
		}
		if n.Estimated != nil && n.Weight != nil && *n.Weight == 1 {
			full = append(full, n)
		}
	}
	s.Clients, s.CustodyGroupCounts = countClients(clients), countNumbers(custody)
	if s.Validators != nil {
		s.Validators.Top = topOf(full)
	}
	return s, nil
}

// topOf are the largest nodes.
func topOf(nodes []*Node) []Validating {
	slices.SortStableFunc(nodes, func(a, b *Node) int { // by id before
		return cmp.Or(cmp.Compare(b.Validators, a.Validators), cmp.Compare(b.ValidatorsMean, a.ValidatorsMean))
	})
	top := []Validating{}
	for _, n := range nodes[:min(topNodes, len(nodes))] {
		top = append(top, Validating{n.ID, n.Client, *n.Estimated})
	}
	return top
}

// validatorsOf are the totals, nil when nothing is estimated.
func validatorsOf(s client.Summary, m client.Meta) *Validators {
	v := s.Validators
	if v.Attachments == nil || v.Low == nil || v.High == nil {
		return nil
	}
	out := &Validators{Totals: tracker.Totals{
		Hour: orZero(m.AsOf), Nodes: s.Nodes.Counted, DuplicateIDs: uint64(max(0, s.Nodes.DuplicateIDs)), InboundOnly: s.Nodes.InboundOnly, WithValidators: orZero(s.Nodes.WithValidators),
		Validators: *v.Attachments, Low: *v.Low, High: *v.High, StakeETH: s.Stake.ETH, StakeLow: s.Stake.Low, StakeHigh: s.Stake.High,
		ActiveValidators: uint64(max(0, orZero(v.Active))), Ratio: orZero(v.ActiveRatio), Verdict: orEmpty(v.Verdict),
		SilentNodes: orZero(v.SilentNodes), HiddenValidators: orZero(v.HiddenValidators), Clients: []tracker.ClientTotals{},
	}, PerActive: orZero(v.ActiveRatio), Histogram: []Bucket{}, Top: []Validating{}}
	if u := v.Unaccounted; u != nil {
		out.Unaccounted = tracker.Unaccounted{Share: u.Share, Low: u.Low, High: u.High}
	}
	if v.Multiplicity != nil && v.MultiplicityLow != nil && v.MultiplicityHigh != nil {
		out.Multiplicity = &estimate.Multiplicity{Mean: *v.Multiplicity, Low: *v.MultiplicityLow, High: *v.MultiplicityHigh}
	}
	for _, b := range v.Histogram {
		out.Histogram = append(out.Histogram, Bucket{b.Low, orZero(b.High), b.Nodes, b.Validators})
	}
	for _, g := range s.Clients {
		out.Clients = append(out.Clients, tracker.ClientTotals{
			Client: orUnknown(orEmpty(g.Name)), Nodes: g.Nodes, WithValidators: orZero(g.WithValidators), Validators: orZero(g.Validators), Low: orZero(g.Low), High: orZero(g.High), StakeETH: g.StakeETH,
		})
	}
	slices.SortStableFunc(out.Clients, func(a, b tracker.ClientTotals) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Client, b.Client))
	})
	return out
}

// orZero is what p points at, 0 for nil.
func orZero[T int | int64 | uint32 | uint64 | float64](p *T) (zero T) {
	if p == nil {
		return zero
	}
	return *p
}

// Nodes asks for the nodes that completed a handshake: those with the most validators first,
// then the most observed.
func (r *Remote) Nodes(ctx context.Context) (RemoteNodes, error) {
	out := RemoteNodes{Rows: []client.Node{}}
	first, err := r.client.NodesPage(ctx, client.NodeQuery{PageSize: 1})
	if err != nil {
		return out, err
	}
	r.Meta = first.Meta
	all, err := client.All(r.client.Nodes(ctx, client.NodeQuery{}))
	if err != nil {
		return out, err
	}
	for _, row := range all {
		if row.Observations > 0 {
			out.Rows = append(out.Rows, row)
		}
	}
	slices.SortFunc(out.Rows, func(x, y client.Node) int {
		return cmp.Or(cmp.Compare(orNone(y.Validators), orNone(x.Validators)), cmp.Compare(y.Observations, x.Observations), cmp.Compare(x.ID, y.ID))
	})
	return out, nil
}

// orNone is -1 for a node without an estimate.
func orNone(validators *float64) float64 {
	if validators == nil {
		return -1
	}
	return *validators
}

// nodeOf is a row of the API as a Node.
func nodeOf(row client.Node) *Node {
	n := &Node{
		ID: row.ID, NodeID: orEmpty(row.NodeID), Client: orEmpty(row.Client), ClientVersion: row.ClientVersion, ClientRelease: row.ClientRelease, OS: row.OS, Arch: row.Arch,
		Weight: row.Weight, CustodyGroupCount: row.CustodyGroupCount, AllSubnets: row.AllSubnets != nil && *row.AllSubnets, Observations: row.Observations,
		EpochsWatched: orZero(row.EpochsWatched), FirstSeen: orZero(row.FirstSeen), LastSeen: orZero(row.LastSeen), LastEpoch: orZero(row.LastEpoch),
		Direction: orEmpty(row.Direction), Transport: orEmpty(row.Transport), LastOutcome: orEmpty(row.LastOutcome),
		ForkDigest: row.ForkDigest, NextForkVersion: row.NextForkVersion, NextForkEpoch: row.NextForkEpoch, NFD: row.NFD,
		ENR: orEmpty(row.ENR), Multiaddr: orEmpty(row.Multiaddr), IP: row.IP,
	}
	if row.LongLivedSubnets != nil {
		n.LongLivedSubnets = []int32{}
		for _, subnet := range row.LongLivedSubnets {
			n.LongLivedSubnets = append(n.LongLivedSubnets, int32(subnet))
		}
	}
	if row.Port != nil {
		n.Port = new(int32(*row.Port))
	}
	if row.Validators != nil {
		n.Estimated = &Estimated{
			Validators: int(*row.Validators), ValidatorsLow: orZero(row.ValidatorsLow), ValidatorsHigh: orZero(row.ValidatorsHigh),
			ValidatorsMean: orZero(row.ValidatorsMean), PValidator: orZero(row.PValidator),
			StakeETH: row.StakeETH, StakeLow: row.StakeLow, StakeHigh: row.StakeHigh, Trust: row.Trust, Flags: row.Flags, Since: row.Since,
		}
	}
	return n
}

// Node asks for the node that a text names, as Report.Find has it, but for first characters,
// of which the API wants six.
func (r *Remote) Node(ctx context.Context, text string) (RemoteNode, error) {
	text = strings.TrimRight(strings.Trim(strings.TrimSpace(text), `"'`), "….")
	what := fmt.Sprintf("what %q names", text)
	search, port := text, uint16(0)
	if _, id, ok := strings.Cut(text, "/p2p/"); ok {
		search = id
	} else if at, ok := parseEndpoint(text); ok {
		search, port = at.addr.String(), at.port
	}
	found, err := r.client.NodesPage(ctx, client.NodeQuery{Search: search})
	if err != nil {
		return RemoteNode{}, err
	}
	rows := slices.DeleteFunc(found.Data, func(n client.Node) bool { return port != 0 && (n.Port == nil || *n.Port != int(port)) })
	switch len(rows) {
	case 0:
		return RemoteNode{}, fmt.Errorf("%w has %s; nodes are found by peer id, node id, the first characters of one, ENR, multiaddr or IP address; 'valtrack purge' may have removed it", errNotFound, what)
	case 1:
	default:
		nodes := make([]*Node, len(rows))
		for i, row := range rows {
			nodes[i] = nodeOf(row)
		}
		return RemoteNode{}, ambiguous(nodes, what)
	}
	detail, err := r.client.Node(ctx, rows[0].ID)
	r.Meta = detail.Meta
	return RemoteNode{detail.Data}, err
}

// Forks asks for the readiness for the next fork, of the nodes that count in totals.
func (r *Remote) Forks(ctx context.Context) (RemoteForks, error) {
	answer, err := r.client.Forks(ctx)
	r.Meta = answer.Meta
	f := RemoteForks{Forks{Versions: []ForkVersion{}, Announced: []Announcement{}}}
	data := answer.Data
	if data.Epoch != nil && data.CurrentDigest != nil {
		f.Network, f.Epoch, f.Current = r.Meta.Network, *data.Epoch, *data.CurrentDigest
	}
	if n := data.Next; n != nil {
		f.Next = &NextFork{n.Name, n.Epoch, orZero(n.At), n.ForkVersion, n.Digest}
	}
	f.Scheduled = data.Scheduled
	if v := data.Validators; v != nil {
		f.Validators = &ForkValidators{ForkSum(v.Total), ForkSum(v.Ready), ForkSum(v.NotReady), ForkSum(v.Unknown)}
	}
	for _, v := range data.Versions {
		f.Versions = append(f.Versions, ForkVersion(v))
	}
	for _, a := range data.Announced {
		f.Announced = append(f.Announced, Announcement(a))
	}
	return f, err
}

// Sentries asks for the comparison of the sentries.
func (r *Remote) Sentries(ctx context.Context) (RemoteSentries, error) {
	answer, err := r.client.Sentries(ctx)
	r.Meta = answer.Meta
	out := Sentries{Nodes: tracker.NodeViews(answer.Data.Nodes), Sentries: []Sentry{}}
	for _, x := range answer.Data.Sentries {
		f := tracker.SentryFigures{
			Sentry: tracker.Sentry{ID: x.ID, Location: orEmpty(x.Location), Version: orEmpty(x.Version), FirstSeen: orZero(x.FirstSeen), LastSeen: orZero(x.LastEvent), SkewMS: x.ClockSkewMS, SkewAt: orZero(x.ClockSkewAt)},
			Tried:  x.Tried, Reached: x.Reached, Watched: x.Watched, Alone: x.Alone, Shared: x.Shared, Missed: x.Missed,
			ReachedShare: x.ReachedShare, HandshakeMS: x.HandshakeMS, HandshakeDifferenceMS: x.HandshakeDifferenceMS,
			Handshakes: x.Handshakes, Hellos: x.Hellos, WatchedHours: x.WatchedHours, Changes: x.Changes, Faults: []tracker.SentryFault{},
		}
		for _, fault := range x.Faults {
			f.Faults = append(f.Faults, tracker.SentryFault(fault))
		}
		out.Sentries = append(out.Sentries, Sentry{SentryFigures: f, ClockErrors: int(x.ClockErrors)})
	}
	return RemoteSentries{out}, err
}

// Changes asks for what changed since a time, Unix milliseconds.
func (r *Remote) Changes(ctx context.Context, since int64) (RemoteChanges, error) {
	out := RemoteChanges{Since: since}
	first, err := r.client.ChangesPage(ctx, client.ChangeQuery{Since: since, PageSize: 1})
	if err != nil {
		return out, err
	}
	r.Meta = first.Meta
	out.Changes, err = client.All(r.client.Changes(ctx, client.ChangeQuery{Since: since}))
	return out, err
}

// Groups asks for the nodes that count in totals by one of GroupNames.
func (r *Remote) Groups(ctx context.Context, by string) (Groups, error) {
	list := map[string]string{
		byCountry: client.Countries, byCity: client.Cities, byNetwork: client.Networks, byHosting: client.Hosting, byCloud: client.Hosting,
		"client": client.Clients, "os": client.Clients,
	}[by]
	totals, err := r.client.Summary(ctx)
	if err != nil {
		return Groups{}, err
	}
	answer, err := r.client.Groups(ctx, list)
	if err != nil {
		return Groups{}, err
	}
	r.Meta = totals.Meta
	v := totals.Data.Validators
	out := Groups{By: by, Networks: []string{r.Meta.Network}, Simulated: r.Meta.Simulated, Groups: []Group{}, Total: Group{
		Name: "total", Nodes: totals.Data.Nodes.Counted, NodeShare: 1, WithValidators: orZero(totals.Data.Nodes.WithValidators),
		Attachments: orZero(v.Attachments), AttachmentsLow: orZero(v.Low), AttachmentsHigh: orZero(v.High),
		StakeETH: totals.Data.Stake.ETH, StakeLow: totals.Data.Stake.Low, StakeHigh: totals.Data.Stake.High,
	}}
	if out.Total.Nodes == 0 {
		return out, ErrNoEstimates
	}
	byName := map[string]Group{}
	for _, g := range answer.Data {
		if g.By == by {
			named := groupOf(by, g)
			byName[named.Name] = named
		}
	}
	out.set(by, byName, r.Meta.Public)
	return out, nil
}

// set fills in the groups. Those of places, clients and systems are one party or place each, but for
// cities that were folded for the public; of clouds the API does not tell which nodes
// without one are hosted.
func (g *Groups) set(by string, byName map[string]Group, public bool) {
	var holding []*Group
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		group := byName[name]
		group.holder = by != byHosting && by != byCloud && (by != byCity || !public)
		switch {
		case name == "":
			group.Name = "unknown"
			if by == byCloud {
				group.Name = "in no known cloud"
			}
			g.Unknown = &group
			continue
		case by == byCity && public && name == otherCities:
			g.Others = &group
			continue
		}
		holding = append(holding, &group)
		g.Groups = append(g.Groups, group)
	}
	slices.SortFunc(g.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Attachments, a.Attachments), cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Name, b.Name))
	})
	if slices.ContainsFunc(g.Groups, Group.Holds) {
		g.Concentration = &Concentration{
			holders(holding, g.Unknown, g.Total, func(g Group) float64 { return float64(g.Nodes) }),
			holders(holding, g.Unknown, g.Total, func(g Group) float64 { return g.Attachments }),
		}
	}
}

// otherCities is the API's group of cities with few nodes.
const otherCities = "other"

// groupOf is a group of the API under the name that reports give it; empty for what is not
// known.
func groupOf(by string, g client.Group) Group {
	name, label := orEmpty(g.Name), ""
	switch {
	case by == byCountry && g.Code != nil:
		name, label = *g.Code, name
	case by == byNetwork && g.Code != nil:
		if name == "AS"+*g.Code {
			name = ""
		}
		name, label = "AS"+*g.Code, name
	case by == byCity && g.Code != nil:
		name += ", " + *g.Code
	}
	return Group{
		Name: name, Label: label, Nodes: g.Nodes, NodeShare: g.ShareNodes, WithValidators: orZero(g.WithValidators), Attachments: orZero(g.Validators),
		AttachmentsLow: orZero(g.Low), AttachmentsHigh: orZero(g.High), AttachmentsShare: g.ShareValidators, ShareLow: g.ShareLow, ShareHigh: g.ShareHigh, StakeETH: g.StakeETH,
	}
}
