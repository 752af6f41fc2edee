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
	// Nodes completed a handshake or were watched in the day before. Per address only one is counted:
	// DuplicateIDs peer ids were left out for that. InboundOnly of the nodes were never
	// dialled successfully: they have no address, and one with two ids counts twice.
	Nodes          int     `json:"nodes"`
	DuplicateIDs   uint64  `json:"counted_twice"`
	InboundOnly    int     `json:"inbound_only"`
	WithValidators float64 `json:"with_validators"`
	// Validators are attachments: a validator that runs behind several nodes counts on
	// each. Low and High are the ends of the 90 % interval.
	Validators float64 `json:"validators"`
	Low        float64 `json:"validators_low"`
	High       float64 `json:"validators_high"`
	Errors     Errors  `json:"errors"`
	// The stake is null where the mean balance was not known.
	StakeETH         *float64 `json:"stake_eth"`
	StakeLow         *float64 `json:"stake_low"`
	StakeHigh        *float64 `json:"stake_high"`
	ActiveValidators uint64   `json:"active_validators"`
	// Ratio is Validators over ActiveValidators. Verdict (M4) is failed when it is more than
	// fallback nodes and distributed validators explain, low when it is less than a crawl of the
	// whole network finds, and unsure when too much of what the concentrated nodes claim is not
	// in it.
	Ratio   float64 `json:"multiplicity"`
	Verdict string  `json:"verdict"`
	// Multiplicity is how many nodes run each validator, null where it was not measured.
	Multiplicity *estimate.Multiplicity `json:"nodes_per_validator"`
	Unaccounted  Unaccounted            `json:"unaccounted"`
	Clients      []ClientTotals         `json:"clients"` // most nodes first
	// SilentNodes, by their weights, show no duty of the validators that their custody group
	// counts require. If all of them have these, there are up to HiddenValidators more than High,
	// which is no part of the interval: see estimate.Total.
	SilentNodes      float64 `json:"silent_nodes"`
	HiddenValidators float64 `json:"hidden_validators"`
	// NextDigests counts the nodes by the next fork digest that their record announces; null in
	// totals of earlier versions, and in those made from rows of peer_estimates by a rebuild.
	NextDigests map[string]int `json:"next_digests,omitempty"`
	Concentration
}

// Errors are shares of the variance of Validators: from each node's own estimate, from the rates
// of client versions, from the prior and what is assumed of custody, and from the number of
// active validators.
type Errors struct {
	Nodes            float64 `json:"nodes"`
	Clients          float64 `json:"clients"`
	Prior            float64 `json:"prior"`
	ActiveValidators float64 `json:"active_validators"`
}

// Unaccounted is the share of the active validators that no counted node accounts for, with its
// 90 % interval. Where the multiplicity was not measured on half of the attachments only the
// lower end is known.
type Unaccounted struct {
	Share *float64 `json:"share"`
	Low   float64  `json:"low"`
	High  *float64 `json:"high"`
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
	// StakeETH is null where the mean balance was not known.
	StakeETH *float64 `json:"stake_eth"`
}

// totalsOf sums the estimates of the nodes that counted gave.
func totalsOf(nodes []*Peer, duplicateIDs uint64, w weights, m *estimate.Model, k estimate.Multiplicity, hour int64) Totals {
	sum := Sums{}
	for i, p := range nodes {
		sum.Add(p.Client.Kind, p.Estimate.Estimate, w.of[i])
	}
	out := sum.totals(m, k, hour)
	out.DuplicateIDs, out.InboundOnly, out.NextDigests = duplicateIDs, inboundOnly(nodes), nextDigests(nodes)
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

func (s Sums) totals(m *estimate.Model, k estimate.Multiplicity, hour int64) Totals {
	out := Totals{Hour: hour, Clients: []ClientTotals{}}
	kinds := slices.Sorted(maps.Keys(s))
	groups := make([]estimate.Sum, len(kinds))
	for i, kind := range kinds {
		groups[i] = s[kind]
		out.Nodes += s[kind].Nodes
	}
	t, clients := m.Totals(groups)
	t = t.With(k)
	for i, c := range clients {
		out.Clients = append(out.Clients, ClientTotals{string(kinds[i]), groups[i].Nodes, c.WithValidators, c.Validators, c.Low, c.High, ifKnown(c.StakeKnown, c.StakeETH)})
	}
	slices.SortStableFunc(out.Clients, func(a, b ClientTotals) int { return cmp.Compare(b.Nodes, a.Nodes) })
	out.WithValidators, out.Validators, out.Low, out.High = t.WithValidators, t.Validators, t.Low, t.High
	out.StakeETH, out.StakeLow, out.StakeHigh = ifKnown(t.StakeKnown, t.StakeETH), ifKnown(t.StakeKnown, t.StakeLow), ifKnown(t.StakeKnown, t.StakeHigh)
	out.ActiveValidators, out.Ratio, out.Verdict = t.ActiveValidators, t.Ratio, t.Verdict.String()
	out.Multiplicity = ifKnown(k.Known(), k)
	u := t.Unaccounted
	out.Unaccounted = Unaccounted{ifKnown(u.Known, u.Mean), u.Low, ifKnown(u.Known, u.High)}
	if all := t.Errors.Sum(); all > 0 {
		out.Errors = Errors{t.Errors.Nodes / all, t.Errors.Clients / all, t.Errors.Prior / all, t.Errors.Aggregators / all}
	}
	out.SilentNodes, out.HiddenValidators = t.Silent, t.Hidden
	out.Concentrated, out.Claimed, out.Admitted = t.Limited, t.Claimed, t.Admitted
	return out
}

// ifKnown is nil for what is not known.
func ifKnown[T any](known bool, v T) *T {
	if !known {
		return nil
	}
	return &v
}

// multiplicityOf measures on how many nodes validators run, from the duties of the nodes that
// count in full: those of one prefix can be one party's, and show what it likes.
func multiplicityOf(nodes []*Peer, weights []float64, p estimate.Params) estimate.Multiplicity {
	list := make([]estimate.DutyNode, 0, len(nodes))
	for i, p := range nodes {
		if weights[i] >= 1 {
			list = append(list, estimate.DutyNode{Client: p.Client.Kind, Duties: p.Duties, Validators: p.Estimate.Mean})
		}
	}
	return estimate.FitMultiplicity(p, list)
}
