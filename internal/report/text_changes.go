package report

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// maxChanges bounds the nodes that a list of changes names; JSON has all.
const maxChanges = 20

// WriteText writes the changes for people.
func (c Changes) WriteText(w io.Writer) error {
	p := newPage(w)
	list := c.Window.fields()
	list = append(list, field{"before", c.Before.text()})
	if c.Comparable {
		list = append(list,
			field{"nodes", c.counts()},
			field{"changes", fmt.Sprintf("%d appeared, %d vanished, %d moved, %d upgraded", len(c.Appeared), len(c.Vanished), len(c.Moved), len(c.Upgraded))})
		if c.NoHandshake > 0 {
			list = append(list, field{"no handshake", plural(c.NoHandshake, "node") + " of the span before answered in the window without completing one"})
		}
		if c.NotTried > 0 {
			list = append(list, field{"not known", plural(c.NotTried, "node") + " of the span before were not dialled in the window"})
		}
		p.fields(list)
		c.writeTables(p)
		p.legend("window", "appeared", "vanished", "moved", "upgraded", "node")
		return p.writeTo(w)
	}
	p.fields(list)
	p.sentence("Changes cannot be known: %s", c.advice())
	return p.writeTo(w)
}

// advice says why the spans cannot be compared, and which can.
func (c Changes) advice() string {
	w := c.Window
	if w.covered() <= 0 {
		return "nothing was recorded in the window. Start a sentry, or choose --from and --to within the data, with an equally long time before --from."
	}
	half := (w.To - w.DataFrom) / 2 / time.Minute.Milliseconds()
	if half < 1 {
		return "they need data from an equally long time before the window, and the data covers less than two minutes. Wait for more."
	}
	return fmt.Sprintf("they need data from an equally long time before the window. Choose a later --from or a shorter time, such as --changes %dm.", half)
}

// counts says how many nodes there were, and how the two numbers go together.
func (c Changes) counts() string {
	text := fmt.Sprintf("%d in the window, %d before", c.Nodes, c.NodesBefore)
	if c.Returned > 0 {
		text += fmt.Sprintf("; %d of the window were not met in the span before it, but earlier: they are not new", c.Returned)
	}
	return text
}

// text is the span before a window, and what of it is missing.
func (w Window) text() string {
	text := fmt.Sprintf("%s to %s", clock(w.From), clock(w.To))
	switch {
	case w.covered() <= 0:
		text += "; nothing was recorded in it"
	case w.GapsMS > 0:
		text += fmt.Sprintf("; nothing was recorded for %s of it, so nodes that were there may count as appeared", span(w.GapsMS))
	}
	return text
}

func (c Changes) writeTables(p *page) {
	rows := upgrades(c.Upgraded)
	p.limited([]column{{"UPGRADED", plainColumn, 0}, {"FROM", textColumn, 0}, {"TO", textColumn, 0}, {"NODES", plainColumn, 0}}, rows)
	rows = nil
	for _, n := range c.Appeared {
		rows = append(rows, []string{n.ID, orUnknown(n.Client), orUnknown(n.Version), clock(n.At), orDash(n.Replaces)})
	}
	p.limited([]column{
		{"APPEARED", idColumn, 0}, {"CLIENT", plainColumn, 0}, {"VERSION", textColumn, 1}, {"FIRST HANDSHAKE", plainColumn, 0},
		{"AT THE ADDRESS OF", idColumn, 2},
	}, rows)
	rows = nil
	for _, n := range c.Vanished {
		rows = append(rows, []string{n.ID, orUnknown(n.Client), orUnknown(n.Version), clock(n.LastSeen), fmt.Sprint(n.Dials), n.LastOutcome})
	}
	p.limited([]column{
		{"VANISHED", idColumn, 0}, {"CLIENT", plainColumn, 0}, {"VERSION", textColumn, 2}, {"LAST HEARD", plainColumn, 0},
		{"DIALS SINCE", plainColumn, 1}, {"LAST OUTCOME", plainColumn, 0},
	}, rows)
	rows = nil
	for _, n := range c.Moved {
		rows = append(rows, []string{n.ID, n.From, n.To, clock(n.At)})
	}
	p.limited([]column{{"MOVED", idColumn, 0}, {"FROM", plainColumn, 0}, {"TO", plainColumn, 0}, {"LAST HANDSHAKE", plainColumn, 1}}, rows)
}

// upgrades counts nodes by their change of version, the most frequent first.
func upgrades(nodes []Upgraded) (rows [][]string) {
	counts := map[[3]string]int{}
	for _, n := range nodes {
		client := orUnknown(n.Client)
		if n.FromClient != n.Client {
			client = orUnknown(n.FromClient) + " to " + client
		}
		counts[[3]string{client, orUnknown(n.FromVersion), orUnknown(n.Version)}]++
	}
	keys := make([][3]string, 0, len(counts))
	for key := range counts {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b [3]string) int {
		if n := counts[b] - counts[a]; n != 0 {
			return n
		}
		return slices.Compare(a[:], b[:])
	})
	for _, key := range keys {
		rows = append(rows, []string{key[0], key[1], key[2], fmt.Sprint(counts[key])})
	}
	return rows
}

// limited writes the first rows of a table, and how many there are more; nothing for none.
func (p *page) limited(columns []column, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	p.table(columns, rows[:min(maxChanges, len(rows))])
	if more := len(rows) - maxChanges; more > 0 {
		p.sentence("(%d more: --json has all)", more)
	}
}
