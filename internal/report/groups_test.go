package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// grouped is a report of nodes with a client and a number of validators, as client:nodes:mean.
func grouped(t *testing.T, groups ...string) *Report {
	t.Helper()
	r := newReport()
	r.model = estimate.NewModel(estimate.Params{
		Clock: eth2.Clock{SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}, Preset: eth2.MainnetPreset(), ActiveValidators: 950_000,
	}, estimate.DefaultPrior(), nil)
	for _, g := range groups {
		parts := strings.Split(g, ":")
		var nodes int
		var mean float64
		if _, err := fmt.Sscan(parts[1]+" "+parts[2], &nodes, &mean); err != nil {
			t.Fatal(err)
		}
		for range nodes {
			n := r.node(fmt.Sprint(len(r.nodes)))
			n.Client, n.handshake, n.connected = parts[0], 1, true
			r.counted = append(r.counted, counted{n, estimate.Estimate{Low: mean * 0.8, Mean: mean, Variance: mean * mean / 100, PValidator: 1}, 1})
		}
	}
	return r
}

func groupsOf(t *testing.T, r *Report, public bool) Groups {
	t.Helper()
	g, err := r.Groups("client", public)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// nodesOf are the rows' nodes by name.
func nodesOf(g Groups) map[string]int {
	out := map[string]int{}
	for _, row := range g.rows() {
		out[row.Name] += row.Nodes
	}
	return out
}

func TestGroups(t *testing.T) {
	g := groupsOf(t, grouped(t, "prysm:10:100", "teku:30:10", "nimbus:10:0", "unknown:10:50"), false)
	var names []string
	nodes, attachments := 0, 0.0
	for _, row := range g.rows() {
		names = append(names, row.Name)
		nodes += row.Nodes
		attachments += row.Attachments
		if row.AttachmentsLow > row.Attachments || row.AttachmentsHigh < row.Attachments || *row.ShareLow > *row.AttachmentsShare || *row.ShareHigh < *row.AttachmentsShare {
			t.Errorf("%s is outside of its interval: %+v", row.Name, row)
		}
	}
	if want := []string{"prysm", "teku", "nimbus", "unknown"}; !slices.Equal(names, want) {
		t.Errorf("%v, want those with the most attachments first and unknown last", names)
	}
	if nodes != 60 || g.Total.Nodes != 60 || math.Abs(attachments-1800) > 1e-6 || math.Abs(g.Total.Attachments-1800) > 1e-6 {
		t.Errorf("groups of %d nodes and %v attachments, in total %d and %v", nodes, attachments, g.Total.Nodes, g.Total.Attachments)
	}
	if p := g.Groups[0]; *p.AttachmentsShare != 1000.0/1800 || p.NodeShare != 1.0/6 {
		t.Errorf("%+v", p)
	}
	// What all nodes have in common does not average out in a sum.
	if width, own := g.Total.AttachmentsHigh-g.Total.Attachments, 1.645*math.Sqrt(10*100+30*1+10*25); width < 2*own {
		t.Errorf("the total is %v more at most, which leaves out the shared error: the nodes' own make %v", width, own)
	}
	// Nodes of unknown clients are not known to be of one party.
	third, most := 2, 10_000*(1.0/36+1.0/4+1.0/36) // teku has half of the nodes
	want := Holders{HHI: most, HHIHigh: most + 10_000*(1.0/36+2*1.0/6*1.0/2), Third: ptr(1), TwoThirds: &third}
	if diff := cmp.Diff(want, g.Concentration.Nodes, cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-6 })); diff != "" {
		t.Error(diff)
	}
}

func TestGroupsOnlyOfTheWindow(t *testing.T) {
	r := grouped(t, "prysm:10:100", "teku:5:10", "valtrack:3:7")
	for _, n := range r.nodes {
		n.connected = n.Client != "teku"
	}
	if got := nodesOf(groupsOf(t, r, false)); !cmp.Equal(got, map[string]int{"prysm": 10}) {
		t.Errorf("%v, want no node that was not met in the window, and no sentry", got)
	}
}

