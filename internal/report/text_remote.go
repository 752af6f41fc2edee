package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/client"
	"github.com/chainbound/valtrack/internal/printable"
	"github.com/chainbound/valtrack/internal/tracker"
)

// RemoteSummary is the part of a Summary that an API tells.
type RemoteSummary struct {
	Summary
	Dialled int `json:"dialled"` // nodes
}

// MarshalJSON leaves out what is not known.
func (s RemoteSummary) MarshalJSON() ([]byte, error) {
	type all RemoteSummary
	return without(all(s), map[string][]string{
		"":                               {"program", "visited", "rows", "sentries", "short_lived_subnets", "no_hello"},
		"validators":                     {"errors", "uncertainty", "lost_days", "concentrated_nodes", "concentrated_prefixes", "concentrated_validators", "concentrated_counted", "large_prefixes", "largest_prefix_share"},
		"validators.nodes_per_validator": {"shared", "nodes", "coincidences", "by_chance", "measured"},
		"outcomes":                       {"nodes"},
	})
}

// without is the JSON of v without some members; the keys are where these are, with dots.
func without(v any, members map[string][]string) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var whole any
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, err
	}
	var remove func(at string, v any)
	remove = func(at string, v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				remove(at, x)
			}
		case map[string]any:
			for _, name := range members[at] {
				delete(v, name)
			}
			for name, x := range v {
				remove(strings.TrimPrefix(at+"."+name, "."), x)
			}
		}
	}
	remove("", whole)
	return json.Marshal(whole)
}

// NotTold is what a report of the API lacks.
func (RemoteSummary) NotTold() string {
	return "row counts, short-lived subnets, other sentries, and what makes the total uncertain"
}

// WriteText writes the summary for people.
func (s RemoteSummary) WriteText(w io.Writer) error {
	p := newPage(w)
	network := strings.Join(s.Networks, ", ")
	list := []field{
		{"network", network},
		{"seen", clock(s.FirstSeen) + " to " + clock(s.LastSeen)},
		{"nodes", fmt.Sprintf("%d found by discovery, %d completed a handshake, %d dialled", s.Discovered, s.Handshaked, s.Dialled)},
	}
	if s.FirstSeen == 0 {
		list = slices.Delete(list, 1, 2)
	}
	if v := s.Validators; v != nil {
		list = append(append(list, v.asOf("")), v.totalsWithHidden(network)...)
		if v.Unaccounted != (tracker.Unaccounted{}) {
			list = append(list, field{"unaccounted", v.unaccountedText()})
		}
		list = append(list, v.stakeField())
		list = append(list, v.notCountedFields()...)
	}
	p.fields(list)
	if s.Validators != nil {
		s.Validators.writeTables(p)
	}
	s.writeClients(p)
	s.writeCustody(p)
	rows := [][]string{}
	for _, o := range s.Outcomes {
		rows = append(rows, []string{o.Outcome, fmt.Sprint(o.Visits), share(o.Visits, s.Rows.Visits)})
	}
	p.filled([]column{{name: "OUTCOME"}, {name: "VISITS"}, {name: "SHARE"}}, rows)
	p.legend(append([]string{"[low to high]", "node", "attachment", "custody groups", "record"}, s.outcomeWords()...)...)
	return p.writeTo(w)
}

// RemoteNodes are the nodes that completed a handshake, as rows of the API.
type RemoteNodes struct{ Rows []client.Node }

// notOfAPI are columns of nodes that the API does not have.
func notOfAPI() []string { return []string{"RULE", "SHORT-LIVED"} }

// NotTold is what a report of the API lacks.
func (RemoteNodes) NotTold() string { return "the subnet rule and the short-lived subnets" }

// WriteText writes a line per node.
func (r RemoteNodes) WriteText(w io.Writer) error {
	p := newPage(w)
	nodes := make([]*Node, len(r.Rows))
	for i, row := range r.Rows {
		nodes[i] = nodeOf(row)
	}
	p.nodes(nodes, notOfAPI()...)
	switch {
	case len(nodes) == 0:
		p.sentence("no node completed a handshake")
	case p.width > 0:
		p.sentence("(nodes that completed a handshake)")
		p.legend("[low to high]", "since", "custody groups", "long-lived subnet", "observations", "last heard")
	}
	return p.writeTo(w)
}

// RemoteNode is what the API knows about one node.
type RemoteNode struct{ client.NodeDetail }

// NotTold is what a report of the API lacks.
func (RemoteNode) NotTold() string { return "the node's handshakes and visits" }

