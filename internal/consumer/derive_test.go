package consumer

import (
	"encoding/csv"
	"encoding/hex"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/event/eventtest"
	"github.com/chainbound/valtrack/internal/geo"
)

func allSubnets() (out []int) {
	for i := range eth2.AttestationSubnetCount {
		out = append(out, i)
	}
	return out
}

func validatorRow(enrichers []Enricher, e *event.MetadataReceived) dataset.ValidatorRow {
	handshake := dataset.FromMetadataReceived(e)
	row := dataset.ValidatorRowOf(&handshake)
	for _, enricher := range enrichers {
		enricher.Enrich(e, &row)
	}
	return row
}

func TestValidatorRow(t *testing.T) {
	id, err := enr.NodeIDFromPeerID(handshake().ID)
	if err != nil {
		t.Fatal(err)
	}
	expected := dataset.List(eth2.ComputeSubscribedSubnets(id, 286684))
	type derived struct {
		LongLived, Expected, Subscribed, ShortLived []int32
		All                                         bool
	}
	with := func(attnets, subscribed []int, peer string) *event.MetadataReceived {
		e := handshake()
		e.MetaData.Attnets, e.SubscribedSubnets, e.ID = eth2.NewAttnets(attnets), subscribed, peer
		return e
	}
	peer := handshake().ID
	enrichers := Enrichers()
	for name, c := range map[string]struct {
		e    *event.MetadataReceived
		want derived
	}{
		"short-lived at both ends": {with([]int{1, 2}, []int{0, 1, 2, 63}, peer), derived{[]int32{1, 2}, expected, []int32{0, 1, 2, 63}, []int32{0, 63}, false}},
		"long-lived at both ends":  {with([]int{0, 63}, []int{0, 5, 63}, peer), derived{[]int32{0, 63}, expected, []int32{0, 5, 63}, []int32{5}, false}},
		"none is information":      {with([]int{0, 63}, []int{0, 63}, peer), derived{[]int32{0, 63}, expected, []int32{0, 63}, []int32{}, false}},
		"empty hello":              {with([]int{0}, []int{}, peer), derived{[]int32{0}, expected, []int32{}, []int32{}, false}},
		"no hello":                 {with([]int{0}, nil, peer), derived{[]int32{0}, expected, nil, nil, false}},
		"all in MetaData":          {with(allSubnets(), nil, peer), derived{dataset.List(allSubnets()), expected, nil, nil, true}},
		"all in the hello":         {with(nil, allSubnets(), peer), derived{[]int32{}, expected, dataset.List(allSubnets()), dataset.List(allSubnets()), true}},
		"no secp256k1 key":         {with(nil, nil, "12D3KooWGRUaGBkvzTXVWqLLcWT4XRL5fDsvhKoYcx8zoGBNjvUd"), derived{[]int32{}, nil, nil, nil, false}},
	} {
		row := validatorRow(enrichers, c.e)
		got := derived{row.LongLivedSubnets, row.ExpectedSubnets, row.SubscribedSubnets, row.ShortLivedSubnets, row.AllSubnets}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if (row.NodeID == nil) != (c.want.Expected == nil) {
			t.Errorf("%s: node id %v", name, row.NodeID)
		}
	}
	row := validatorRow(enrichers, handshake())
	if row.Client != "lighthouse" || *row.ClientRelease != "5.1.3" || *row.OS != "linux" || *row.Arch != "x86_64" || *row.NodeID != id.String() {
		t.Errorf("row %+v", row)
	}
	e := handshake()
	e.ClientVersion, e.NodeID = "something", &eth2.NodeID{1}
	row = validatorRow(enrichers, e)
	if row.ClientRelease != nil || row.OS != nil || row.Arch != nil || *row.NodeID != (eth2.NodeID{1}).String() {
		t.Errorf("row %+v", row)
	}
}

