package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/printable"
)

// WriteNodes writes one line per node of Nodes, or why there is none. On a terminal an
// explanation of the columns follows.
func (r *Report) WriteNodes(w io.Writer) error {
	p := newPage(w)
	nodes := r.Nodes()
	if p.nodes(nodes); len(nodes) == 0 {
		if window := r.window(); window != nil {
			p.fields(window.fields())
		}
		p.sentence("%s", r.noNodes())
		return p.writeTo(w)
	}
	if p.width > 0 {
		p.sentence("(nodes that completed a handshake; 'valtrack export nodes' has those that were only found, too)")
		p.legend("[low to high]", "since", "custody groups", "long-lived subnet", "subnet rule", "short-lived subnet", "observations", "last heard")
	}
	return p.writeTo(w)
}

// nodes writes a line per node, without the columns that are named.
func (p *page) nodes(nodes []*Node, without ...string) {
	rows := make([][]string, len(nodes))
	for i, n := range nodes {
		cgc, long, short, estimate, rule, flags, since := "-", "-", "-", "-", "-", "-", "-"
		if n.SubnetRule != nil {
			rule = *n.SubnetRule
		}
		if n.Estimated != nil {
			estimate, flags, since = n.interval(), n.flagsText(), sinceText(n.Since)
		}
		if n.CustodyGroupCount != nil {
			cgc = fmt.Sprint(*n.CustodyGroupCount)
		}
		if n.LongLivedSubnets != nil {
			long = fmt.Sprint(len(n.LongLivedSubnets))
		}
		if n.ShortLivedSubnets != nil {
			short = fmt.Sprint(len(n.ShortLivedSubnets))
		}
		rows[i] = []string{
			n.ID, orUnknown(n.Client), orUnknown(orEmpty(n.ClientRelease)), estimate, since, flags, cgc, long, printable.Clean(rule), short,
			fmt.Sprint(n.Observations), lastHeard(n.LastSeen), orDash(n.Transport),
		}
	}
	columns := []column{
		{"ID", idColumn, 0},
		{"CLIENT", plainColumn, 0},
		{"VERSION", textColumn, 1},
		{"VALIDATORS", plainColumn, 0},
		{"SINCE", plainColumn, 3},
		{"FLAGS", plainColumn, 2},
		{"CGC", plainColumn, 0},
		{"LONG-LIVED", plainColumn, 4},
		{"RULE", plainColumn, 2},
		{"SHORT-LIVED", plainColumn, 3},
		{"OBSERVATIONS", plainColumn, 4},
		{"LAST HEARD", plainColumn, 0},
		{"TRANSPORT", plainColumn, 5},
	}
	for _, name := range without {
		at := slices.IndexFunc(columns, func(c column) bool { return c.name == name })
		columns = slices.Delete(columns, at, at+1)
		for i := range rows {
			rows[i] = slices.Delete(rows[i], at, at+1)
		}
	}
	p.table(columns, rows)
}

// interval is the median with the 90 % interval.
func (e Estimated) interval() string {
	return fmt.Sprintf("%d [%.0f to %.0f]", e.Validators, e.ValidatorsLow, e.ValidatorsHigh)
}

// flagsText are the flags, - for none.
func (e Estimated) flagsText() string { return orDash(strings.Join(e.Flags, ", ")) }

// sinceText is the day on which a number changed last, - where no change shows.
func sinceText(since *int64) string {
	if since == nil {
		return "-"
	}
	return unix(*since).Format(time.DateOnly)
}

// eth is a stake, - when it is not known.
func eth(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f", *v)
}

// ethRange is an interval of stake, - when it is not known.
func ethRange(low, high *float64) string {
	if low == nil || high == nil {
		return "-"
	}
	return eth(low) + " to " + eth(high)
}