// WriteText writes the evidence for people.
func (r RemoteNode) WriteText(w io.Writer) error {
	p := newPage(w)
	n := nodeOf(r.Node)
	p.sentence("%s", printable.Clean(r.Why))
	p.WriteByte('\n')
	list := []field{{"peer id", n.ID}, {"node id", orDash(n.NodeID)}}
	if n.Multiaddr != "" || n.IP != nil {
		list = append(list, field{"address", n.addressText()})
	}
	if n.ENR != "" {
		list = append(list, field{"record", printable.Clean(n.ENR)})
	}
	custody := "not reported"
	if n.CustodyGroupCount != nil {
		custody = fmt.Sprint(*n.CustodyGroupCount)
	}
	p.fields(append(list, field{"custody groups", custody}))
	if r.Client != nil || n.Estimated != nil {
		p.nodes([]*Node{n}, notOfAPI()...)
	}
	rows := [][]string{}
	for _, s := range []struct {
		name string
		says *client.Interval
	}{{"custody groups alone", r.Signals.Custody}, {"subnets alone", r.Signals.Subnets}, {"sync committees alone", r.Signals.Sync}} {
		if s.says == nil && n.Estimated == nil {
			continue
		}
		if s.says == nil {
			rows = append(rows, []string{s.name, "-", "-"})
			continue
		}
		rows = append(rows, []string{s.name, fmt.Sprintf("%.0f", s.says.Validators), fmt.Sprintf("%.0f to %.0f", s.says.Low, s.says.High)})
	}
	p.filled([]column{{name: "VALIDATORS"}, {name: "MEDIAN"}, {name: "90 %"}}, rows)
	r.history().writeHistory(p)
	writeViews(p, r.views())
	if r.Client == nil && n.Estimated == nil {
		p.legend("custody groups", "record")
	} else {
		p.legend("[low to high]", "since", "duty", "custody groups", "long-lived subnet", "observations", "last heard")
	}
	return p.writeTo(w)
}

// history is what was seen of the node over time.
func (r RemoteNode) history() *Tracked {
	t := &Tracked{}
	for _, d := range r.Days {
		t.Days = append(t.Days, Day(d))
	}
	for _, c := range r.CustodyHistory {
		t.CustodyHistory = append(t.CustodyHistory, tracker.CustodyChange{At: orZero(c.At), Count: c.Count})
	}
	for _, e := range r.Endpoints {
		t.Endpoints = append(t.Endpoints, tracker.Endpoint{Address: e.Address, First: orZero(e.First), Last: orZero(e.Last)})
	}
	for _, o := range r.OtherIDs {
		t.SameAddress = append(t.SameAddress, OtherID{o.ID, orZero(o.LastSeen)})
	}
	return t
}

// views are what the sentries know of the node.
func (r RemoteNode) views() (out []NodeView) {
	for _, v := range r.SeenBy {
		out = append(out, NodeView{
			v.Sentry, orEmpty(v.Location), orZero(v.LastSeen), orZero(v.LastHandshake), orZero(v.LastVisit), orEmpty(v.LastOutcome),
			v.Reachable, v.HandshakeMS, v.SubscribedSubnets, v.SubscriptionsDiffer,
		})
	}
	return out
}

// RemoteSentries is the comparison of the sentries as the API has it.
type RemoteSentries struct{ Sentries }

// MarshalJSON leaves out what is not known.
func (s RemoteSentries) MarshalJSON() ([]byte, error) {
	return without(s.Sentries, map[string][]string{"sentries": {"hours", "keys", "clock_error_ms"}})
}

// NotTold is what a report of the API lacks.
func (RemoteSentries) NotTold() string {
	return "the sentries' counts by the hour, by how much the times of events that are not used are off, and such events from before the consumer's start"
}

// RemoteForks is the readiness for the next fork as the API knows it.
type RemoteForks struct{ Forks }

// NotTold is what a report of the API lacks.
func (f RemoteForks) NotTold() string {
	lacks := "nodes that do not count in totals"
	if f.withoutEpochs() {
		lacks = "the epoch of the next fork that records announce, and " + lacks
	}
	return lacks
}

// RemoteChanges are changes as the API finds them, from one state of its tracker to the next.
type RemoteChanges struct {
	Since   int64           `json:"since"` // Unix milliseconds
	Changes []client.Change `json:"changes"`
}

// NotTold is what a report of the API lacks.
func (RemoteChanges) NotTold() string {
	return "which part of the time was not recorded, and how many nodes were not tried; it counts nodes as vanished a day after they were last met"
}

// WriteText writes a table per kind of change.
func (c RemoteChanges) WriteText(w io.Writer) error {
	p := newPage(w)
	titles := []struct{ kind, title string }{
		{client.Appeared, "APPEARED"}, {client.Vanished, "VANISHED"}, {client.Moved, "MOVED"}, {client.Upgraded, "UPGRADED"},
		{client.StartedValidating, "STARTED VALIDATING"}, {client.StoppedValidating, "STOPPED VALIDATING"},
	}
	rows, counts := map[string][][]string{}, []string{}
	for _, x := range c.Changes {
		rows[x.Kind] = append(rows[x.Kind], []string{
			printable.Clean(x.ID), orDash(orEmpty(x.Client)), orDash(printable.Clean(orEmpty(x.Version))), clock(orZero(x.At)),
			orDash(printable.Clean(orEmpty(x.From))), orDash(printable.Clean(orEmpty(x.To))),
		})
	}
	for _, t := range titles {
		counts = append(counts, fmt.Sprintf("%d %s", len(rows[t.kind]), strings.ToLower(t.title)))
	}
	p.fields([]field{{"since", clock(c.Since)}, {"changes", strings.Join(counts, ", ")}})
	for _, t := range titles {
		p.limited([]column{
			{t.title, idColumn, 0}, {"CLIENT", plainColumn, 0}, {"VERSION", textColumn, 2}, {"AT", plainColumn, 0}, {"FROM", textColumn, 1}, {"TO", textColumn, 1},
		}, rows[t.kind])
	}
	return p.writeTo(w)
}
