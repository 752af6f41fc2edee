package report

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/tracker"
)

// watchedPeers tracks five peers: one that was watched, one on all subnets, one on two sync committee subnets, one that was only
// found, and one that was met once.
func watchedPeers(t *testing.T) (*Report, *tracker.State) {
	t.Helper()
	clock := eth2.Clock{Genesis: day, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}
	tr, err := tracker.Open(t.Context(), tracker.Config{Dir: t.TempDir(), Network: "n", Log: slog.New(slog.DiscardHandler),
		Params: estimate.Params{Clock: clock, Preset: eth2.MainnetPreset(), ActiveValidators: 950_000}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	common := func(at time.Time) event.Common { return event.Common{Network: "n", Timestamp: at.UnixMilli()} }
	at := clock.EpochStart(10)
	meet := func(id string, attnets eth2.Attnets, cgc uint64) {
		tr.Add(&event.MetadataReceived{Common: common(at), ID: id, VisitID: "v-" + id, ClientVersion: "Lighthouse/v8.0.1-abcdef0/x86_64-linux",
			MetaData: &event.MetaData{Attnets: attnets, CustodyGroupCount: &cgc}, SubscribedSubnets: attnets.Subnets(), Direction: event.Inbound})
	}
	watch := &event.Watch{From: at.UnixMilli(), To: clock.EpochStart(14).UnixMilli()}
	for slot := int64(1); slot < 4*32-2; slot++ {
		subnet := int(slot*7) % 64
		watch.Changes = append(watch.Changes, event.SubnetChange{At: slot*12_000 + 100, Subnet: subnet, Subscribed: true}, event.SubnetChange{At: (slot + 1) * 12_000, Subnet: subnet})
	}
	meet("watched", eth2.Attnets{}, 128)
	tr.Add(&event.VisitEnded{Common: common(clock.EpochStart(14)), ID: "watched", VisitID: "v-watched", Outcome: event.OutcomeOK, Watch: watch,
		ClientVersion: "Lighthouse/v8.0.1-abcdef0/x86_64-linux"})
	every := eth2.Attnets{255, 255, 255, 255, 255, 255, 255, 255}
	meet("all subnets", every, 53)
	tr.Add(&event.MetadataReceived{Common: common(at), ID: "on sync subnets", VisitID: "v-sync", ClientVersion: "Lighthouse/v8.0.1-abcdef0/x86_64-linux",
		MetaData: &event.MetaData{CustodyGroupCount: ptr[uint64](128), Syncnets: ptr(eth2.Syncnets(3))}, SubscribedSubnets: []int{}, Direction: event.Inbound})
	tr.Add(&event.PeerDiscovered{Common: common(at), ID: "found", Seq: 1})
	tr.Apply(0)
	if err := tr.Recompute(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := reportOf(t, dataset.Range{}, append(slices.Concat(met("watched", at.UnixMilli(), "8.0.1", ""), met("all subnets", at.UnixMilli(), "8.0.1", ""), met("on sync subnets", at.UnixMilli(), "8.0.1", "")),
		dataset.DiscoveryRow{ID: "found"}, dataset.DiscoveryRow{ID: "missed"}, missed("missed", at.UnixMilli()), missed("missed", at.UnixMilli()))...)
	r.setState(tr.State())
	return r, tr.State()
}

// The first sentence about a node says why it has its number; where nothing is known there
// is no number at all.
func TestWhy(t *testing.T) {
	r, _ := watchedPeers(t)
	for id, want := range map[string]string{
		"watched": `^About \d+ validators, with 90 % probability \d+ to \d,\d{3}: \d+ duties seen in 4\.0 watched epochs; a validator shows about one in 29 epochs, hence about \d+ \[\d+ to \d,\d{3}\]; ` +
			`the chance that a validator fills a cell is about 1 in \d\d,\d{3}, give or take \d+ %; ` +
			`the interval is wide because the rate of its client version is unproven: too few of its nodes could be tested \(valtrack report --calibration\); ` +
			`it keeps all 128 custody groups, as with 128 validators or more, or by choice\.$`,
		"all subnets": `: it is on all 64 attestation subnets, so that its duties cannot be told apart; it keeps 53 custody groups, as with 53 validators of 32 ETH\.$`,
		"found":       `^Nothing is known of its validators: its record was found, and it was not visited\.$`,
		"missed":      `^Nothing is known of its validators: 2 visits, no completed handshake; the last visit ended with "refused"\.$`,
	} {
		e, err := r.Evidence(t.Context(), t.TempDir(), r.nodes[id])
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(want).MatchString(e.Why) {
			t.Errorf("%s: %s", id, e.Why)
		}
		var out bytes.Buffer
		if err := e.WriteText(&out); err != nil {
			t.Fatal(err)
		}
		nothing := id == "found" || id == "missed"
		if nothing && (strings.Contains(out.String(), "AT LEAST ONE") || e.Tracked != nil && (e.Tracked.Custody != nil || e.Tracked.Subnets != nil)) {
			t.Errorf("%s: numbers without evidence in\n%s", id, &out)
		}
		if e.Tracked != nil && e.Tracked.Used == "" {
			t.Errorf("%s: used is blank", id)
		}
		if id == "all subnets" && (e.Tracked.Subnets != nil || e.Tracked.Custody == nil) {
			t.Errorf("%s: %+v", id, e.Tracked)
		}
	}
}

// What makes a total's interval wide is said.
func TestUncertainty(t *testing.T) {
	peer := func(id string, variance, shared float64) *tracker.Peer {
		return &tracker.Peer{ID: id, Estimate: &tracker.Estimate{Estimate: estimate.Estimate{Variance: variance, Shared: shared}}}
	}
	total := func(nodes, clients float64) tracker.Totals { // of a variance of 14,400
		nodes, clients = nodes/14_400, clients/14_400
		return tracker.Totals{Validators: 1000, High: 1000 + 1.645*120, Errors: tracker.Errors{Nodes: nodes, Clients: clients, Prior: 1 - nodes - clients}}
	}
	few := newUncertainty([]*tracker.Peer{peer("a", 10, 0), peer("wide", 5000, 0), peer("wider", 6000, 0)}, total(11_010, 0))
	if len(few.Nodes) != 2 || few.Nodes[0].ID != "wider" || few.Share < 0.76 || few.Share > 0.77 {
		t.Errorf("%+v", few)
	}
	if assumed := newUncertainty([]*tracker.Peer{peer("a", 10, 0)}, total(10, 0)); len(assumed.Nodes) != 0 || assumed.Assumptions < 0.99 {
		t.Errorf("%+v", assumed)
	}
	if misfits := newUncertainty([]*tracker.Peer{peer("a", 0, 50), peer("b", 0, 50)}, total(0, 100*100)); misfits.Misfits < 0.69 || misfits.Misfits > 0.70 {
		t.Errorf("%+v", misfits)
	}
	flooded := tracker.Totals{Validators: 1000, Low: 900, High: 9000, Concentration: tracker.Concentration{Concentrated: 12, Claimed: 7900, Admitted: 3}}
	if u := newUncertainty([]*tracker.Peer{peer("a", 10, 0)}, flooded); u.Concentrated < 0.97 || u.text() != "98 % of it is what concentrated nodes claim" {
		t.Errorf("%+v", u)
	}
	if none := newUncertainty(nil, tracker.Totals{}); len(none.Nodes) != 0 || none.text() != "" {
		t.Errorf("%+v", none)
	}
}

// Where the sentence says "hence", its numbers give its result.
func TestHenceFollows(t *testing.T) {
	_, state := watchedPeers(t)
	share := state.Params().AggregatorShare()
	for _, c := range []struct {
		cells   uint64
		epochs  float64
		subnets int
		want    bool
	}{
		{100, 10, int(10 / share), true}, {55, 2, 662, false}, {17, 2, 142, false}, {406, 21, int(406 / 21.0 / share), true}, {3, 0, 40, false},
		{29, 0.9, 871, false}, {29, 0.9, 934, true}, // 29 * 29 / 0.9 is 934
	} {
		p := &tracker.Peer{Estimate: &tracker.Estimate{EpochsWatched: c.epochs}}
		d := &Tracked{CellsOn: c.cells, CellsOff: 1000, Subnets: &Estimated{Validators: c.subnets}}
		text := dutiesSeen(&Node{}, state, p, d)
		if got := strings.Contains(text, "hence about"); got != c.want || !strings.Contains(text, fmt.Sprintf("about %d", c.subnets)) {
			t.Errorf("%+v: %s", c, text)
		}
	}
}

// The width of an interval has its cause beside it, and the rate per cell.
func TestWideIntervalsAreExplained(t *testing.T) {
	_, state := watchedPeers(t)
	p := &tracker.Peer{Estimate: &tracker.Estimate{EpochsWatched: 10, Trust: estimate.TrustWide}}
	d := &Tracked{CellsOn: 294, CellsOff: 19637, Subnets: &Estimated{Validators: 870, ValidatorsLow: 674, ValidatorsHigh: 1114}, CellRate: ptr(0.00001716), CellRateSD: ptr(0.2)}
	text := dutiesSeen(&Node{}, state, p, d)
	for _, want := range []string{"294 filled and 19,637 empty give about 870 [674 to 1,114]", "fills a cell is about 1 in 58,275, give or take 20 %", "the interval is wide because the rate of its client version is unproven"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	p.Estimate.Trust = estimate.TrustAll
	if text := dutiesSeen(&Node{}, state, p, d); strings.Contains(text, "wide") {
		t.Error(text)
	}
	r, _ := watchedPeers(t)
	e, err := r.Evidence(t.Context(), t.TempDir(), r.nodes["on sync subnets"])
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Tracked; d.CellsOn+d.CellsOff > 0 && (d.CellRate == nil || *d.CellRate <= 0 || *d.CellRate >= 1) {
		t.Errorf("%+v", d)
	}
}

// What the sync committee subnets say is in the table, and in the sentence of a node that was
// on some.
func TestSyncEvidenceIsShown(t *testing.T) {
	r, _ := watchedPeers(t)
	e, err := r.Evidence(t.Context(), t.TempDir(), r.nodes["on sync subnets"])
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := e.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	if e.Tracked.Sync == nil || e.Tracked.SyncOn != 2 || e.Tracked.SyncOff != 2 || !strings.Contains(e.Why, "it was on 2 of 4 sync committee subnets, which alone says ") {
		t.Errorf("%+v\n%s", e.Tracked, e.Why)
	}
	for _, want := range []string{"sync committees alone", "on 2 of 4 subnets"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

// A node that was never reached has its reason and its address, and no empty tables.
func TestNodesThatWereNeverReached(t *testing.T) {
	const id = "16Uiu2HAm9dqnTSYPpqFevmJXXvRUavRzcEuYPVS2htkoQLumpu4w"
	text := "dial " + id + ": failed to dial " + id + ": all dials failed\n  * [/ip4/127.10.0.87/tcp/43159] dial tcp4 127.10.0.87:43159: i/o timeout"
	visit := ended(id, hour(1), "dial_timeout").(dataset.VisitRow)
	visit.Error = &text
	r := reportOf(t, dataset.Range{}, dataset.DiscoveryRow{ID: id, IP: ptr("192.0.2.3"), Port: ptr[int32](9000), Common: visit.Common}, visit)
	e := Evidence{Node: r.nodes[id], Note: noteOf(r.nodes[id]), Visits: []dataset.VisitRow{visit}}
	var out bytes.Buffer
	if err := e.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"192.0.2.3, port 9000, from its record", `The outcome "dial_timeout" means: no answer: the node is down`, "It is not in the totals",
		"[/ip4/127.10.0.87/tcp/43159] dial tcp4 127.10.0.87:43159: i/o timeout"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	for _, unwanted := range []string{"HANDSHAKE", "SHORT-LIVED", "failed to dial", "subnet rule"} {
		if strings.Contains(out.String(), unwanted) {
			t.Errorf("%q in\n%s", unwanted, &out)
		}
	}
}

// The histogram counts and sums by one rule: no bin has more than its nodes can have.
func TestHistogramIsConsistent(t *testing.T) {
	_, state := watchedPeers(t)
	v := newValidators(state)
	nodes := 0
	for _, b := range v.Histogram {
		nodes += b.Nodes
		if high := float64(b.Nodes * b.High); b.Validators < float64(b.Nodes*b.Low) || b.High > 0 && b.Validators > high {
			t.Errorf("%+v", b)
		}
	}
	if nodes != v.Nodes {
		t.Errorf("%d nodes in the histogram, %d in the total", nodes, v.Nodes)
	}
}

// A node that was only found has what its record says against a visit.
func TestWhyNodesAreNotVisited(t *testing.T) {
	common := dataset.Common{Network: "n", Timestamp: hour(1)}
	met := met("met", hour(1), "1", "")[0].(dataset.ValidatorRow)
	met.ForkDigest = "0x01000000"
	found := func(id, digest string, ip *string) any {
		return dataset.DiscoveryRow{ID: id, IP: ip, ForkDigest: ptr(digest), ENR: "enr:-x", Common: common}
	}
	ip := ptr("192.0.2.3")
	r := reportOf(t, dataset.Range{}, met, found("same", "0x01000000", ip), found("other", "0x02000000", ip), found("nowhere", "0x01000000", nil))
	for id, want := range map[string]string{
		"same":    `is visited when its turn comes`,
		"other":   `the fork digest 0x02000000, which no node that completed a handshake has: it is probably on another fork.`,
		"nowhere": `It cannot be visited: its record has no address.`,
	} {
		e, err := r.Evidence(t.Context(), t.TempDir(), r.nodes[id])
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(e.Note, "when its turn comes") != (id == "same") {
			t.Errorf("%s: %s", id, e.Note)
		}
		if !strings.Contains(e.Note, want) || (id != "other") == strings.Contains(e.Note, "which no node") {
			t.Errorf("%s: %s", id, e.Note)
		}
		var out bytes.Buffer
		if err := e.WriteText(&out); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); !strings.Contains(text, "enr:-x") || !strings.Contains(text, ", from its record") || strings.Contains(text, "last heard") {
			t.Errorf("%s:\n%s", id, text)
		}
	}
}

// The code of a goodbye is explained, and the API says of a node that was never reached that it
// does not count.
func TestGoodbyesAndNodesOfTheAPI(t *testing.T) {
	visit := ended("a", hour(1), "goodbye").(dataset.VisitRow)
	visit.GoodbyeCode = ptr[uint64](129)
	e := Evidence{Node: reportOf(t, dataset.Range{}, visit).nodes["a"], Visits: []dataset.VisitRow{visit}}
	var out bytes.Buffer
	if err := e.WriteText(&out); err != nil || !strings.Contains(out.String(), "goodbye code 129: too many peers") {
		t.Errorf("%v\n%s", err, &out)
	}
	visit.Error = ptr("status: peer said goodbye, code 129")
	if text := visitError(visit); text != "status: peer said goodbye, code 129 (too many peers)" {
		t.Error(text)
	}
	if note := goodbyeNote(e.Node, e.Visits); note != "The code of the last goodbye was 129: too many peers." {
		t.Error(note)
	}
	_, state := watchedPeers(t)
	if why, _ := Explain(state, state.Peer("found")); !strings.HasSuffix(why, uncounted) {
		t.Error(why)
	}
	if why, _ := Explain(state, state.Peer("watched")); strings.Contains(why, uncounted) {
		t.Error(why)
	}
}

// Words of the summary that are not clear by themselves are explained where they are.
func TestSummaryExplainsItsWords(t *testing.T) {
	u := Uncertainty{Share: 0.5, Nodes: []Uncertain{{AllSubnets: true}}}
	if text := u.text(); !strings.Contains(text, "all 64 attestation subnets, where its duties cannot be told apart") {
		t.Error(text)
	}
	if text := legends()["HHI"]; !strings.Contains(text, "in a range") {
		t.Error(text)
	}
}
