package api

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/report"
)

// What nodes are grouped by.
const (
	byCountry    = "country"
	byCity       = "city"
	byCityPublic = "city without a key"
	byNetwork    = "network"
	byHosting    = "hosting"
	byCloud      = "cloud"
	byClient     = "client"
	byRelease    = "release"
	byOS         = "os"
	byArch       = "arch"
)

// others is the group of cities with few nodes.
const others = "other"

// group is what the nodes with something in common add up to.
type group struct {
	By              string  `json:"by"`
	Name            *string `json:"name"`
	Code            *string `json:"code"`
	Latitude        *number `json:"latitude"`
	Longitude       *number `json:"longitude"`
	Nodes           int     `json:"nodes"`
	WithValidators  *number `json:"with_validators"`
	Validators      *number `json:"validators"`
	Low             *number `json:"validators_low"`
	High            *number `json:"validators_high"`
	StakeETH        *number `json:"stake_eth"`
	ShareNodes      number  `json:"share_nodes"`
	ShareValidators *number `json:"share_validators"`
	ShareLow        *number `json:"share_validators_low"`
	ShareHigh       *number `json:"share_validators_high"`
}

// groupKey is what the nodes of a group have in common; an empty name is unknown. The region
// tells cities of one name apart.
type groupKey struct{ name, code, region string }

// property is what one dimension says of a node.
type property struct {
	by string
	of func(n *node) groupKey
}

func properties() []property {
	city := func(n *node) groupKey { return groupKey{n.place.city, n.place.code, n.place.region} }
	return []property{
		{byCountry, func(n *node) groupKey { return groupKey{name: n.place.country, code: n.place.code} }},
		{byCity, city},
		{byCityPublic, func(n *node) groupKey {
			if n.hidden {
				return groupKey{name: others}
			}
			return city(n)
		}},
		{byNetwork, func(n *node) groupKey {
			if n.place.asn == 0 {
				return groupKey{}
			}
			return groupKey{code: strconv.FormatUint(uint64(n.place.asn), 10)} // databases may name one differently
		}},
		{byHosting, func(n *node) groupKey { return groupKey{name: n.place.hosting} }},
		{byCloud, func(n *node) groupKey { return groupKey{name: n.place.cloud} }},
		{byClient, func(n *node) groupKey { return groupKey{name: clientName(n)} }},
		{byRelease, func(n *node) groupKey { return groupKey{name: n.release, code: clientName(n)} }},
		{byOS, func(n *node) groupKey { return groupKey{name: n.Client.OS} }},
		{byArch, func(n *node) groupKey { return groupKey{name: n.Client.Arch} }},
	}
}

// clientName is empty where the client is not known.
func clientName(n *node) string {
	if n.Client.Kind == eth2.ClientUnknown {
		return ""
	}
	return string(n.Client.Kind)
}

// located are the coordinates of a group's nodes, summed up.
type located struct {
	nodes               int
	latitude, longitude float64
}

// groupAll groups the nodes that count in every way.
func (v *view) groupAll() map[string][]group {
	model := estimate.NewModel(v.state.Params(), estimate.DefaultPrior(), nil)
	out := map[string][]group{}
	for _, p := range properties() {
		out[p.by] = v.groupBy(p, model)
	}
	return out
}

// groupBy has the sums and shares of report.NewGroups, so that API and reports say the same.
func (v *view) groupBy(p property, model *estimate.Model) []group {
	places := map[groupKey]*located{}
	keys := map[string]groupKey{"": {}}
	var members []report.Member
	for i := range v.nodes {
		n := &v.nodes[i]
		if !n.counts() {
			continue
		}
		key := p.of(n)
		m := report.Member{Client: string(n.Client.Kind), Estimate: n.Estimate.Estimate, Weight: n.weight}
		if p.by == byNetwork && n.place.asn != 0 {
			m.Label = cmp.Or(n.place.asName, "AS"+key.code)
		}
		if key != (groupKey{}) {
			m.Group = strings.Join([]string{key.name, key.code, key.region}, "\x00")
		}
		members, keys[m.Group] = append(members, m), key
		if n.place.located() && p.fine() && key.name != others {
			at := places[key]
			if at == nil {
				at = &located{}
				places[key] = at
			}
			at.nodes++
			at.latitude += n.place.latitude
			at.longitude += n.place.longitude
		}
	}
	sums, err := report.NewGroups(model, p.by, members, false)
	if err != nil { // no node counts
		return []group{}
	}
	groups := make([]group, 0, len(sums.Groups)+1)
	for _, g := range sums.Groups {
		groups = append(groups, newGroup(p, keys[g.Name], g, places[keys[g.Name]]))
	}
	if sums.Unknown != nil {
		groups = append(groups, newGroup(p, groupKey{}, *sums.Unknown, nil))
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(orZero(b.Validators), orZero(a.Validators)), cmp.Compare(b.Nodes, a.Nodes),
			cmp.Compare(orEmpty(a.Name), orEmpty(b.Name)), cmp.Compare(orEmpty(a.Code), orEmpty(b.Code)))
	})
	return groups
}

