package api

import (
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/report"
)

// topGroups is how many groups a summary has of each kind.
const topGroups = 10

// summary is the overview.
type summary struct {
	Nodes      nodeCounts      `json:"nodes"`
	Validators validatorTotals `json:"validators"`
	Stake      stakeTotals     `json:"stake"`
	Countries  topOf           `json:"countries"`
	Networks   topOf           `json:"networks"`
	Hosting    []group         `json:"hosting"`
	Clouds     []group         `json:"clouds"`
	Clients    []group         `json:"clients"`
	Forks      forkCounts      `json:"forks"`
	Funnel     funnel          `json:"funnel"`
}

type nodeCounts struct {
	Counted        int     `json:"counted"`
	Known          int     `json:"known"`
	DuplicateIDs   uint64  `json:"duplicate_ids"`
	InboundOnly    int     `json:"inbound_only"`
	WithValidators *number `json:"with_validators"`
}

type validatorTotals struct {
	Attachments      *number `json:"attachments"`
	Low              *number `json:"attachments_low"`
	High             *number `json:"attachments_high"`
	Active           *uint64 `json:"active"`
	ActiveRatio      *number `json:"active_ratio"`
	Multiplicity     *number `json:"multiplicity"`
	MultiplicityLow  *number `json:"multiplicity_low"`
	MultiplicityHigh *number `json:"multiplicity_high"`
	UnreachedShare   *number `json:"unreached_share"`
	// The same by names that mean one thing only, as reports have them.
	PerActive   *number      `json:"attachments_per_active"`
	PerNode     *perNode     `json:"nodes_per_validator"`
	Unaccounted *unaccounted `json:"unaccounted"`

	SilentNodes      *number         `json:"silent_nodes"`
	HiddenValidators *number         `json:"hidden_validators"`
	Verdict          *string         `json:"verdict"`
	Histogram        []report.Bucket `json:"histogram"`
}

// perNode is how many nodes run each validator.
type perNode struct {
	Mean number `json:"mean"`
	Low  number `json:"low"`
	High number `json:"high"`
}

// unaccounted is the share of the active validators on no counted node; without a measured
// multiplicity only the lower end is known.
type unaccounted struct {
	Share *number `json:"share"`
	Low   number  `json:"low"`
	High  *number `json:"high"`
}

type stakeTotals struct {
	ETH  *number `json:"eth"`
	Low  *number `json:"eth_low"`
	High *number `json:"eth_high"`
}

// topOf are the groups with the most validators, and the named one with the most nodes; Known
// counts all that are known.
type topOf struct {
	Known     int     `json:"known"`
	Top       []group `json:"top"`
	MostNodes *group  `json:"most_nodes"`
}

type forkCounts struct {
	Scheduled  *bool                  `json:"scheduled"`
	Next       *string                `json:"next"`
	Ready      int                    `json:"ready"`
	NotReady   int                    `json:"not_ready"`
	Unknown    int                    `json:"unknown"`
	Validators *report.ForkValidators `json:"validators"`
}

// funnel is how far the crawl gets with nodes.
type funnel struct {
	Records        int     `json:"records"`
	RightDigest    *int    `json:"right_digest"`
	Dialled        int     `json:"dialled"`
	Connected      int     `json:"connected"`
	Status         int     `json:"status"`
	Metadata       int     `json:"metadata"`
	WithValidators *number `json:"with_validators"`
}

// unconnected are the outcomes of visits without a connection.
var unconnected = map[string]bool{event.OutcomeDialTimeout: true, event.OutcomeRefused: true, event.OutcomeUnreachable: true, event.OutcomeCanceled: true}

func (v *view) countFunnel() (f funnel) {
	outcomes := event.Outcomes()
	right := 0
	for i := range v.nodes {
		n := &v.nodes[i]
		if n.Record.At > 0 {
			f.Records++
			if d := n.Record.ForkDigest; d != nil && d.String() == orEmpty(v.forks.CurrentDigest) {
				right++
			}
		}
		dialled, connected := n.Address != "", n.handshaken()
		for k, visits := range n.Outcomes {
			dialled = dialled || visits > 0
			connected = connected || visits > 0 && !unconnected[outcomes[k]]
		}
		f.Dialled += one(dialled)
		f.Connected += one(connected)
		f.Status += one(n.handshaken())
		f.Metadata += one(n.MetaDataAt > 0)
	}
	if v.forks.CurrentDigest != nil {
		f.RightDigest = &right
	}
	if v.totals.Nodes > 0 {
		f.WithValidators = optional(v.totals.WithValidators)
	}
	return f
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// summarise is the JSON of the summary. A total over no nodes is not known.
func (v *view) summarise() []byte {
	t := v.totals
	s := summary{
		Nodes:     nodeCounts{Counted: t.Nodes, Known: len(v.nodes), DuplicateIDs: t.DuplicateIDs, InboundOnly: t.InboundOnly, WithValidators: v.funnel.WithValidators},
		Countries: v.top(byCountry), Networks: v.top(byNetwork), Hosting: v.groups[byHosting], Clouds: v.groups[byCloud], Clients: v.groups[byClient],
		Forks: v.forks.counts(), Funnel: v.funnel,
	}
	s.Validators.Active, s.Validators.Histogram = known(t.ActiveValidators), report.Histogram(v.state)
	if t.Nodes > 0 {
		s.Validators.Attachments, s.Validators.Low, s.Validators.High = optional(t.Validators), optional(t.Low), optional(t.High)
		s.Validators.SilentNodes, s.Validators.HiddenValidators = optional(t.SilentNodes), optional(t.HiddenValidators)
		s.Validators.ActiveRatio, s.Validators.Verdict = optional(t.Ratio), known(t.Verdict)
		s.Validators.PerActive = s.Validators.ActiveRatio
		s.Validators.Unaccounted = &unaccounted{given(t.Unaccounted.Share), number(t.Unaccounted.Low), given(t.Unaccounted.High)}
		if share := t.Unaccounted.Share; share != nil {
			s.Validators.UnreachedShare = optional(*share)
		}
		if k := t.Multiplicity; k != nil {
			v := &s.Validators
			v.Multiplicity, v.MultiplicityLow, v.MultiplicityHigh = optional(k.Mean), optional(k.Low), optional(k.High)
			v.PerNode = &perNode{number(k.Mean), number(k.Low), number(k.High)}
		}
		s.Stake = stakeTotals{given(t.StakeETH), given(t.StakeLow), given(t.StakeHigh)}
	}
	return marshal(s)
}

func (v *view) top(by string) topOf {
	out := topOf{Top: []group{}}
	for _, g := range v.groups[by] {
		if g.Name != nil {
			out.Known++
			if *g.Name != others && (out.MostNodes == nil || g.Nodes > out.MostNodes.Nodes) {
				out.MostNodes = &g
			}
		}
		if len(out.Top) < topGroups {
			out.Top = append(out.Top, g)
		}
	}
	return out
}

func getSummary(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	return r.wrapped(s, r.view.summary, r.meta()), nil
}
