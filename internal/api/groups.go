package api

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
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
			if n.hidden && n.place.city != "" {
				return groupKey{name: others}
			}
			return city(n)
		}},
		{byNetwork, func(n *node) groupKey {
			if n.place.asn == 0 {
				return groupKey{}
			}
			number := strconv.FormatUint(uint64(n.place.asn), 10)
			return groupKey{name: cmp.Or(n.place.asName, "AS"+number), code: number}
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

// summing adds up a group. Sums are by client, since the nodes of a client share errors.
type summing struct {
	groupKey
	nodes, located int
	latitude       float64 // sums over the located
	longitude      float64
	sums           map[eth2.ClientKind]*estimate.Sum
}

func (s *summing) add(n *node) {
	s.nodes++
	if !math.IsNaN(n.place.latitude) {
		s.located++
		s.latitude += n.place.latitude
		s.longitude += n.place.longitude
	}
	sum := s.sums[n.Client.Kind]
	if sum == nil {
		sum = &estimate.Sum{}
		s.sums[n.Client.Kind] = sum
	}
	sum.Add(n.Estimate.Estimate, n.weight)
}

func (s *summing) list() (sums []estimate.Sum) {
	for _, sum := range s.sums {
		sums = append(sums, *sum)
	}
	return sums
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

func (v *view) groupBy(p property, model *estimate.Model) []group {
	byKey := map[groupKey]*summing{}
	counted := 0
	for i := range v.nodes {
		n := &v.nodes[i]
		if !n.counts() {
			continue
		}
		counted++
		key := p.of(n)
		s := byKey[key]
		if s == nil {
			s = &summing{groupKey: key, sums: map[eth2.ClientKind]*estimate.Sum{}}
			byKey[key] = s
		}
		s.add(n)
	}
	groups := make([]group, 0, len(byKey))
	for _, s := range byKey {
		groups = append(groups, v.group(p.by, s, counted, model))
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(orZero(b.Validators), orZero(a.Validators)), cmp.Compare(b.Nodes, a.Nodes),
			cmp.Compare(orEmpty(a.Name), orEmpty(b.Name)), cmp.Compare(orEmpty(a.Code), orEmpty(b.Code)))
	})
	return groups
}

func (v *view) group(by string, s *summing, counted int, model *estimate.Model) group {
	if by == byCityPublic {
		by = byCity
	}
	g := group{By: by, Name: known(s.name), Code: known(s.code), Nodes: s.nodes, ShareNodes: number(float64(s.nodes) / float64(counted))}
	t, _ := model.Totals(s.list())
	g.WithValidators, g.Validators, g.Low, g.High = optional(t.WithValidators), optional(t.Validators), optional(t.Low), optional(t.High)
	if t.StakeKnown {
		g.StakeETH = optional(t.StakeETH)
	}
	if v.totals.Validators > 0 {
		g.ShareValidators = optional(min(1, t.Validators/v.totals.Validators))
	}
	if by == byCity && s.located > 0 && s.name != others {
		g.Latitude, g.Longitude = optional(math.Round(s.latitude/float64(s.located)*10)/10), optional(math.Round(s.longitude/float64(s.located)*10)/10)
	}
	return g
}

func orZero(n *number) number {
	if n == nil {
		return 0
	}
	return *n
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
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

// concentrated says how concentrated the validators are on groups.
type concentrated struct {
	By               string  `json:"by"`
	KnownShare       *number `json:"known_share"`
	HHI              *number `json:"hhi"`
	Third            *int    `json:"third"`
	TwoThirds        *int    `json:"two_thirds"`
	Largest          *string `json:"largest"`
	LargestShare     *number `json:"largest_share"`
	LargestShareLow  *number `json:"largest_share_low"`
	LargestShareHigh *number `json:"largest_share_high"`
}

func getConcentration(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	rows := []concentrated{}
	for _, by := range []string{byClient, byNetwork, byCloud, byCountry} {
		rows = append(rows, r.view.concentration(by))
	}
	return r.data(s, rows), nil
}

// concentration is null where no group is known. The groups are in the order of their
// validators.
func (v *view) concentration(by string) concentrated {
	out := concentrated{By: by}
	all, sum, squares := v.totals.Validators, 0.0, 0.0
	for i, g := range v.groups[by] {
		if g.Name == nil || g.Validators == nil || !(all > 0) {
			continue
		}
		if out.Largest == nil {
			out.Largest, out.LargestShare = g.Name, g.ShareValidators
			out.LargestShareLow, out.LargestShareHigh = v.shareEnds(&v.groups[by][i])
		}
		before := sum
		sum += float64(*g.Validators)
		squares += float64(*g.Validators * *g.Validators)
		rank := 1 + rankOf(v.groups[by], i)
		if out.Third == nil && before <= all/3 && sum > all/3 {
			out.Third = &rank
		}
		if out.TwoThirds == nil && before <= all*2/3 && sum > all*2/3 {
			out.TwoThirds = &rank
		}
	}
	if all > 0 {
		out.KnownShare = optional(min(1, sum/all))
	}
	if sum > 0 {
		out.HHI = optional(min(1, squares/(sum*sum)))
	}
	return out
}

// rankOf is how many known groups come before one.
func rankOf(groups []group, i int) (rank int) {
	for _, g := range groups[:i] {
		if g.Name != nil {
			rank++
		}
	}
	return rank
}

// shareEnds are the ends of the interval of a group's share: those of its validators over
// those and the rest of the total.
func (v *view) shareEnds(g *group) (low, high *number) {
	rest := v.totals.Validators - float64(*g.Validators)
	share := func(n *number) *number {
		if n == nil {
			return nil
		}
		return optional(max(0, min(1, float64(*n)/(float64(*n)+max(0, rest)))))
	}
	return share(g.Low), share(g.High)
}
