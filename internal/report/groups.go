package report

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/estimate"
)

// Groups are the nodes of the totals by what one property of theirs is. Lists are never nil.
type Groups struct {
	By       string   `json:"by"`
	Networks []string `json:"networks"`
	Window   *Window  `json:"window"` // null for all data
	// Simulated: places are not those of the nodes' own addresses, as in a devnet.
	Simulated bool `json:"simulated,omitempty"`
	// Total is of all nodes that count in totals and, in a window, were connected in it.
	Total Group `json:"total"`
	// Groups have the most attachments first. Small ones may be folded into Others, which
	// counts FoldedGroups groups.
	Groups       []Group `json:"groups"`
	Others       *Group  `json:"others,omitempty"`
	FoldedGroups int     `json:"folded_groups,omitempty"`
	// Unknown are the nodes of which the property is not known; null for none.
	Unknown *Group `json:"unknown"`
	// Concentration is null where no group is one party or place.
	Concentration *Concentration `json:"concentration"`
}

// Concentration of the nodes and of the attachments on groups that are one party or place.
type Concentration struct {
	Nodes       Holders `json:"nodes"`
	Attachments Holders `json:"attachments"`
}

// Group is one group of nodes. A validator that runs behind several nodes is attached to
// each. Low and High are the ends of 90 % intervals. Shares, from 0 to 1, are null where
// the whole has nothing.
type Group struct {
	Name             string   `json:"name"`
	Label            string   `json:"label,omitempty"` // what people call it, where Name is a code
	Nodes            int      `json:"nodes"`
	NodeShare        float64  `json:"node_share"`
	WithValidators   float64  `json:"with_validators"` // nodes with any, as the sum of their probabilities
	Attachments      float64  `json:"attachments"`
	AttachmentsLow   float64  `json:"attachments_low"`
	AttachmentsHigh  float64  `json:"attachments_high"`
	AttachmentsShare *float64 `json:"attachments_share"`
	ShareLow         *float64 `json:"share_low"`
	ShareHigh        *float64 `json:"share_high"`
	// The stake is null where the mean balance of validators is not known.
	StakeETH  *float64 `json:"stake_eth"`
	StakeLow  *float64 `json:"stake_low"`
	StakeHigh *float64 `json:"stake_high"`

	holder bool // the group is one party or place, and not many
	sums   estimate.ClientSums
}

// Holds reports whether the group is one party or place, and not many.
func (g Group) Holds() bool { return g.holder }

// Holders say how concentrated something is on the largest groups.
type Holders struct {
	// HHI is the Herfindahl-Hirschman index, the sum of the squared shares in percent: from 0
	// to 10000, when one group has everything. What is not known to be of one group counts
	// as spread over many, so HHI is a lower bound; HHIHigh is what it would be if all of
	// Unknown were of the largest group.
	HHI     float64 `json:"hhi"`
	HHIHigh float64 `json:"hhi_high"`
	// Third and TwoThirds are how many groups, the largest, have so much of the whole; null
	// when all of them have less.
	Third     *int `json:"third"`
	TwoThirds *int `json:"two_thirds"`
}

// smallGroup is how many nodes a group has at least to be shown to the public: fewer could
// be recognised.
const smallGroup = 5

// ErrTooFew is that there are too few nodes to show anything to the public.
var ErrTooFew = errors.New("fewer than five nodes: they could be recognised")

// ErrNoEstimates is that no node has an estimate.
var ErrNoEstimates = errors.New("no estimates in the data, or none of an hour that began in this window or in the hour before its end")

// otherGroups is the name of small groups that were folded.
const otherGroups = "others"

// grouping is a property of nodes.
type grouping struct {
	name string
	// of gives a node's group, a Member without estimate.
	of func(n *Node) Member
}

