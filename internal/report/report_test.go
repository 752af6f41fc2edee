package report

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/buildinfo"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/geo"
)

func ptr[T any](v T) *T { return &v }

// rows of three nodes: a is seen, visited and handshaked with twice, b once and
// without a gossip hello, c was never reached.
func fill(t *testing.T) *Report {
	t.Helper()
	r := newReport()
	common := func(at int64) dataset.Common { return dataset.Common{Network: "devnet", Timestamp: at} }
	add := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []dataset.DiscoveryRow{
		{ID: "a", NodeID: "0xaa", ENR: "enr:new", Seq: 2, Port: ptr[int32](9000), IP6: ptr("::1"), Common: common(200)},
		{ID: "a", NodeID: "0xaa", ENR: "enr:old", Seq: 1, Common: common(100)},
		{ID: "c", NodeID: "0xcc", ENR: "enr:c", Common: common(150)},
	} {
		add(r.addDiscovery(row))
	}
	for _, row := range []dataset.ValidatorRow{
		{ID: "a", Epoch: 2, Client: "prysm", ClientRelease: ptr("7.0.0"), CustodyGroupCount: ptr[uint64](8), LongLivedSubnets: []int32{1, 2}, SubnetRule: ptr("staggered"),
			ShortLivedSubnets: []int32{0, 63}, Common: common(400), ForkDigest: "0x01020304", Transport: "quic"},
		{ID: "a", Epoch: 1, Client: "prysm", ClientRelease: ptr("6.0.0"), ShortLivedSubnets: []int32{}, Common: common(300)},
		{ID: "b", Epoch: 1, Client: "nimbus", ENR: "enr:b", LongLivedSubnets: []int32{}, Common: common(310)},
	} {
		add(r.addHandshake(row))
	}
	for _, row := range []dataset.VisitRow{
		{ID: "a", Outcome: "ok", Ended: 405, Common: common(405)},
		{ID: "a", Outcome: "reset", Ended: 305, Common: common(305)},
		{ID: "b", Outcome: "ok", Ended: 315, Common: common(315)},
		{ID: "c", Outcome: "refused", Ended: 500, Common: common(500)},
		{ID: "c", Outcome: "refused", Ended: 600, Common: common(600)},
	} {
		add(r.addVisit(row))
	}
	return r
}

func TestSummary(t *testing.T) {
	want := Summary{
		Program: buildinfo.Read().String(), Networks: []string{"devnet"}, Discovered: 2, Visited: 3, Handshaked: 2, FirstSeen: 100, LastSeen: 400,
		Rows:               Counts{Discoveries: 3, Handshakes: 3, Visits: 5},
		Clients:            []ClientCount{{"nimbus", 1, []VersionCount{{"", 1}}}, {"prysm", 1, []VersionCount{{"7.0.0", 1}}}},
		ShortLivedSubnets:  []NumberCount{{2, 1}},
		NoHello:            1,
		CustodyGroupCounts: []NumberCount{{8, 1}},
		NoCGC:              1,
		Outcomes:           []OutcomeCount{{"ok", 2, 2}, {"refused", 2, 1}, {"reset", 1, 1}},
	}
	if diff := cmp.Diff(want, fill(t).Summary()); diff != "" {
		t.Error(diff)
	}
}

// The newest record and the newest handshake win, whatever the order of rows.
func TestNode(t *testing.T) {
	r := fill(t)
	for _, id := range []string{"a", "0xaa"} {
		n, err := r.Find(id)
		if err != nil {
			t.Fatal(err)
		}
		if n.ENR != "enr:new" || *n.IP != "::1" || *n.ClientRelease != "7.0.0" || n.LastEpoch != 2 || n.Observations != 2 ||
			*n.ForkDigest != "0x01020304" || n.LastOutcome != "ok" {
			t.Errorf("node %q is %+v", id, n)
		}
	}
	if _, err := r.Find("d"); err == nil {
		t.Error("found a node that is not there")
	}
	var ids []string
	for _, n := range r.Nodes() {
		ids = append(ids, n.ID)
	}
	if diff := cmp.Diff([]string{"a", "b"}, ids); diff != "" {
		t.Error(diff)
	}
}

