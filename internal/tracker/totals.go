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
	// more than fallback nodes and distributed validators explain.
	Multiplicity float64        `json:"multiplicity"`
	Verdict      string         `json:"verdict"`
	Clients      []ClientTotals `json:"clients"` // most nodes first
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
func totalsOf(nodes []*Peer, duplicateIDs uint64, m *estimate.Model, hour int64) Totals {
	sum := Sums{}
	for _, p := range nodes {
		sum.Add(p.Client.Kind, p.Estimate.Estimate)
	}
	out := sum.totals(m, hour)
	out.DuplicateIDs, out.InboundOnly = duplicateIDs, inboundOnly(nodes)
	return out
}

// Sums add up estimates by client.
type Sums map[eth2.ClientKind]estimate.Sum

// Add adds one node. Of the estimate Low, Mean, Variance, Shared, PValidator and Stake.Mean
// are used.
func (s Sums) Add(client eth2.ClientKind, e estimate.Estimate) {
	sum := s[client]
	sum.Add(e)
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
	return out
}