func groupings() []grouping {
	place := func(by string) grouping {
		return grouping{by, func(n *Node) Member { return n.Group(by) }}
	}
	return []grouping{
		place(byCountry), place(byCity), place(byNetwork), place(byHosting), place(byCloud),
		{"client", func(n *Node) Member { return Member{Group: unlessUnknown(n.Client), Holder: true} }},
		{"os", func(n *Node) Member { return Member{Group: orEmpty(n.OS), Holder: true} }},
	}
}

func unlessUnknown(s string) string {
	if s == unknownName {
		return ""
	}
	return s
}

// GroupNames are what nodes can be grouped by.
func GroupNames() (names []string) {
	for _, g := range groupings() {
		names = append(names, g.name)
	}
	return names
}

// Groups groups the nodes that count in totals by one of GroupNames, see NewGroups.
func (r *Report) Groups(by string, public bool) (Groups, error) {
	i := slices.IndexFunc(groupings(), func(g grouping) bool { return g.name == by })
	of := groupings()[i].of
	var members []Member
	simulated := false
	for _, c := range r.reachedCounted() {
		simulated = simulated || c.node.simulated()
		m := of(c.node)
		m.Client, m.Estimate, m.Weight = c.node.Client, c.estimate, c.weight
		members = append(members, m)
	}
	out, err := NewGroups(r.model, by, members, public)
	out.Networks, out.Window, out.Simulated = slices.Sorted(maps.Keys(r.networks)), r.window(), simulated
	return out, err
}

// Member is a node that counts in totals, and its group.
type Member struct {
	Group string // empty where it is not known
	Label string // see Group; that of the first member which has one is used
	// Holder: the group is one party or place, whose share says how concentrated the network is.
	Holder   bool
	Client   string
	Estimate estimate.Estimate
	Weight   float64 // in totals
}

// NewGroups sums up the members of each group. For the public, groups with fewer than five
// nodes are folded into one. The error is ErrNoEstimates without members, or ErrTooFew.
func NewGroups(m *estimate.Model, by string, members []Member, public bool) (out Groups, err error) {
	if len(members) == 0 {
		return out, ErrNoEstimates
	}
	if public && len(members) < smallGroup {
		return out, ErrTooFew
	}
	groups, unknown := sumsOf(members)
	all := slices.Clone(groups)
	if unknown != nil {
		all = append(all, unknown)
	}
	out.By, out.Groups, out.Total = by, []Group{}, complete(m, all)
	if slices.ContainsFunc(members, func(m Member) bool { return m.Holder && m.Group != "" }) {
		out.Concentration = &Concentration{
			holders(groups, unknown, out.Total, func(g Group) float64 { return float64(g.Nodes) }),
			holders(groups, unknown, out.Total, func(g Group) float64 { return g.Attachments }),
		}
	}
	if public {
		out.FoldedGroups, groups, unknown, out.Others = fold(m, groups, unknown)
	}
	slices.SortFunc(groups, func(a, b *Group) int {
		return cmp.Or(cmp.Compare(b.Attachments, a.Attachments), cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Name, b.Name))
	})
	for _, g := range groups {
		out.Groups = append(out.Groups, *g)
	}
	out.Unknown = unknown
	return out, nil
}

// sumsOf adds the nodes up by group; rest are those of which it is not known, nil for none.
func sumsOf(members []Member) (groups []*Group, rest *Group) {
	byName := map[string]*Group{}
	for _, m := range members {
		g := byName[m.Group]
		if g == nil {
			g = &Group{Name: m.Group, holder: m.Holder, sums: estimate.ClientSums{}}
			byName[m.Group] = g
		}
		g.Label = cmp.Or(g.Label, m.Label)
		g.sums.Add(m.Client, m.Estimate, m.Weight)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if g := byName[name]; name == "" {
			g.Name, rest = unknownName, g
		} else {
			groups = append(groups, g)
		}
	}
	return groups, rest
}

