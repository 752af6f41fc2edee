package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/event"
)

// maxVersions bounds the versions that a client's line names.
const maxVersions = 4

// WriteText writes the summary for people.
func (s Summary) WriteText(w io.Writer) error {
	p := newPage(w)
	if s.Rows == (Counts{}) && s.Handshaked == 0 {
		if s.Window != nil && s.Window.DataTo > 0 {
			p.fields(s.Window.fields())
			p.sentence("no row of this data begins in this window")
		} else {
			p.sentence("no data yet")
		}
		return p.writeTo(w)
	}
	s.writeHead(p)
	if s.Validators != nil {
		s.Validators.writeTables(p)
	}
	s.writeClients(p)
	s.writeCounts(p)
	p.legend(append([]string{"[low to high]", "node", "attachment", "ended visit", "short-lived subnet", "hello", "custody groups", "record"}, s.outcomeWords()...)...)
	return p.writeTo(w)
}

func (s Summary) writeHead(p *page) {
	list := []field{{"network", strings.Join(s.Networks, ", ")}}
	if s.Window != nil {
		list = append(list, s.Window.fields()...)
	}
	seen, records, watched := "", "found by discovery", ""
	if s.Window != nil {
		seen, records = " (these nodes, since they were first found)", "with a new or changed record"
		if s.Handshaked > s.Rows.Handshakes {
			watched = "; nodes still being watched after an earlier handshake are included"
		}
	}
	list = append(list,
		field{"seen", clock(s.FirstSeen) + " to " + clock(s.LastSeen) + seen},
		field{"nodes", fmt.Sprintf("%d %s, %d completed a handshake, %d with an ended visit", s.Discovered, records, s.Handshaked, s.Visited)},
		field{"rows", fmt.Sprintf("%d discoveries, %d handshakes, %d ended visits%s", s.Rows.Discoveries, s.Rows.Handshakes, s.Rows.Visits, watched)})
	if s.Rows.ClockErrors > 0 {
		list = append(list, field{"left out", plural(s.Rows.ClockErrors, "row") + " of sentries whose clock was off"})
	}
	if text := leftOut(s.Sentries); text != "" {
		list = append(list, field{"left out", text})
	}
	if s.Validators != nil {
		list = append(list, s.Validators.fields(strings.Join(s.Networks, ", "), s.Window != nil)...)
	}
	p.fields(list)
	if s.Validators == nil && s.Window != nil {
		p.sentence("validators were not estimated in this window: in peer_estimates no hour begins in it, or in the hour before its end. If there were handshakes, 'valtrack rebuild' estimates past hours from them, as after an import")
	}
}

func (s Summary) writeClients(p *page) {
	rows := [][]string{}
	for _, c := range s.Clients {
		rows = append(rows, []string{orUnknown(c.Client), fmt.Sprint(c.Nodes), share(c.Nodes, s.Handshaked), versions(c)})
	}
	p.table([]column{{"CLIENT", plainColumn, 0}, {"NODES", plainColumn, 0}, {"SHARE", plainColumn, 0}, {"VERSIONS", textColumn, 1}}, rows)
}

// writeNumbers writes how many nodes have each number of something; of missing nodes it is
// not known, why says so.
func (s Summary) writeNumbers(p *page, name string, counts []NumberCount, missing int, why string) {
	rows := [][]string{}
	for _, c := range counts {
		rows = append(rows, []string{fmt.Sprint(c.Number), fmt.Sprint(c.Nodes), share(c.Nodes, s.Handshaked)})
	}
	if missing > 0 {
		rows = append(rows, []string{why, fmt.Sprint(missing), share(missing, s.Handshaked)})
	}
	p.table([]column{{name: name}, {name: "NODES"}, {name: "SHARE"}}, rows)
}

func (s Summary) writeCustody(p *page) {
	s.writeNumbers(p, "CUSTODY GROUPS", s.CustodyGroupCounts, s.NoCGC, "not reported")
}

func (s Summary) writeCounts(p *page) {
	s.writeNumbers(p, "SHORT-LIVED SUBNETS", s.ShortLivedSubnets, s.NoHello, "no hello")
	s.writeCustody(p)
	rows := [][]string{}
	for _, o := range s.Outcomes {
		rows = append(rows, []string{o.Outcome, fmt.Sprint(o.Visits), share(o.Visits, s.Rows.Visits), fmt.Sprint(o.Nodes)})
	}
	p.filled([]column{{name: "OUTCOME"}, {name: "VISITS"}, {name: "SHARE"}, {name: "NODES"}}, rows)
}

