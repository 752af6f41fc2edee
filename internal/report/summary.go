package report

import (
	"cmp"
	"maps"
	"slices"

	"github.com/chainbound/valtrack/internal/buildinfo"
)

// Summary is an overview of the network. Lists are never nil.
type Summary struct {
	// Networks are the network names in the data; more than one is a data directory
	// that two networks share.
	Networks []string `json:"networks"`
	// Program is the version and commit of the program that made this.
	Program string `json:"program"`
	// Discovered, Visited and Handshaked count nodes.
	Discovered int `json:"discovered"`
	Visited    int `json:"visited"`
	Handshaked int `json:"handshaked"`
	// FirstSeen and LastSeen bound the data, Unix milliseconds; 0 without data.
	FirstSeen int64  `json:"first_seen"`
	LastSeen  int64  `json:"last_seen"`
	Rows      Counts `json:"rows"`
	// Damaged says which damaged parts could not be read: their rows do not count. Empty when
	// all could.
	Damaged string `json:"damaged,omitempty"`
	// Window is what the summary is restricted to; null for all data.
	Window *Window `json:"window"`
	// Sentries counts other sentries of this program, which are left out: they are no
	// beacon nodes.
	Sentries int `json:"sentries"`

	// Validators is null while nothing is estimated.
	Validators *Validators `json:"validators"`

	// The lists count handshaked nodes by what their newest handshake said.
	Clients []ClientCount `json:"clients"`
	// ShortLivedSubnets counts nodes by their number of short-lived subnets; NoHello
	// those that announced none because no gossip hello came.
	ShortLivedSubnets []NumberCount `json:"short_lived_subnets"`
	NoHello           int           `json:"no_hello"`
	// CustodyGroupCounts counts nodes by cgc; NoCGC those with a MetaData older than
	// version 3.
	CustodyGroupCounts []NumberCount `json:"custody_group_counts"`
	NoCGC              int           `json:"no_cgc"`

	// Outcomes counts visits, the most frequent first; every one but ok is an error.
	Outcomes []OutcomeCount `json:"outcomes"`
}

// ClientCount is one client and its versions, the most frequent first.
type ClientCount struct {
	Client   string         `json:"client"`
	Nodes    int            `json:"nodes"`
	Versions []VersionCount `json:"versions"`
}

// VersionCount is one version of a client.
type VersionCount struct {
	Version string `json:"version"` // empty where the agent has none
	Nodes   int    `json:"nodes"`
}

// NumberCount is how many nodes have one number of something.
type NumberCount struct {
	Number uint64 `json:"number"`
	Nodes  int    `json:"nodes"`
}

// OutcomeCount is one visit outcome.
type OutcomeCount struct {
	Outcome string `json:"outcome"`
	Visits  int    `json:"visits"`
	Nodes   int    `json:"nodes"` // that had it at least once
}

// Summary sums up the rows that were read.
func (r *Report) Summary() Summary {
	s := Summary{Program: buildinfo.Read().String(), Networks: slices.Sorted(maps.Keys(r.networks)), Rows: r.rows, Window: r.window(), Validators: r.validators()}
	if r.damaged != nil {
		s.Damaged = r.damaged.Error()
	}
	if s.Networks == nil {
		s.Networks = []string{}
	}
	clients := make(map[string]map[string]int)
	short, cgc := make(map[uint64]int), make(map[uint64]int)
	for _, n := range r.nodes {
		if s.count(n); !n.reached() || n.sentry() {
			continue
		}
		if clients[n.Client] == nil {
			clients[n.Client] = make(map[string]int)
		}
		clients[n.Client][orEmpty(n.ClientRelease)]++
		if n.ShortLivedSubnets == nil {
			s.NoHello++
		} else {
			short[uint64(len(n.ShortLivedSubnets))]++
		}
		if n.CustodyGroupCount == nil {
			s.NoCGC++
		} else {
			cgc[*n.CustodyGroupCount]++
		}
	}
	s.Clients = countClients(clients)
	s.ShortLivedSubnets, s.CustodyGroupCounts = countNumbers(short), countNumbers(cgc)
	s.Outcomes = r.countOutcomes()
	return s
}

func (s *Summary) count(n *Node) {
	if !n.inWindow() {
		return
	}
	if n.sentry() {
		s.Sentries++
		return
	}
	if n.discovered {
		s.Discovered++
	}
	if n.visited {
		s.Visited++
	}
	if n.reached() {
		s.Handshaked++
	}
	if n.FirstSeen > 0 && (s.FirstSeen == 0 || n.FirstSeen < s.FirstSeen) {
		s.FirstSeen = n.FirstSeen
	}
	s.LastSeen = max(s.LastSeen, n.LastSeen)
}

func countClients(clients map[string]map[string]int) []ClientCount {
	out := make([]ClientCount, 0, len(clients))
	for client, versions := range clients {
		c := ClientCount{Client: client}
		for version, nodes := range versions {
			c.Nodes += nodes
			c.Versions = append(c.Versions, VersionCount{version, nodes})
		}
		slices.SortFunc(c.Versions, func(x, y VersionCount) int {
			return cmp.Or(cmp.Compare(y.Nodes, x.Nodes), cmp.Compare(x.Version, y.Version))
		})
		out = append(out, c)
	}
	slices.SortFunc(out, func(x, y ClientCount) int {
		return cmp.Or(cmp.Compare(y.Nodes, x.Nodes), cmp.Compare(x.Client, y.Client))
	})
	return out
}

func countNumbers(numbers map[uint64]int) []NumberCount {
	out := make([]NumberCount, 0, len(numbers))
	for _, n := range slices.Sorted(maps.Keys(numbers)) {
		out = append(out, NumberCount{n, numbers[n]})
	}
	return out
}

func (r *Report) countOutcomes() []OutcomeCount {
	out := make([]OutcomeCount, 0, len(r.outcomes))
	for name, o := range r.outcomes {
		out = append(out, OutcomeCount{name, o.visits, len(o.nodes)})
	}
	slices.SortFunc(out, func(x, y OutcomeCount) int {
		return cmp.Or(cmp.Compare(y.Visits, x.Visits), cmp.Compare(x.Outcome, y.Outcome))
	})
	return out
}