// complete fills the groups, which are all, from their sums; it gives the total.
func complete(m *estimate.Model, groups []*Group) Group {
	after := make([]estimate.ClientSums, len(groups)+1) // of the groups from an index on
	after[len(groups)] = estimate.ClientSums{}
	for i := len(groups) - 1; i >= 0; i-- {
		after[i] = maps.Clone(after[i+1])
		after[i].Merge(groups[i].sums)
	}
	total := Group{Name: "total", sums: after[0]}
	before := estimate.ClientSums{}
	for i, g := range groups {
		rest := maps.Clone(before)
		rest.Merge(after[i+1])
		g.fill(m.TotalOf(g.sums), estimate.ShareOf(g.sums, rest), total.sums.Nodes())
		before.Merge(g.sums)
	}
	total.fill(m.TotalOf(total.sums), estimate.ShareOf(total.sums, nil), total.sums.Nodes())
	return total
}

// fill sets what follows from the group's sums. nodes are those of all groups.
func (g *Group) fill(t estimate.Total, share estimate.Share, nodes int) {
	g.Nodes = g.sums.Nodes()
	g.NodeShare, g.WithValidators = float64(g.Nodes)/float64(nodes), t.WithValidators
	g.Attachments, g.AttachmentsLow, g.AttachmentsHigh = t.Validators, t.Low, t.High
	if t.StakeKnown {
		g.StakeETH, g.StakeLow, g.StakeHigh = &t.StakeETH, &t.StakeLow, &t.StakeHigh
	}
	if !math.IsNaN(share.Share) {
		g.AttachmentsShare, g.ShareLow, g.ShareHigh = &share.Share, &share.Low, &share.High
	}
}

// fold puts groups with few nodes into one, and further small ones until that has enough.
func fold(m *estimate.Model, groups []*Group, unknown *Group) (folded int, kept []*Group, keptUnknown, others *Group) {
	slices.SortStableFunc(groups, func(a, b *Group) int { return cmp.Compare(a.Nodes, b.Nodes) })
	others, keptUnknown = &Group{Name: otherGroups, sums: estimate.ClientSums{}}, unknown
	if unknown != nil && unknown.Nodes < smallGroup {
		others.sums.Merge(unknown.sums)
		keptUnknown = nil
	}
	for _, g := range groups {
		if g.Nodes < smallGroup || others.sums.Nodes() > 0 && others.sums.Nodes() < smallGroup {
			others.sums.Merge(g.sums)
			folded++
			continue
		}
		kept = append(kept, g)
	}
	if others.sums.Nodes() > 0 && others.sums.Nodes() < smallGroup { // nothing else is left but unknown
		others.sums.Merge(keptUnknown.sums)
		keptUnknown = nil
	}
	if others.sums.Nodes() == 0 {
		return 0, kept, keptUnknown, nil
	}
	all := append(slices.Clone(kept), others)
	if keptUnknown != nil {
		all = append(all, keptUnknown)
	}
	complete(m, all)
	return folded, kept, keptUnknown, others
}

// holders says how concentrated an amount is on groups that are one party or place.
func holders(groups []*Group, unknown *Group, total Group, amount func(Group) float64) (h Holders) {
	whole := amount(total)
	if !(whole > 0) {
		return h
	}
	var shares []float64
	for _, g := range groups {
		if g.holder {
			shares = append(shares, amount(*g)/whole)
		}
	}
	slices.SortFunc(shares, func(a, b float64) int { return cmp.Compare(b, a) })
	sum := 0.0
	for i, s := range shares {
		h.HHI += 10_000 * s * s
		before := sum
		sum += s
		reach := func(limit float64) *int {
			if before < limit && sum >= limit-1e-9 {
				return new(i + 1)
			}
			return nil
		}
		h.Third, h.TwoThirds = cmp.Or(h.Third, reach(1.0/3)), cmp.Or(h.TwoThirds, reach(2.0/3))
	}
	h.HHIHigh = h.HHI
	if unknown != nil {
		share, largest := amount(*unknown)/whole, 0.0
		if len(shares) > 0 {
			largest = shares[0]
		}
		h.HHIHigh += 10_000 * (share*share + 2*share*largest)
	}
	return h
}