// fine reports whether the groups are places with coordinates.
func (p property) fine() bool { return p.by == byCity || p.by == byCityPublic }

func newGroup(p property, key groupKey, sum report.Group, at *located) group {
	by := p.by
	if by == byCityPublic {
		by = byCity
	}
	g := group{
		By: by, Name: known(cmp.Or(key.name, sum.Label)), Code: known(key.code), Nodes: sum.Nodes, ShareNodes: number(sum.NodeShare),
		WithValidators: optional(sum.WithValidators), Validators: optional(sum.Attachments), Low: optional(sum.AttachmentsLow), High: optional(sum.AttachmentsHigh),
		StakeETH: given(sum.StakeETH), ShareValidators: given(sum.AttachmentsShare), ShareLow: given(sum.ShareLow), ShareHigh: given(sum.ShareHigh),
	}
	if at != nil {
		g.Latitude, g.Longitude = optional(math.Round(at.latitude/float64(at.nodes)*10)/10), optional(math.Round(at.longitude/float64(at.nodes)*10)/10)
	}
	return g
}

func orEmpty(s *string) string { return orZero(s) }

// orZero is what p points at, the zero value for nil.
func orZero[T any](p *T) (zero T) {
	if p == nil {
		return zero
	}
	return *p
}

// listGroups answers with the groups of some properties.
func listGroups(by ...string) handler {
	return func(s *Server, r *request) (answer, *problem) {
		format := r.choice("format", formatJSON, formatNDJSON, formatCSV)
		if p := r.done(); p != nil {
			return answer{}, p
		}
		rows := []group{}
		for _, name := range by {
			if name == byCity && !r.caller.full {
				name = byCityPublic
			}
			rows = append(rows, r.view.groups[name]...)
		}
		return tabular(s, r, format, by[0], rows), nil
	}
}

// concentrated says how concentrated the validators are on groups, as report.Groups has it.
type concentrated struct {
	By               string  `json:"by"`
	KnownShare       *number `json:"known_share"`
	HHI              *number `json:"hhi"`
	HHIHigh          *number `json:"hhi_high"`
	Third            *int    `json:"third"`
	TwoThirds        *int    `json:"two_thirds"`
	Largest          *string `json:"largest"`
	LargestCode      *string `json:"largest_code"` // as of a Group
	LargestShare     *number `json:"largest_share"`
	LargestShareLow  *number `json:"largest_share_low"`
	LargestShareHigh *number `json:"largest_share_high"`
}

func getConcentration(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	return r.data(s, r.view.concentration), nil
}

// concentrations are those of clients and of properties of places.
func (v *view) concentrations() []concentrated {
	model := estimate.NewModel(v.state.Params(), estimate.DefaultPrior(), nil)
	out := []concentrated{}
	for _, by := range []string{byClient, byNetwork, byCloud, byCountry} {
		var members []report.Member
		for i := range v.nodes {
			n := &v.nodes[i]
			if !n.counts() {
				continue
			}
			m := report.Member{Group: clientName(n), Holder: true}
			if by != byClient {
				m = n.place.location().Group(by)
			}
			m.Client, m.Estimate, m.Weight = string(n.Client.Kind), n.Estimate.Estimate, n.weight
			members = append(members, m)
		}
		sums, err := report.NewGroups(model, by, members, false)
		if err != nil { // no node counts
			out = append(out, concentrated{By: by})
			continue
		}
		out = append(out, newConcentrated(by, sums))
	}
	return out
}

func newConcentrated(by string, sums report.Groups) concentrated {
	c := concentrated{By: by}
	if total := sums.Total.Attachments; total > 0 {
		unknown := 0.0
		if sums.Unknown != nil {
			unknown = sums.Unknown.Attachments
		}
		c.KnownShare = optional(1 - unknown/total)
	}
	if sums.Concentration == nil {
		return c
	}
	h := sums.Concentration.Attachments
	c.HHI, c.HHIHigh, c.Third, c.TwoThirds = optional(h.HHI), optional(h.HHIHigh), h.Third, h.TwoThirds
	for _, g := range sums.Groups { // the largest come first
		if g.Holds() {
			c.LargestCode = known(codeOf(by, g.Name))
			c.Largest, c.LargestShare = known(cmp.Or(g.Label, g.Name)), given(g.AttachmentsShare)
			c.LargestShareLow, c.LargestShareHigh = given(g.ShareLow), given(g.ShareHigh)
			break
		}
	}
	return c
}

// codeOf is the code of a group in the listing of its property; empty where that has none.
func codeOf(by, name string) string {
	switch by {
	case byNetwork:
		return strings.TrimPrefix(name, "AS")
	case byCountry:
		return name
	}
	return ""
}
