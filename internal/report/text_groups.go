package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/printable"
)

// rows are the groups, those that are folded or unknown last.
func (g Groups) rows() []Group {
	rows := g.Groups[:len(g.Groups):len(g.Groups)]
	for _, last := range []*Group{g.Others, g.Unknown} {
		if last != nil {
			rows = append(rows, *last)
		}
	}
	return rows
}

// WriteText writes the groups for people.
func (g Groups) WriteText(w io.Writer) error {
	p := newPage(w)
	list := []field{{"network", strings.Join(g.Networks, ", ")}}
	if g.Window != nil {
		list = append(list, g.Window.fields()...)
	}
	if g.Simulated {
		list = append(list, field{"places", "simulated: places of public addresses that stand in for those of the devnet's nodes"})
	}
	t := g.Total
	list = append(list,
		field{"nodes", fmt.Sprintf("%d counted in totals, about %.0f of them with validators", t.Nodes, t.WithValidators)},
		field{"attachments", fmt.Sprintf("%.0f [%.0f to %.0f] of validators to nodes", t.Attachments, t.AttachmentsLow, t.AttachmentsHigh)})
	words := []string{"[low to high]", "node", "attachment"}
	if c := g.Concentration; c != nil {
		list = append(list, field{"concentration", "of nodes: " + c.Nodes.text()}, field{"", "of attachments: " + c.Attachments.text()})
		words = append(words, "HHI", "a third")
	}
	if g.By == byCloud {
		words = append(words, notHosted, otherHosting)
	}
	if g.FoldedGroups > 0 {
		list = append(list, field{"others", fmt.Sprintf("%s with few nodes together: fewer than %d could be recognised", plural(g.FoldedGroups, "group"), smallGroup)})
	}
	p.fields(list)
	rows := [][]string{}
	for _, r := range g.rows() {
		rows = append(rows, []string{
			strings.TrimSpace(printable.Clean(r.Name) + " " + printable.Clean(r.Label)), fmt.Sprint(r.Nodes), fmt.Sprintf("%.1f %%", 100*r.NodeShare),
			fmt.Sprintf("%.0f", r.Attachments), fmt.Sprintf("%.0f to %.0f", r.AttachmentsLow, r.AttachmentsHigh),
			percent(r.AttachmentsShare), percent(r.ShareLow) + " to " + percent(r.ShareHigh), eth(r.StakeETH),
		})
	}
	p.table([]column{
		{strings.ToUpper(g.By), textColumn, 0}, {name: "NODES"}, {"SHARE", plainColumn, 1}, {name: "ATTACHMENTS"}, {"90 %", plainColumn, 2},
		{name: "SHARE"}, {name: "90 %"}, {"STAKE, ETH", plainColumn, 3},
	}, rows)
	p.legend(words...)
	return p.writeTo(w)
}

func percent(share *float64) string {
	if share == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100**share)
}

func (h Holders) text() string {
	out := fmt.Sprintf("HHI %.0f", h.HHI)
	if h.HHIHigh-h.HHI >= 1 {
		out = fmt.Sprintf("HHI %.0f to %.0f", h.HHI, h.HHIHigh)
	}
	hold := func(n *int) string {
		switch {
		case n == nil:
			return "not even all hold"
		case *n == 1:
			return "1 holds"
		}
		return fmt.Sprintf("%d hold", *n)
	}
	return out + fmt.Sprintf("; %s a third, %s two thirds", hold(h.Third), hold(h.TwoThirds))
}

// Table is the groups as rows of text for a file, with the names of the columns first.
func (g Groups) Table() [][]string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	orNone := func(v *float64) string {
		if v == nil {
			return ""
		}
		return number(*v)
	}
	out := [][]string{{
		g.By, "label", "nodes", "node_share", "with_validators", "attachments", "attachments_low", "attachments_high",
		"attachments_share", "share_low", "share_high", "stake_eth", "stake_low", "stake_high",
	}}
	for _, r := range g.rows() {
		out = append(out, []string{
			r.Name, r.Label, strconv.Itoa(r.Nodes), number(r.NodeShare), number(r.WithValidators), number(r.Attachments), number(r.AttachmentsLow), number(r.AttachmentsHigh),
			orNone(r.AttachmentsShare), orNone(r.ShareLow), orNone(r.ShareHigh), orNone(r.StakeETH), orNone(r.StakeLow), orNone(r.StakeHigh),
		})
	}
	return out
}
