package report

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/tracker"
)

// crowd is a report of nodes whose names are as long as real ones.
func crowd(t *testing.T) *Report {
	t.Helper()
	var rows []any
	for i := range 60 {
		id := fmt.Sprintf("16Uiu2HAm%02dxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", i)
		common := dataset.Common{Network: "mainnet", Timestamp: hour(3)}
		rows = append(rows, dataset.ValidatorRow{
			ID: id, Client: "lighthouse", ClientRelease: ptr("8.0.1-a-very-long-name-of-a-version-that-somebody-made"), Multiaddr: fmt.Sprintf("/ip4/192.0.2.%d/udp/9001/quic-v1", i),
			ClientVersion: "Lighthouse/v8.0.1-a-very-long-name/x86_64-linux", Direction: "outbound", Transport: "quic", CustodyGroupCount: ptr[uint64](128),
			LongLivedSubnets: []int32{1, 2}, ShortLivedSubnets: []int32{3}, Common: common,
		}, dataset.VisitRow{ID: id, Outcome: "ok", Started: hour(3), Ended: hour(3), Error: ptr(strings.Repeat("long error ", 30)), Common: common})
	}
	r := reportOf(t, dataset.Range{From: hour(2), To: hour(4)}, append(rows, busy(0, 4)...)...)
	for _, n := range r.nodes {
		n.Estimated = &Estimated{Validators: 12345, ValidatorsLow: 10000, ValidatorsHigh: 20000}
	}
	return r
}

// No line of any view is wider than the terminal, and what it leaves out is named.
func TestViewsFitTheTerminal(t *testing.T) {
	r := crowd(t)
	n := r.Nodes()[1] // the first one has a short name
	evidence := Evidence{Node: n, Why: strings.Repeat("because of a reason ", 20), Tracked: &Tracked{Together: n.Estimated, Days: []Day{{Date: "2026-11-20", Client: "lighthouse", Version: *n.ClientRelease}}}}
	for i := range 64 {
		evidence.Handshakes = append(evidence.Handshakes, dataset.ValidatorRow{ClientVersion: n.Agent, LongLivedSubnets: slices.Repeat([]int32{int32(i)}, 64)})
	}
	top := Validating{n.ID, n.Client, *n.Estimated}
	summary := r.Summary()
	summary.Validators = &Validators{Histogram: buckets(), Top: []Validating{top}, Uncertainty: Uncertainty{Nodes: []Uncertain{{top, true, 0.8}}, Share: 0.8}}
	views := map[string]func(io.Writer) error{
		"summary": summary.WriteText, "evidence": evidence.WriteText, "changes": r.Changes().WriteText, "forks": r.Forks(nil).WriteText,
		"nodes":       r.WriteNodes,
		"truth":       Accuracy{Estimated: 1, List: []TrueCount{{ID: n.ID, Client: "lighthouse", Estimated: *n.Estimated}}}.WriteText,
		"calibration": Calibration{At: 1, Versions: []VersionVerdicts{{Client: "lighthouse", Version: *n.ClientRelease, Used: "watches with a wide interval, and custody"}}}.WriteText,
	}
	for name, write := range views {
		for _, width := range []int{80, 100, 120, 200} {
			var out bytes.Buffer
			if err := write(Screen{&out, width}); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(out.String()) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
					t.Errorf("%s: %d columns on a terminal of %d: %s", name, n, width, line)
				}
			}
		}
	}
	var narrow, piped bytes.Buffer
	if err := r.WriteNodes(Screen{&narrow, 80}); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteNodes(&piped); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(narrow.String(), "not shown on a terminal of this width: ") || strings.Contains(narrow.String(), n.ID) {
		t.Errorf("on 80 columns:\n%s", &narrow)
	}
	if !strings.Contains(piped.String(), n.ID) || strings.Count(piped.String(), "\n") != 62 {
		t.Errorf("piped:\n%s", &piped)
	}
	// A cut id is enough to find its node.
	first := strings.Fields(strings.Split(narrow.String(), "\n")[2])[0]
	if found, err := r.Find(first); err != nil || !strings.HasPrefix(found.ID, strings.TrimSuffix(first, "…")) {
		t.Errorf("%q: %v", first, err)
	}
}

// The largest nodes come first: they are what people look for.
func TestNodesAreSortedByValidators(t *testing.T) {
	r := reportOf(t, dataset.Range{}, slices.Concat(met("few", hour(1), "1", ""), met("none", hour(1), "1", ""), met("none", hour(2), "1", ""), met("many", hour(1), "1", ""))...)
	r.nodes["few"].Estimated, r.nodes["many"].Estimated = &Estimated{Validators: 3}, &Estimated{Validators: 800}
	var ids []string
	for _, n := range r.Nodes() {
		ids = append(ids, n.ID)
	}
	if fmt.Sprint(ids) != "[many few none]" {
		t.Error(ids)
	}
}

// A word that a legend names is explained.
func TestLegends(t *testing.T) {
	r := crowd(t)
	if s := r.Summary(); slices.Contains(s.outcomeWords(), event.OutcomeCanceled) {
		t.Error("an outcome that no visit has is explained")
	}
	stopped := r.Summary()
	stopped.Outcomes = append(stopped.Outcomes, OutcomeCount{Outcome: event.OutcomeCanceled, Visits: 1})
	var out bytes.Buffer
	for _, write := range []func(io.Writer) error{stopped.WriteText, Evidence{Node: r.Nodes()[0]}.WriteText, r.Forks(nil).WriteText, Forks{Next: &NextFork{}}.WriteText, r.Changes().WriteText, groupsOf(t, grouped(t, "prysm:1:1"), false).WriteText, Groups{By: byCloud}.WriteText, Accuracy{Nodes: 1, Estimated: 1}.WriteText} {
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
	}
	for word, text := range legends() {
		if word == "" || text == "" {
			t.Errorf("%q: %q", word, text)
		}
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(word) + `  +` + regexp.QuoteMeta(text[:12])).MatchString(out.String()) {
			t.Errorf("no view explains %q", word)
		}
	}
}

