package tracker

import (
	"cmp"
	"maps"
	"slices"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// Totals are the network's at one hour.
type Totals struct {
	Hour int64 `json:"hour"` // Unix milliseconds
	// Nodes completed a handshake in the day before. Per address only one is counted:
	// DuplicateIDs peer ids were left out for that. InboundOnly of the nodes were never
	// dialled successfully: they have no address, and one with two ids counts twice.
	Nodes          int     `json:"nodes"`
	DuplicateIDs   uint64  `json:"counted_twice"`
	InboundOnly    int     `json:"inbound_only"`
	WithValidators float64 `json:"with_validators"`
	// Validators are attachments: a validator that runs behind several nodes counts on
	// each. Low and High are the ends of the 90 % interval.
	Validators       float64 `json:"validators"`
	Low              float64 `json:"validators_low"`
	High             float64 `json:"validators_high"`
	StakeETH         float64 `json:"stake_eth"`
	StakeLow         float64 `json:"stake_low"`
	StakeHigh        float64 `json:"stake_high"`
	ActiveValidators uint64  `json:"active_validators"`
	// Multiplicity is Validators over ActiveValidators. Verdict (M4) is failed when it is
	// more than fallback nodes and distributed validators explain, and unsure when too much
	// of what the concentrated nodes claim is not in it.
	Multiplicity float64        `json:"multiplicity"`
	Verdict      string         `json:"verdict"`
	Clients      []ClientTotals `json:"clients"` // most nodes first
	Concentration
}

// Concentration is what of the totals depends on a few network prefixes. The numbers of
// prefixes are 0 in totals that were computed from rows of peer_estimates.
type Concentration struct {
	// Concentrated nodes are in so many prefixes with more than may count in full. They
	// claim Claimed validators, of which Admitted are counted. The intervals reach from
	// none of the claimed validators to all.
	Concentrated int     `json:"concentrated_nodes"`
	Prefixes     int     `json:"concentrated_prefixes"`
	Claimed      float64 `json:"concentrated_validators"`
	Admitted     float64 `json:"concentrated_counted"`
	// LargePrefixes claim more than 5 % of the active validators each, the largest of them
	// LargestPrefix times their number.
	LargePrefixes int     `json:"large_prefixes"`
	LargestPrefix float64 `json:"largest_prefix_share"`
}

// ClientTotals are those of one client.
type ClientTotals struct {
	Client         string  `json:"client"`
	Nodes          int     `json:"nodes"`
	WithValidators float64 `json:"with_validators"`
	Validators     float64 `json:"validators"`
	Low            float64 `json:"validators_low"`
	High           float64 `json:"validators_high"`
	StakeETH       float64 `json:"stake_eth"`
}

// totalsOf sums the estimates of the nodes that counted gave.
func totalsOf(nodes []*Peer, duplicateIDs uint64, w weights, m *estimate.Model, hour int64) Totals {
	sum := Sums{}
	for i, p := range nodes {
		sum.Add(p.Client.Kind, p.Estimate.Estimate, w.of[i])
	}
	out := sum.totals(m, hour)
	out.DuplicateIDs, out.InboundOnly = duplicateIDs, inboundOnly(nodes)
	out.Prefixes, out.LargePrefixes, out.LargestPrefix = w.limited, w.large, w.largest/float64(max(1, out.ActiveValidators))
	return out
}

// Sums add up estimates by client.
type Sums map[eth2.ClientKind]estimate.Sum

// Add adds one node with its weight, see estimate.Sum.
func (s Sums) Add(client eth2.ClientKind, e estimate.Estimate, weight float64) {
	sum := s[client]
	sum.Add(e, weight)
	s[client] = sum
}

func (s Sums) totals(m *estimate.Model, hour int64) Totals {
	out := Totals{Hour: hour, Clients: []ClientTotals{}}
	kinds := slices.Sorted(maps.Keys(s))
	groups := make([]estimate.Sum, len(kinds))
	for i, kind := range kinds {
		groups[i] = s[kind]
		out.Nodes += s[kind].Nodes
	}
	t, clients := m.Totals(groups)
	for i, c := range clients {
		out.Clients = append(out.Clients, ClientTotals{string(kinds[i]), groups[i].Nodes, c.WithValidators, c.Validators, c.Low, c.High, c.StakeETH})
	}
	slices.SortStableFunc(out.Clients, func(a, b ClientTotals) int { return cmp.Compare(b.Nodes, a.Nodes) })
	out.WithValidators, out.Validators, out.Low, out.High = t.WithValidators, t.Validators, t.Low, t.High
	out.StakeETH, out.StakeLow, out.StakeHigh = t.StakeETH, t.StakeLow, t.StakeHigh
	out.ActiveValidators, out.Multiplicity, out.Verdict = t.ActiveValidators, t.Multiplicity, t.Verdict.String()
	out.Concentrated, out.Claimed, out.Admitted = t.Limited, t.Claimed, t.Admitted
	return out
}