// outcomeWords are the outcomes that need an explanation, of those that the report has.
func (s Summary) outcomeWords() []string {
	if slices.ContainsFunc(s.Outcomes, func(o OutcomeCount) bool { return o.Outcome == event.OutcomeCanceled }) {
		return []string{event.OutcomeCanceled}
	}
	return nil
}

func versions(c ClientCount) string {
	var words []string
	for i, v := range c.Versions {
		if i == maxVersions {
			words = append(words, fmt.Sprintf("%d more", len(c.Versions)-i))
			break
		}
		words = append(words, fmt.Sprintf("%s (%d)", orUnknown(v.Version), v.Nodes))
	}
	return strings.Join(words, ", ")
}

// maxGaps bounds the gaps that a report names.
const maxGaps = 3

// fields are the window, and what of it is missing.
func (w Window) fields() []field {
	list := []field{{"window", fmt.Sprintf("%s to %s (%s)", clock(w.From), clock(w.To), span(w.To-w.From))}}
	if tail := w.tail(); tail != "" {
		list = append(list, field{"stored until", tail})
	}
	if w.GapsMS == 0 {
		return list
	}
	if w.covered() <= 0 {
		text := "nothing was recorded in this window"
		if w.DataTo > 0 {
			text += fmt.Sprintf("; the data is from %s to %s", clock(w.DataFrom), clock(w.DataTo))
		}
		return append(list, field{"no data", text})
	}
	var gaps []string
	for i, g := range w.Gaps {
		if i == maxGaps {
			gaps = append(gaps, fmt.Sprintf("%d more", len(w.Gaps)-i))
			break
		}
		gaps = append(gaps, clock(g.From)+" to "+clock(g.To))
	}
	return append(list, field{"incomplete", fmt.Sprintf("nothing was recorded for %s of it: %s", span(w.GapsMS), strings.Join(gaps, ", "))})
}

// tail says where the rows end before the window does; empty when they do not, or when a gap
// says it.
func (w Window) tail() string {
	inGap := len(w.Gaps) > 0 && w.Gaps[len(w.Gaps)-1].To >= w.To
	if w.DataTo == 0 || w.DataTo >= w.To || inGap {
		return ""
	}
	return fmt.Sprintf("%s, %s before the window's end: later events, if any, become readable with the next commit", clock(w.DataTo), span(w.To-w.DataTo))
}

// fields are the totals of a network.
func (v *Validators) fields(network string, inWindow bool) []field {
	whatever := ""
	if inWindow {
		whatever = ", whatever the window"
	}
	list := append(append([]field{v.asOf(whatever)}, v.totalsWithHidden(network)...), field{"unaccounted", v.unaccountedText()}, v.stakeField())
	if text := v.Uncertainty.text(); text != "" {
		list = append(list, field{"uncertainty", text})
	}
	list = append(list, v.concentration()...)
	list = append(list, v.notCountedFields()...)
	if v.Removed > 0 {
		list = append(list, field{"removed", fmt.Sprintf("these totals include %s whose rows have since been removed by 'valtrack purge' or --retention; totals of past hours are kept", plural(v.Removed, "node"))})
	}
	if v.LostDays > 0 {
		list = append(list, field{"lost", fmt.Sprintf("%d days of statistics that could not be decoded: 'valtrack rebuild' recomputes them", v.LostDays)})
	}
	return list
}

// asOf says what the totals are of.
func (v *Validators) asOf(whatever string) field {
	return field{"as of", fmt.Sprintf("%s, for all nodes met in the 24 hours before that%s, from up to a week of observations", clock(v.Hour), whatever)}
}

// totalFields are the attachments and what they are compared with.
func (v *Validators) totalFields(network string) []field {
	return []field{
		{"attachments", fmt.Sprintf("%.0f [%.0f to %.0f] on %s, about %.0f of them with any", v.Validators, v.Low, v.High, plural(v.Nodes, "node"), v.WithValidators)},
		{"share", fmt.Sprintf("%.1f %% of the network's %d active validators%s; one that runs on several nodes counts on each%s", 100*v.Ratio, v.ActiveValidators, ofDevnet(network), v.note())},
		{"nodes per validator", v.multiplicityText()},
	}
}