// WriteText writes the evidence for people: why the node has its estimate, what is known,
// then one line per handshake and one per visit.
func (e Evidence) WriteText(w io.Writer) error {
	p := newPage(w)
	n := e.Node
	p.sentence("%s", e.Why)
	for _, text := range []string{e.Tracked.historyText(), e.Note} {
		if text != "" {
			p.sentence("%s", text)
		}
	}
	p.WriteByte('\n')
	p.fields([]field{
		{"peer id", n.ID}, {"node id", orDash(n.NodeID)}, {"agent", orUnknown(n.Agent)},
		{"address", n.addressText()}, {"record", orDash(printable.Clean(n.ENR))}, {"fork digest", n.forkText()}, {"custody groups", n.custodyText()},
	})
	if n.handshake > 0 || n.Estimated != nil {
		p.nodes([]*Node{n})
	}
	if e.Tracked != nil {
		e.Tracked.writeText(p)
	}
	rows := [][]string{}
	for _, h := range e.Handshakes {
		short := "no hello"
		if h.ShortLivedSubnets != nil {
			short = numbers(h.ShortLivedSubnets)
		}
		rows = append(rows, []string{clock(h.Timestamp), fmt.Sprint(h.Epoch), fmt.Sprint(h.SeqNumber), numbers(h.LongLivedSubnets), short, printable.Clean(h.ClientVersion)})
	}
	p.filled([]column{
		{"HANDSHAKE", plainColumn, 0}, {"EPOCH", plainColumn, 2}, {"SEQ", plainColumn, 3},
		{"LONG-LIVED", textColumn, 1}, {"SHORT-LIVED", textColumn, 0}, {"AGENT", textColumn, 1},
	}, rows)
	rows = [][]string{}
	for _, v := range e.Visits {
		if v.More { // a part of a watch, whose visit has another row
			continue
		}
		rows = append(rows, []string{clock(v.Started), v.Direction, orEmpty(v.Transport), v.Outcome, visitError(v)})
	}
	p.filled([]column{
		{"VISIT", plainColumn, 0}, {"DIRECTION", plainColumn, 2}, {"TRANSPORT", plainColumn, 1}, {"OUTCOME", plainColumn, 0}, {"ERROR", textColumn, 0},
	}, rows)
	if n.handshake == 0 && len(e.Handshakes) == 0 && e.Note != "" {
		p.legend("custody groups", "record")
	} else {
		p.legend("[low to high]", "since", "duty", "custody groups", "short-lived subnet", "long-lived subnet", "subnet rule", "hello", "watch", "observations", "last heard")
	}
	return p.writeTo(w)
}

// filled writes a table that has rows.
func (p *page) filled(columns []column, rows [][]string) {
	if len(rows) > 0 {
		p.table(columns, rows)
	}
}

// reason is an error of a visit without what every one of them repeats: the peer's id, and
// that each of its addresses was dialled.
func reason(text, id string) string {
	text = strings.NewReplacer("dial "+id+": ", "", "failed to dial "+id+": ", "", "failed to dial: ", "", "all dials failed", "").Replace(text)
	text = strings.Join(strings.Fields(text), " ")
	return strings.TrimPrefix(printable.Clean(text), "* ")
}

// visitError is why a visit failed, and what the code of a goodbye means.
func visitError(v dataset.VisitRow) string {
	text := reason(orEmpty(v.Error), v.ID)
	if v.GoodbyeCode == nil {
		return text
	}
	meaning := event.GoodbyeMeaning(*v.GoodbyeCode)
	if meaning == "" {
		return text
	}
	if !strings.HasSuffix(text, fmt.Sprintf("code %d", *v.GoodbyeCode)) {
		meaning = fmt.Sprintf("goodbye code %d: %s", *v.GoodbyeCode, meaning)
	}
	return strings.TrimSpace(text + " (" + meaning + ")")
}

// addressText is where the node was reached or, when it never was, where its record says
// that it is.
func (n *Node) addressText() string {
	if n.Multiaddr != "" {
		return printable.Clean(n.Multiaddr)
	}
	ip := cmp.Or(orEmpty(n.IP), orEmpty(n.IP6))
	switch {
	case ip == "":
		return "-"
	case n.Port == nil:
		return printable.Clean(ip) + ", from its record"
	}
	return fmt.Sprintf("%s, port %d, from its record", printable.Clean(ip), *n.Port)
}

// forkText is the fork digest, and that it is the record's where no handshake has told one.
func (n *Node) forkText() string {
	text := orDash(printable.Clean(orEmpty(n.ForkDigest)))
	if n.handshake == 0 && n.ForkDigest != nil {
		text += ", from its record"
	}
	return text
}