// A sentry of this program is named, and is no unknown node.
func TestSentriesAreLeftOut(t *testing.T) {
	rows := met("node", hour(1), "1", "")
	for _, client := range []string{"unknown", "valtrack"} { // written before the agent was known, and since
		rows = append(rows, dataset.ValidatorRow{ID: "sentry-" + client, Client: client, ClientVersion: "valtrack/v1.2.3", Common: dataset.Common{Network: "n", Timestamp: hour(1)}})
	}
	r := reportOf(t, dataset.Range{}, rows...)
	s := r.Summary()
	if s.Handshaked != 1 || s.Sentries != 2 || len(s.Clients) != 1 || s.Clients[0].Client != "prysm" || s.NoCGC != 1 {
		t.Errorf("%+v", s)
	}
	n := r.nodes["sentry-unknown"]
	if n.Client != "valtrack" || *n.ClientRelease != "1.2.3" {
		t.Errorf("%+v", n)
	}
	if e, err := r.Evidence(t.Context(), t.TempDir(), n); err != nil || !strings.HasPrefix(e.Why, "Another Valtrack sentry (valtrack/v1.2.3)") {
		t.Errorf("%q, %v", e.Why, err)
	}
}

// What a few network prefixes claim and does not count is said next to the total.
func TestConcentrationIsSaid(t *testing.T) {
	of := func(c tracker.Concentration, verdict string) string {
		var text strings.Builder
		for _, f := range (&Validators{Totals: tracker.Totals{Nodes: 112, Verdict: verdict, Concentration: c}}).fields("n", false) {
			fmt.Fprintf(&text, "%s: %s\n", f.name, f.value)
		}
		return text.String()
	}
	flood := of(tracker.Concentration{Concentrated: 12, Prefixes: 1, Claimed: 421_972, Admitted: 183, LargePrefixes: 1, LargestPrefix: 0.444}, "unsure")
	for _, want := range []string{
		"concentrated: 12 nodes in 1 network prefix (/24 or /48) claim 421972 validators, of which 183 are counted; the intervals range from none of them to all\n",
		"large: 1 network prefix with nodes that claim more than 5 % of the active validators; the largest 44.4 %\n",
		"unsure, because more than 5 % of the network's validators are claimed by a few network prefixes and not counted",
	} {
		if !strings.Contains(flood, want) {
			t.Errorf("no %q in:\n%s", want, flood)
		}
	}
	if text := of(tracker.Concentration{Concentrated: 12, Claimed: 9, Admitted: 3}, "passed"); !strings.Contains(text, "12 nodes in a few network prefixes ") {
		t.Errorf("of rows, which do not have the prefixes:\n%s", text)
	}
	if text := of(tracker.Concentration{}, "passed"); strings.Contains(text, "prefix") {
		t.Errorf("of a network without:\n%s", text)
	}
}

// The active validators of a devnet are a setting.
func TestShareOfADevnet(t *testing.T) {
	for network, want := range map[string]string{
		"mainnet": "0.7 % of the network's 950000 active validators; one",
		"devnet":  "0.7 % of the network's 950000 active validators, a number simulated by this devnet, nearly all of them on no node; one",
	} {
		s := Summary{Networks: []string{network}, Rows: Counts{Visits: 1}, Validators: &Validators{Totals: tracker.Totals{ActiveValidators: 950_000, Ratio: 0.007}}}
		var out bytes.Buffer
		if err := s.WriteText(&out); err != nil || !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("%v, no %q in\n%s", err, want, &out)
		}
	}
}

// What is not in the interval of a total is said beside it, and a total that is computed again
// from its rows is not called wrong for what is not known of it.
func TestWhatTotalsLeaveOpen(t *testing.T) {
	v := &Validators{Totals: tracker.Totals{Nodes: 100, Validators: 1000, Low: 900, High: 1100, ActiveValidators: 950, SilentNodes: 4.6, HiddenValidators: 312, Verdict: estimate.Unsure.String()}}
	text := ""
	for _, f := range v.fields("mainnet", false) {
		text += f.name + ": " + f.value + "\n"
	}
	for _, want := range []string{
		"attachments: 1000 [900 to 1100] on 100 nodes", "hidden: up to 312 more if 5 nodes, whose custody groups require validators, have them and show no duty",
		"on how many nodes they ran then is unknown",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	v.HiddenValidators, v.Concentrated = 0, 3
	for _, f := range v.fields("mainnet", false) {
		if f.name == "hidden" || strings.Contains(f.value, "is unknown") && f.name == "share" {
			t.Errorf("%s: %s", f.name, f.value)
		}
	}
}

// The sentence about a node says what its flags leave open.
func TestDoubts(t *testing.T) {
	for i := range 5 {
		if list := doubtsOf(1 << i); len(list) != 1 {
			t.Errorf("%v: %q, want one sentence", estimate.Flags(1<<i).Names(), list)
		}
	}
	if list := doubtsOf(0); len(list) != 0 {
		t.Errorf("no flags: %q", list)
	}
}