func (v *Validators) stakeField() field {
	if v.StakeETH == nil || v.StakeLow == nil || v.StakeHigh == nil {
		return field{"stake", "unknown: give --beacon-api or --mean-balance to the consumer"}
	}
	return field{"stake", fmt.Sprintf("%.0f ETH [%.0f to %.0f]", *v.StakeETH, *v.StakeLow, *v.StakeHigh)}
}

// notCountedFields say which peer ids count twice, or not at all.
func (v *Validators) notCountedFields() (list []field) {
	if v.InboundOnly > 0 {
		list = append(list, field{"inbound only", fmt.Sprintf("%d of the nodes, by peer id: without addresses, one node with two ids cannot be recognised", v.InboundOnly)})
	}
	if v.DuplicateIDs > 0 {
		list = append(list, field{"not counted", fmt.Sprintf("%d earlier peer ids of the same IP addresses and ports", v.DuplicateIDs)})
	}
	return list
}

// simulated is the name of the devnet.
const simulated = "devnet"

// ofDevnet says what the number of active validators of a devnet is; empty for other networks.
func ofDevnet(network string) string {
	if network != simulated {
		return ""
	}
	return ", a number simulated by this devnet, nearly all of them on no node"
}

// note says what is wrong with the total.
func (v *Validators) note() string {
	switch v.Verdict {
	case estimate.Failed.String():
		return ": more than fallback nodes and distributed validators explain, see --calibration"
	case estimate.TooLow.String():
		return ": low, as most validators run on no counted node, or fewer duties show than assumed"
	case estimate.Unsure.String():
		if v.Concentrated == 0 { // an hour that was computed again from its rows
			return ": unsure, because it is more than one node per validator explains, and on how many nodes they ran then is unknown"
		}
		return ": unsure, because more than 5 % of the network's validators are claimed by a few network prefixes and not counted"
	}
	return ""
}

// multiplicityText says on how many nodes validators run.
func (v *Validators) multiplicityText() string {
	k := v.Multiplicity
	if k == nil {
		return "not measured: too few duties of nodes watched at the same time"
	}
	text := fmt.Sprintf("%.2f [%.2f to %.2f]", k.Mean, k.Low, k.High)
	if k.Measured > 0 { // the API does not tell
		text += fmt.Sprintf(", measured on %.0f %% of the attachments", 100*k.Measured)
	}
	if k.Shared >= 0.005 {
		text += fmt.Sprintf("; %.0f %% of them are of validators on several nodes, on about %.1f each", 100*k.Shared, k.Nodes)
	}
	return text
}

// totalsWithHidden are the totals, and beside them what no interval has.
func (v *Validators) totalsWithHidden(network string) []field {
	list := v.totalFields(network)
	if text := v.hidden(); text != "" {
		list = slices.Insert(list, 1, field{"hidden", text})
	}
	return list
}

// hidden says what is not in the interval of the total; empty for nothing.
func (v *Validators) hidden() string {
	if v.HiddenValidators < 0.5 {
		return ""
	}
	nodes := max(1, int(math.Round(v.SilentNodes)))
	return fmt.Sprintf("up to %.0f more if %s, whose custody groups require validators, have them and show no duty: whether they do, or keep these groups by choice, is unknown",
		v.HiddenValidators, plural(nodes, "node"))
}

// unaccountedText says which part of the network no counted node accounts for.
func (v *Validators) unaccountedText() string {
	u := v.Unaccounted
	const what = "of the active validators run on no counted node"
	if u.Share == nil || u.High == nil {
		return fmt.Sprintf("at least %.1f %% %s", 100*u.Low, what)
	}
	return fmt.Sprintf("%.1f %% [%.1f to %.1f] %s", 100**u.Share, 100*u.Low, 100**u.High, what)
}

// concentration says what of the totals depends on a few network prefixes.
func (v *Validators) concentration() (list []field) {
	if v.Concentrated > 0 {
		in := "a few network prefixes"
		if v.Prefixes > 0 {
			in = plural(v.Prefixes, "network prefix")
		}
		list = append(list, field{"concentrated", fmt.Sprintf("%s in %s (/24 or /48) claim %.0f validators, of which %.0f are counted; the intervals range from none of them to all",
			plural(v.Concentrated, "node"), in, v.Claimed, v.Admitted)})
	}
	if v.LargePrefixes > 0 {
		list = append(list, field{"large", fmt.Sprintf("%s with nodes that claim more than 5 %% of the active validators; the largest %.1f %%",
			plural(v.LargePrefixes, "network prefix"), 100*v.LargestPrefix)})
	}
	return list
}