func (n *Node) custodyText() string {
	if n.CustodyGroupCount == nil {
		return "not reported"
	}
	text := fmt.Sprintf("%d, told last by its %s", *n.CustodyGroupCount, n.CustodyToldBy)
	if n.CustodyToldBy == toldByWatch {
		text = fmt.Sprintf("%d, told last in a watch", *n.CustodyGroupCount)
	}
	if n.custodyAt > 0 {
		text += " at " + clock(n.custodyAt)
	}
	return text
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (d *Tracked) writeText(p *page) {
	d.writeEstimates(p)
	p.WriteByte('\n')
	list := []field{{"evidence used", d.Used}}
	if d.CellsOn+d.CellsOff > 0 || d.Together != nil {
		list = append(list, field{"duties", fmt.Sprintf("%d filled, %d empty", d.CellsOn, d.CellsOff)})
	}
	if d.SyncOn+d.SyncOff > 0 {
		list = append(list, field{"sync committees", fmt.Sprintf("on %d of %d subnets (four in each period of a committee)", d.SyncOn, d.SyncOn+d.SyncOff)})
	}
	if d.LostDays > 0 {
		list = append(list, field{"lost", fmt.Sprintf("%d days that could not be decoded", d.LostDays)})
	}
	if d.UndecodableDays > 0 {
		list = append(list, field{"damaged", fmt.Sprintf("%d days in tracker.db that cannot be decoded and are not in this list", d.UndecodableDays)})
	}
	p.fields(list)
	writeViews(p, d.Views)
	d.writeHistory(p)
}

// writeHistory writes the days, and what the node had before.
func (d *Tracked) writeHistory(p *page) {
	rows := [][]string{}
	for _, x := range d.Days {
		watched := fmt.Sprintf("%.1f", x.EpochsWatched)
		if x.AllSubnets {
			watched += ", not used"
		}
		rows = append(rows, []string{
			x.Date, orUnknown(x.Client), orUnknown(x.Version), watched,
			fmt.Sprint(x.CellsOn), fmt.Sprint(x.CellsOff), fmt.Sprint(x.Subscriptions),
		})
	}
	p.filled([]column{
		{"DAY", plainColumn, 0}, {"CLIENT", plainColumn, 0}, {"VERSION", textColumn, 1}, {"EPOCHS WATCHED", plainColumn, 0},
		{"FILLED", plainColumn, 0}, {"EMPTY", plainColumn, 0}, {"SUBSCRIPTIONS", plainColumn, 2},
	}, rows)
	rows = [][]string{}
	for _, c := range d.CustodyHistory {
		rows = append(rows, []string{fmt.Sprint(c.Count), clock(c.At)})
	}
	p.filled([]column{{name: "CUSTODY GROUPS"}, {name: "FROM"}}, rows)
	rows = [][]string{}
	for _, e := range d.Endpoints {
		rows = append(rows, []string{printable.Clean(e.Address), clock(e.First), clock(e.Last)})
	}
	p.filled([]column{{name: "ADDRESS"}, {name: "FROM"}, {name: "TO"}}, rows)
	for _, o := range d.SameAddress {
		p.sentence("also found there: %s, at %s", o.ID, clock(o.LastSeen))
	}
}

// writeEstimates writes what each kind of evidence says; one that says nothing has no
// numbers.
func (d *Tracked) writeEstimates(p *page) {
	if d.Together == nil {
		return
	}
	var rows [][]string
	row := func(name string, e *Estimated) {
		if e == nil {
			rows = append(rows, []string{name, "-", "-", "-", "-", "-"})
			return
		}
		rows = append(rows, []string{
			name, fmt.Sprint(e.Validators), fmt.Sprintf("%.0f to %.0f", e.ValidatorsLow, e.ValidatorsHigh), fmt.Sprintf("%.1f", e.ValidatorsMean),
			fmt.Sprintf("%.1f %%", 100*e.PValidator), eth(e.StakeETH),
		})
	}
	row("estimate", d.Together)
	row("custody groups alone", d.Custody)
	row("subnets alone", d.Subnets)
	row("sync committees alone", d.Sync)
	p.table([]column{
		{"VALIDATORS", plainColumn, 0}, {"MEDIAN", plainColumn, 0}, {"90 %", plainColumn, 0}, {"MEAN", plainColumn, 2},
		{"AT LEAST ONE", plainColumn, 1}, {"STAKE, ETH", plainColumn, 1},
	}, rows)
}