// A peer's agent must not steer the terminal of whoever reads the report.
func TestTextIsPrintable(t *testing.T) {
	r := newReport()
	evil := "1.0\x1b]0;owned\x07\x1b[2J"
	row := dataset.ValidatorRow{ID: "x", Client: "unknown", ClientRelease: &evil, Common: dataset.Common{Network: "devnet", Timestamp: 1}}
	row.ClientVersion = evil
	if err := r.addHandshake(row); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	n, err := r.Find("x")
	if err != nil {
		t.Fatal(err)
	}
	e := Evidence{Node: n, Handshakes: []dataset.ValidatorRow{row}, Visits: []dataset.VisitRow{{Error: &evil}}}
	for _, err := range []error{r.Summary().WriteText(&out), r.WriteNodes(&out), e.WriteText(&out)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if strings.ContainsAny(out.String(), "\x1b\x07") {
		t.Errorf("escape codes in %q", out.String())
	}
}

// What is missing from the estimates is said where they are.
func TestLostDays(t *testing.T) {
	s := Summary{Rows: Counts{Handshakes: 1}, Validators: &Validators{LostDays: 3}}
	e := Evidence{Node: &Node{}, Tracked: &Tracked{LostDays: 2, UndecodableDays: 4}}
	for want, write := range map[string]func(io.Writer) error{"lost +3 days of statistics": s.WriteText, "lost +2 days": e.WriteText, "damaged +4 days": e.WriteText} {
		var out bytes.Buffer
		if err := write(&out); err != nil || !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("no %q, %v in\n%s", want, err, &out)
		}
	}
}

// The rule of the long-lived subnets is beside the client, which hides its agent or not.
func TestNodesShowTheSubnetRule(t *testing.T) {
	r := fill(t)
	for id, want := range map[string]*string{"a": ptr("staggered"), "b": nil} {
		n, _ := r.Find(id)
		if diff := cmp.Diff(want, n.SubnetRule); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	var text bytes.Buffer
	if err := r.WriteNodes(&text); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^ID .* LONG-LIVED +RULE +SHORT-LIVED .*\na +prysm .* 2 +staggered +2 `).Match(text.Bytes()) {
		t.Errorf("nodes:\n%s", &text)
	}
}

// A node has the place of its newest handshake, and that of the tracker when the row is of an
// earlier version.
func TestPlaceOfANode(t *testing.T) {
	places, err := geo.Open(nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := newReport()
	row := dataset.ValidatorRow{ID: "a", Multiaddr: "/ip4/85.10.200.1/tcp/9000", Common: dataset.Common{Network: "n", Timestamp: 100}}
	place, _ := places.FindMultiaddr(row.Multiaddr)
	row.SetPlace(place)
	moved := dataset.ValidatorRow{ID: "a", Multiaddr: "/ip4/54.184.85.102/tcp/13000", Common: dataset.Common{Network: "n", Timestamp: 200}}
	moved.SetPlace(places.Find(netip.MustParseAddr("54.184.85.102")))
	for _, h := range []dataset.ValidatorRow{moved, row, {ID: "old", Multiaddr: row.Multiaddr, Common: row.Common}} {
		if err := r.addHandshake(h); err != nil {
			t.Fatal(err)
		}
	}
	out := r.node("a").Row()
	if out.Country == nil || *out.Country != "United States" || *out.CountryCode != "US" || *out.ASN != 16509 || *out.Cloud != "aws" || *out.Hosting != "hosting" || out.Latitude == nil || out.GeoSource == nil {
		t.Errorf("row %+v", out)
	}
	text, err := json.Marshal(r.node("a"))
	if err != nil || !strings.Contains(string(text), `"country_code":"US"`) || !strings.Contains(string(text), `"as_name":"Amazon.com, Inc."`) {
		t.Errorf("JSON %s, %v", text, err)
	}
	if old := r.node("old").Row(); old.Country != nil || old.GeoSource != nil {
		t.Errorf("a row without a place: %+v", old)
	}
}