func TestGroupsOfNothing(t *testing.T) {
	if _, err := newReport().Groups("client", false); !errors.Is(err, ErrNoEstimates) {
		t.Error(err)
	}
	g := groupsOf(t, grouped(t, "prysm:10:0"), false)
	if p := g.Groups[0]; p.AttachmentsShare != nil || p.NodeShare != 1 || g.Concentration.Attachments.Third != nil {
		t.Errorf("%+v, want no share of no attachments", g)
	}
	var out bytes.Buffer
	if err := g.WriteText(&out); err != nil || strings.Contains(out.String(), "NaN") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// No group that the public sees has fewer than five nodes, also not by subtraction.
func TestFoldedGroups(t *testing.T) {
	random := rand.New(rand.NewPCG(15, 6))
	for i := range 300 {
		var list []string
		nodes := 0
		for k := range random.IntN(7) {
			n := random.IntN(9)
			nodes += n
			name := fmt.Sprintf("c%d", k)
			if k == 0 && i%2 == 0 {
				name = "unknown"
			}
			list = append(list, fmt.Sprintf("%s:%d:10", name, n))
		}
		g, err := grouped(t, list...).Groups("client", true)
		if nodes < smallGroup {
			if !errors.Is(err, ErrTooFew) && !errors.Is(err, ErrNoEstimates) {
				t.Errorf("%v: %v", list, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%v: %v", list, err)
		}
		attachments, shares := 0.0, 0.0
		for _, row := range g.rows() {
			nodes -= row.Nodes
			attachments += row.Attachments
			shares += *row.AttachmentsShare
			if row.Nodes < smallGroup {
				t.Errorf("%v: %s has %d nodes", list, row.Name, row.Nodes)
			}
		}
		if nodes != 0 || math.Abs(attachments-g.Total.Attachments) > 1e-6 || math.Abs(shares-1) > 1e-6 {
			t.Errorf("%v: %d nodes are lost, %v attachments of %v, shares of %v", list, nodes, attachments, g.Total.Attachments, shares)
		}
	}
	g := groupsOf(t, grouped(t, "prysm:10:100", "teku:2:10", "nimbus:1:5", "lodestar:6:1"), true)
	if got := nodesOf(g); !cmp.Equal(got, map[string]int{"prysm": 10, otherGroups: 9}) || g.FoldedGroups != 3 {
		t.Errorf("%v, want the smallest of the larger groups folded too, as 3 nodes are too few", got)
	}
}

func TestHolders(t *testing.T) {
	for _, c := range []struct {
		groups           []string
		hhi, high        float64
		third, twoThirds int // 0: not reached
	}{
		{[]string{"a:10:1"}, 10_000, 10_000, 1, 1},
		{[]string{"a:10:1", "b:10:1", "c:10:1"}, 10_000.0 / 3, 10_000.0 / 3, 1, 2},
		{[]string{"a:20:1", "unknown:80:1"}, 400, 10_000, 0, 0},
		{[]string{"a:40:1", "unknown:60:1"}, 1600, 10_000, 1, 0},
	} {
		g := groupsOf(t, grouped(t, c.groups...), false)
		for what, h := range map[string]Holders{"nodes": g.Concentration.Nodes, "attachments": g.Concentration.Attachments} {
			at := func(n *int) int {
				if n == nil {
					return 0
				}
				return *n
			}
			if math.Abs(h.HHI-c.hhi) > 1e-6 || math.Abs(h.HHIHigh-c.high) > 1e-6 || at(h.Third) != c.third || at(h.TwoThirds) != c.twoThirds {
				t.Errorf("%v, %s: %s, want HHI %.0f to %.0f, %d and %d", c.groups, what, h.text(), c.hhi, c.high, c.third, c.twoThirds)
			}
		}
	}
}

// Each writer has the same groups, and what others chose cannot break it.
func TestGroupsWriters(t *testing.T) {
	g := groupsOf(t, grouped(t, "pr\x1bysm:10:100", "te\nku:30:10", "unknown:3:1"), false)
	var out bytes.Buffer
	if err := g.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CLIENT", "ATTACHMENTS", "HHI", "hold a third", "unknown"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if strings.ContainsAny(out.String(), "\x1b") || strings.Contains(out.String(), "te\nku") {
		t.Errorf("%q", out.String())
	}
	table := g.Table()
	if len(table) != 4 || table[0][0] != "client" || table[3][0] != "unknown" {
		t.Errorf("%v", table)
	}
	data, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range table[0][2:] {
		if !strings.Contains(string(data), fmt.Sprintf("%q:", name)) {
			t.Errorf("the CSV column %s is not in %s", name, data)
		}
	}
}