func (v *Validators) writeTables(p *page) {
	rows := [][]string{}
	for _, c := range v.Clients {
		rows = append(rows, []string{orUnknown(c.Client), fmt.Sprint(c.Nodes), fmt.Sprintf("%.0f", c.WithValidators), fmt.Sprintf("%.0f", c.Validators), fmt.Sprintf("%.0f to %.0f", c.Low, c.High)})
	}
	p.table([]column{{name: "CLIENT"}, {name: "NODES"}, {name: "WITH VALIDATORS"}, {name: "ATTACHMENTS"}, {name: "90 %"}}, rows)
	if v.Nodes > 0 {
		p.sentence("(with validators: the sum of each node's probability of at least one)")
	}
	if len(v.Top) == 0 { // of a window in the past
		return
	}
	rows = [][]string{}
	for _, b := range v.Histogram {
		rows = append(rows, []string{b.name(), fmt.Sprint(b.Nodes), share(b.Nodes, v.Nodes), fmt.Sprintf("%.0f", b.Validators)})
	}
	p.table([]column{{name: "VALIDATORS OF A NODE"}, {name: "NODES"}, {name: "SHARE"}, {name: "VALIDATORS"}}, rows)
	p.sentence("(both by the medians, which sum to %.0f: the total of %.0f [%.0f to %.0f] sums means, which include each node's small chance of very many validators; a node that has validators with a probability of 40 %% is at 0 here, and 0.4 of a node with validators above)", v.medians(), v.Validators, v.Low, v.High)
	rows = [][]string{}
	for _, n := range v.Top {
		rows = append(rows, []string{n.ID, orUnknown(n.Client), fmt.Sprint(n.Validators), fmt.Sprintf("%.0f to %.0f", n.ValidatorsLow, n.ValidatorsHigh), n.flagsText(), eth(n.StakeETH), ethRange(n.StakeLow, n.StakeHigh)})
	}
	p.table([]column{{"LARGEST NODES", idColumn, 0}, {name: "CLIENT"}, {name: "VALIDATORS"}, {name: "90 %"}, {"FLAGS", plainColumn, 2}, {"STAKE, ETH", plainColumn, 1}, {"90 %", plainColumn, 1}}, rows)
}

// medians is the sum of the nodes' medians.
func (v *Validators) medians() (sum float64) {
	for _, b := range v.Histogram {
		sum += b.Validators
	}
	return sum
}

func (b Bucket) name() string {
	switch {
	case b.Low == b.High:
		return fmt.Sprint(b.Low)
	case b.High == 0:
		return fmt.Sprintf("%d and more", b.Low)
	}
	return fmt.Sprintf("%d to %d", b.Low, b.High)
}

// text says what makes the interval of the total wide.
func (u Uncertainty) text() string {
	const least = 0.1 // of a part that is named
	if u.Concentrated > 0.5 {
		return fmt.Sprintf("%.0f %% of it is what concentrated nodes claim", 100*u.Concentrated)
	}
	var parts []string
	if len(u.Nodes) > 0 {
		var names []string
		for _, n := range u.Nodes {
			name := fmt.Sprintf("%s %s, mean %.0f", n.ID, n.interval(), n.ValidatorsMean)
			if n.AllSubnets {
				name += " (on all 64 attestation subnets, where its duties cannot be told apart)"
			}
			names = append(names, name)
		}
		parts = append(parts, fmt.Sprintf("%.0f %% of it comes from %s: %s", 100*u.Share, plural(len(u.Nodes), "node"), strings.Join(names, "; ")))
	}
	if u.Assumptions >= least {
		parts = append(parts, fmt.Sprintf("%.0f %% of it comes from assumptions shared by all nodes", 100*u.Assumptions))
	}
	if u.Misfits >= least {
		parts = append(parts, fmt.Sprintf("%.0f %% of it comes from the rates of client versions, see --calibration", 100*u.Misfits))
	}
	return strings.Join(parts, "; ")
}
