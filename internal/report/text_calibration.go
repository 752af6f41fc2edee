package report

import (
	"fmt"
	"io"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/tracker"
)

// WriteText writes the tests for people.
func (c Calibration) WriteText(w io.Writer) error {
	p := newPage(w)
	if c.At == 0 {
		p.sentence("nothing learned yet")
		return p.writeTo(w)
	}
	p.fields([]field{
		{"tested", clock(c.At)},
		{"M4 totals", fmt.Sprintf("%s: all nodes together have %.2g [%.2g to %.2g] times the network's active validators", c.Total, c.Multiplicity, c.MultiplicityLow, c.MultiplicityHigh)},
	})
	c.writeVersions(p)
	c.Known.write(p)
	rows := [][]string{}
	for _, b := range c.Prior {
		rows = append(rows, []string{Bucket{Low: b.Low, High: b.High}.name(), fmt.Sprintf("%.1f %%", 100*b.Share)})
	}
	p.table([]column{{name: "PRIOR: VALIDATORS OF A NODE"}, {name: "SHARE OF NODES"}}, rows)
	rows = [][]string{}
	for _, s := range c.Spurious {
		rows = append(rows, []string{s.Client, fmt.Sprintf("%.4f", s.PerObservation)})
	}
	p.table([]column{{name: "SPURIOUS SUBNETS"}, {name: "PER OBSERVATION"}}, rows)
	p.explain(calibrationLegend)
	return p.writeTo(w)
}

var calibrationLegend = []field{
	{"M1", "whether duties vary from epoch to epoch as expected (M1 to M5 are explained in docs/methodology.md)"},
	{"M2", "the observed rate of duties relative to the assumed one, from nodes whose custody groups reveal how many validators they have"},
	{"M3", "how long subscriptions last"},
	{"M4", "the total: low when most validators run on no counted node, or fewer duties show than assumed; failed when more are found than nodes sharing validators can explain"},
	{"M5", "nodes whose validators you know: --known FILE"},
	{"too few", "not enough nodes for the test"},
	{"unsure", "the rate is not known to within a tenth"},
	{"heterogeneous", "the nodes show duties at different rates"},
	{"!", "the version differs from the assumptions, or its rate is unknown; its estimates use the fitted rates and their errors; no test switches evidence off"},
	{"unproven", "no test had enough nodes, and the rates are those of the client's other versions, if it has any"},
	{"lifetimes", "how many short-lived subscriptions lasted so many slots"},
	{"prior", "the number of validators that a node is assumed to have before anything is observed, learned from all nodes"},
	{"spurious subnets", "how many subnets of an observation no duty explains"},
}

func (c Calibration) writeVersions(p *page) {
	rows, lifetimes := [][]string{}, [][]string{}
	for _, v := range c.Versions {
		flag := ""
		switch {
		case v.Flagged:
			flag = "  !"
		case v.Unproven:
			flag = ", unproven"
		}
		version := orUnknown(v.Version)
		if v.Client == tracker.OtherVersions {
			version = "-" // many
		}
		dispersion := v.Dispersion
		if v.Dispersed > 0 {
			dispersion += fmt.Sprintf(" (%d of %d nodes show all duties)", v.AllDuties, v.Dispersed)
		}
		rows = append(rows, []string{
			orUnknown(v.Client), version, fmt.Sprint(v.Nodes), dispersion, ratio(v.Watched, v.WatchedRatio, v.WatchedError, v.WatchedNodes), ratio(v.Looked, v.LookedRatio, v.LookedError, v.LookedNodes), v.Lifetimes, v.Used + flag,
		})
		line := []string{orUnknown(v.Client), version}
		for _, n := range v.LifetimeCounts {
			line = append(line, fmt.Sprint(n))
		}
		lifetimes = append(lifetimes, line)
	}
	p.table([]column{
		{"CLIENT", plainColumn, 0}, {"VERSION", textColumn, 0}, {"NODES", plainColumn, 1}, {"M1 DISPERSION", plainColumn, 1},
		{"M2 WATCHES", plainColumn, 2}, {"M2 SNAPSHOTS", plainColumn, 2}, {"M3 LIFETIMES", plainColumn, 2}, {"USED", plainColumn, 0},
	}, rows)
	columns := []column{{name: "LIFETIMES IN SLOTS"}, {"VERSION", textColumn, 0}}
	for _, name := range []string{"0", "1", "2", "3", "4", "5-8", "9-16", "17-32", "33-64", "MORE"} {
		columns = append(columns, column{name: name, rank: 1})
	}
	p.table(columns, lifetimes)
}

// ratio is a verdict with the ratio that it is about, if there is one, half of its 90 %
// interval, and the number of nodes.
func ratio(verdict string, n, sd float64, nodes int) string {
	if verdict == estimate.TooFew.String() {
		return verdict
	}
	const middle90 = 1.645 // standard deviations
	return fmt.Sprintf("%s (%.2f ± %.2f, %d nodes)", verdict, n, middle90*n*sd, nodes)
}