// Of the sample of mainnet's peers of May 2024 all but one follow a rule. Those that follow
// the staggered one and not the spec are Lighthouse, Lodestar and nodes that hide their agent.
func TestSubnetRuleOfTheSample(t *testing.T) {
	f, err := os.Open("../eth2/testdata/sample_peers.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll() // enr, id, client_version, attnets, syncnets, long_lived_subnets, epoch
	if err != nil {
		t.Fatal(err)
	}
	enrichers := Enrichers()
	rules, withRecord, clients := map[string]int{}, map[string]int{}, map[string]int{}
	for _, line := range rows[1:] {
		e := handshake()
		epoch, err := strconv.ParseUint(line[6], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(line[3])
		if err != nil {
			t.Fatal(err)
		}
		e.ID, e.ClientVersion, e.Epoch, e.MetaData.Attnets = line[1], line[2], eth2.Epoch(epoch), eth2.Attnets(b)
		row := validatorRow(enrichers, e)
		if row.SubnetRule == nil {
			t.Fatalf("%s: no rule", line[1])
		}
		if *row.SubnetRule != string(eth2.SubnetRuleNone) && !slices.Equal(row.LongLivedSubnets, row.ExpectedSubnets) {
			t.Errorf("%s by %s: announced %v, expected %v", line[1], *row.SubnetRule, row.LongLivedSubnets, row.ExpectedSubnets)
		}
		rules[*row.SubnetRule]++
		if line[0] == "enr:" { // no record
			continue
		}
		withRecord[*row.SubnetRule]++
		if *row.SubnetRule == string(eth2.SubnetRuleStaggered) {
			clients[row.Client]++
		}
	}
	for what, pair := range map[string][2]map[string]int{
		"173 peers":                  {rules, {"spec": 9, "spec+staggered": 118, "spec+staggered+static": 2, "spec+static": 1, "staggered": 42, "none of them": 1}},
		"129 with a record":          {withRecord, {"spec": 4, "spec+staggered": 88, "spec+staggered+static": 2, "staggered": 35}},
		"staggered ones with record": {clients, {"lighthouse": 23, "lodestar": 6, "unknown": 6}},
	} {
		if diff := cmp.Diff(pair[1], pair[0]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestSubnetRuleColumn(t *testing.T) {
	e := handshake()
	id, err := enr.NodeIDFromPeerID(e.ID)
	if err != nil {
		t.Fatal(err)
	}
	enrichers := Enrichers()
	for name, c := range map[string]struct {
		attnets []int
		peer    string
		want    string // empty for null
	}{
		"spec":         {eth2.ComputeSubscribedSubnets(id, e.Epoch), e.ID, "spec"},
		"static":       {eth2.LighthouseSubnets(id), e.ID, "static"},
		"none of them": {[]int{0, 32}, e.ID, "none of them"},
		"all":          {allSubnets(), e.ID, "all"},
		"none":         {nil, e.ID, ""},
		"no node id":   {[]int{1, 2}, "12D3KooWGRUaGBkvzTXVWqLLcWT4XRL5fDsvhKoYcx8zoGBNjvUd", ""},
	} {
		e := handshake()
		e.ID, e.MetaData.Attnets = c.peer, eth2.NewAttnets(c.attnets)
		got := validatorRow(enrichers, e).SubnetRule
		if (got == nil) != (c.want == "") || got != nil && !slices.Contains(strings.Split(*got, "+"), c.want) {
			t.Errorf("%s: %v, want %q", name, got, c.want)
		}
	}
}

// A column that no enricher sets would be null in every row.
func TestEveryColumnHasAValue(t *testing.T) {
	var e *event.MetadataReceived
	for _, filled := range eventtest.Filled() {
		if m, ok := filled.(*event.MetadataReceived); ok {
			e = m
		}
	}
	e.ClientVersion, e.Multiaddr, e.SubscribedSubnets = handshake().ClientVersion, "/ip4/54.184.85.102/tcp/13000", allSubnets()
	filled := validatorRow(append(Enrichers(), &placeColumns{openPlaces(t), &placeCounts{}}), e)
	filled.ClockErrorMS = dataset.ClockError(time.Hour) // by ingest: TestClockErrors
	row := reflect.ValueOf(filled)
	for _, f := range reflect.VisibleFields(row.Type()) {
		if row.FieldByIndex(f.Index).IsZero() {
			t.Errorf("%s has no value", f.Name)
		}
	}
}

func openPlaces(t testing.TB) *geo.Locator {
	t.Helper()
	places, err := geo.Open(nil, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	return places
}

// Addresses of both families have a place; private ones are kept without one, and counted.
func TestPlaces(t *testing.T) {
	counts := &placeCounts{}
	enrichers := []Enricher{&placeColumns{openPlaces(t), counts}}
	type place struct {
		Code, City, Cloud string
		ASN               uint32
		Located           bool
	}
	str := func(s dataset.Text) string {
		if s == "" {
			return "NULL"
		}
		return string(s)
	}
	for multiaddr, want := range map[string]place{
		"/ip4/54.184.85.102/tcp/13000":        {"US", "Boardman", "aws", 16509, true},
		"/ip6/2a01:4f8::1/udp/9001/quic-v1":   {"DE", "NULL", "hetzner", 24940, false},
		"/ip6/::ffff:54.184.85.102/tcp/13000": {"US", "Boardman", "aws", 16509, true},
		"/ip4/127.0.0.1/tcp/9000":             {"NULL", "NULL", "NULL", 0, false},
		"/ip4/192.168.1.2/udp/9001/quic-v1":   {"NULL", "NULL", "NULL", 0, false},
		"/ip6/fe80::1/tcp/9000":               {"NULL", "NULL", "NULL", 0, false},
		"/dns4/example.org/tcp/9000":          {"NULL", "NULL", "NULL", 0, false},
		"/ip4/54.184.85/tcp/1":                {"NULL", "NULL", "NULL", 0, false},
		"/ip":                                 {"NULL", "NULL", "NULL", 0, false},
		"":                                    {"NULL", "NULL", "NULL", 0, false},
	} {
		e := handshake()
		e.Multiaddr = multiaddr
		row := validatorRow(enrichers, e)
		got := place{str(row.GeoCountryCode), str(row.GeoCity), str(row.GeoCloud), uint32(row.GeoASN), row.GeoLatitude != nil && row.GeoLongitude != nil}
		if got != want {
			t.Errorf("%s: %+v, want %+v", multiaddr, got, want)
		}
		if (row.GeoSource == "") != (want.ASN == 0) {
			t.Errorf("%s: source %s", multiaddr, str(row.GeoSource))
		}
	}
	if diff := cmp.Diff(map[string]uint64{"known": 3, "unknown": 0, "private": 7}, counts.byResult()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// Rows wait to be written while other events are decoded and derived.
func TestRowsOutliveTheirEvent(t *testing.T) {
	n, more := uint64(7), uint64(8)
	first, second := handshake(), handshake()
	first.MetaData.CustodyGroupCount, first.NodeID, first.SubscribedSubnets = &n, &eth2.NodeID{1}, []int{1, 2}
	second.MetaData.CustodyGroupCount, second.NodeID, second.SubscribedSubnets = &more, &eth2.NodeID{2}, []int{3, 4}
	ms, ms2 := int64(80), int64(90)
	visited, revisited := visit("a"), visit("b")
	visited.GoodbyeCode, visited.HandshakeMS, revisited.GoodbyeCode, revisited.HandshakeMS = &n, &ms, &more, &ms2
	found := func(count *uint64) *event.PeerDiscovered {
		return &event.PeerDiscovered{Common: first.Common, ENR: "enr:-", ID: "x", NodeID: eth2.NodeID{1}, CustodyGroupCount: count}
	}
	enrichers := Enrichers()
	rows := func(e event.Event) []any {
		t.Helper()
		data, err := event.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		e, err = event.Decode(e.Subject(), data)
		if err != nil {
			t.Fatal(err)
		}
		switch e := e.(type) {
		case *event.MetadataReceived:
			return []any{dataset.FromMetadataReceived(e), validatorRow(enrichers, e)}
		case *event.VisitEnded:
			return []any{dataset.FromVisitEnded(e)}
		case *event.PeerDiscovered:
			return []any{dataset.FromPeerDiscovered(e)}
		}
		return nil
	}
	for _, pair := range [][2]event.Event{{first, second}, {visited, revisited}, {found(&n), found(&more)}} {
		kept := rows(pair[0])
		rows(pair[1])
		if diff := cmp.Diff(rows(pair[0]), kept); diff != "" {
			t.Errorf("%s: another event changed the rows (-want +got):\n%s", pair[0].Subject(), diff)
		}
	}
}
