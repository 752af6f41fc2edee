package event

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

func ptr[T any](v T) *T { return &v }

func common() Common {
	return Common{Network: "hoodi", CrawlerID: "c1", CrawlerLocation: "here", Timestamp: 1763800000000}
}

func peerDiscovered() *PeerDiscovered {
	return &PeerDiscovered{
		Common: common(), ENR: "enr:-abc", ID: "16Uiu2HAm", NodeID: eth2.NodeID{31: 1}, Seq: 7,
		IP: "127.0.0.1", IP6: "::1", Port: 9000, UDP: 9000, QUIC: 9001,
		ForkDigest: &eth2.ForkDigest{1, 2, 3, 4}, NextForkVersion: &eth2.Version{7}, NextForkEpoch: ptr(eth2.FarFutureEpoch),
		Attnets: ptr(eth2.NewAttnets([]int{0, 63})), Syncnets: ptr(eth2.Syncnets(3)), CustodyGroupCount: ptr(uint64(128)), NFD: &eth2.ForkDigest{},
	}
}

func metadataReceived() *MetadataReceived {
	return &MetadataReceived{
		Common: common(), ENR: "enr:-abc", ID: "16Uiu2HAm", NodeID: &eth2.NodeID{31: 1}, Multiaddr: "/ip4/127.0.0.1/tcp/9000", Epoch: 12,
		MetaData:          &MetaData{SeqNumber: 3, Attnets: eth2.NewAttnets([]int{0, 63}), Syncnets: ptr(eth2.Syncnets(1)), CustodyGroupCount: ptr(uint64(4))},
		SubscribedSubnets: []int{0, 5, 63}, ClientVersion: "Lighthouse/v8.0.0", VisitID: "v1", Direction: Outbound, Transport: QUIC,
		ForkDigest: eth2.ForkDigest{1, 2, 3, 4}, HeadSlot: 400, FinalizedEpoch: 10, EarliestAvailableSlot: ptr(eth2.Slot(0)),
		ColumnSubnets: ptr(8), SyncSubnets: []int{},
	}
}

func visitEnded() *VisitEnded {
	return &VisitEnded{
		Common: common(), VisitID: "v1", Part: 1, More: true, ID: "16Uiu2HAm", Multiaddr: "/ip4/127.0.0.1/udp/9001/quic-v1", Direction: Inbound, Transport: TCP,
		Started: 1763800000000, Ended: 1763800005000, Outcome: OutcomeGoodbye, Error: "said 129", GoodbyeCode: ptr(uint64(129)),
		ClientVersion: "teku/25.1", HandshakeMS: ptr(int64(80)),
		Watch: &Watch{
			From: 1763800000000, To: 1763800005000, Initial: []int{1}, Changes: []SubnetChange{{10, 63, true}, {20, 1, false}},
			MetaDataChanges: []WatchMetaData{{At: 30, MetaData: MetaData{SeqNumber: 4}}},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, want := range []Event{
		peerDiscovered(), metadataReceived(), visitEnded(),
		&PeerDiscovered{Common: common(), ENR: "enr:-abc", ID: "x", NodeID: eth2.NodeID{1}},
		&MetadataReceived{Common: common(), ID: "x", MetaData: &MetaData{}},
		&VisitEnded{Common: common(), VisitID: "v", ID: "x", Started: 1763800000000, Ended: 1763800000000, Outcome: OutcomeRefused},
	} {
		data, err := Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsRune(string(data), '\n') {
			t.Errorf("%s: encoded over several lines", want.Subject())
		}
		got, err := Decode(want.Subject(), data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", want.Subject(), d)
		}
	}
}

// The names on the wire are a contract with every sentry that is out there.
func TestWireForm(t *testing.T) {
	data, err := Encode(metadataReceived())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"network":"hoodi","crawler_id":"c1","crawler_location":"here","timestamp":1763800000000,"enr":"enr:-abc","id":"16Uiu2HAm",` +
		`"node_id":"0x0000000000000000000000000000000000000000000000000000000000000001","multiaddr":"/ip4/127.0.0.1/tcp/9000","epoch":12,` +
		`"metadata":{"seq_number":3,"attnets":"0x0100000000000080","syncnets":"0x01","custody_group_count":4},"subscribed_subnets":[0,5,63],` +
		`"client_version":"Lighthouse/v8.0.0","visit_id":"v1","direction":"outbound","transport":"quic","fork_digest":"0x01020304","head_slot":400,` +
		`"finalized_epoch":10,"earliest_available_slot":0,"column_subnets":8,"sync_subnets":[]}`
	if d := cmp.Diff(want, string(data)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Changes are lists of three numbers on the wire.
func TestWireFormOfChanges(t *testing.T) {
	data, err := Encode(visitEnded())
	if err != nil {
		t.Fatal(err)
	}
	if want := `"initial":[1],"changes":[[10,63,1],[20,1,0]],"metadata_changes":[{"at":30,"seq_number":4,"attnets":"0x0000000000000000"}]`; !strings.Contains(string(data), want) {
		t.Errorf("%s is not in %s", want, data)
	}
}

func TestEncodeRejects(t *testing.T) {
	large := visitEnded()
	for range MaxSize / 6 {
		large.Watch.Changes = append(large.Watch.Changes, SubnetChange{})
	}
	for name, e := range map[string]Event{"no id": &VisitEnded{Common: common()}, "too large": large} {
		if data, err := Encode(e); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: encoded as %d bytes, error %v", name, len(data), err)
		}
	}
}

func TestNoHelloIsNotAnEmptyHello(t *testing.T) {
	e := metadataReceived()
	for _, subnets := range [][]int{nil, {}} {
		e.SubscribedSubnets = subnets
		data, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(e.Subject(), data)
		if err != nil {
			t.Fatal(err)
		}
		if back := got.(*MetadataReceived).SubscribedSubnets; (back == nil) != (subnets == nil) {
			t.Errorf("subscribed subnets %#v came back as %#v", subnets, back)
		}
	}
}

func TestDecodeRejects(t *testing.T) {
	const base = `"network":"n","crawler_id":"c","timestamp":1763800000000,"id":"x"`
	meta := func(m string) string { return `{` + base + `,"metadata":` + m + `}` }
	good := `{"seq_number":1,"attnets":"0x0000000000000000"}`
	for name, c := range map[string]struct{ subject, data string }{
		"unknown subject":        {"events.other", `{}`},
		"no JSON":                {SubjectMetadataReceived, `nonsense`},
		"empty":                  {SubjectMetadataReceived, ``},
		"null":                   {SubjectMetadataReceived, `null`},
		"metadata null":          {SubjectMetadataReceived, `{"metadata":null}`},
		"metadata null, rest":    {SubjectMetadataReceived, meta(`null`)},
		"metadata empty":         {SubjectMetadataReceived, meta(`{}`)},
		"attnets null":           {SubjectMetadataReceived, meta(`{"seq_number":1,"attnets":null}`)},
		"attnets short":          {SubjectMetadataReceived, meta(`{"seq_number":1,"attnets":"0x00"}`)},
		"syncnets high bits":     {SubjectMetadataReceived, meta(`{"seq_number":1,"attnets":"0x0000000000000000","syncnets":"0x10"}`)},
		"root of 31 bytes":       {SubjectMetadataReceived, `{` + base + `,"genesis_validators_root":"0x` + strings.Repeat("11", 31) + `","metadata":` + good + `}`},
		"root of no hex":         {SubjectMetadataReceived, `{` + base + `,"genesis_validators_root":"0x` + strings.Repeat("1g", 32) + `","metadata":` + good + `}`},
		"root a number":          {SubjectMetadataReceived, `{` + base + `,"genesis_validators_root":1,"metadata":` + good + `}`},
		"network missing":        {SubjectMetadataReceived, `{"crawler_id":"c","timestamp":1763800000000,"id":"x","metadata":` + good + `}`},
		"time in seconds":        {SubjectMetadataReceived, `{"network":"n","crawler_id":"c","timestamp":1763800000,"id":"x","metadata":` + good + `}`},
		"subnet 64":              {SubjectMetadataReceived, `{` + base + `,"subscribed_subnets":[64],"metadata":` + good + `}`},
		"subnet -1":              {SubjectMetadataReceived, `{` + base + `,"subscribed_subnets":[-1],"metadata":` + good + `}`},
		"subnet twice":           {SubjectMetadataReceived, `{` + base + `,"subscribed_subnets":[3,3],"metadata":` + good + `}`},
		"subnets unsorted":       {SubjectMetadataReceived, `{` + base + `,"subscribed_subnets":[4,3],"metadata":` + good + `}`},
		"sync subnet 4":          {SubjectMetadataReceived, `{` + base + `,"sync_subnets":[4],"metadata":` + good + `}`},
		"direction":              {SubjectMetadataReceived, `{` + base + `,"direction":"sideways","metadata":` + good + `}`},
		"long agent":             {SubjectMetadataReceived, `{` + base + `,"client_version":"` + strings.Repeat("a", 257) + `","metadata":` + good + `}`},
		"node id missing":        {SubjectPeerDiscovered, `{` + base + `,"enr":"enr:-"}`},
		"enr missing":            {SubjectPeerDiscovered, `{` + base + `,"node_id":"0x` + strings.Repeat("11", 32) + `"}`},
		"outcome":                {SubjectVisitEnded, `{` + base + `,"visit_id":"v","started":1763800000000,"ended":1763800000000,"outcome":"fine"}`},
		"ends before start":      {SubjectVisitEnded, `{` + base + `,"visit_id":"v","started":1763800000001,"ended":1763800000000,"outcome":"ok"}`},
		"watch metadata empty":   {SubjectVisitEnded, `{` + base + `,"visit_id":"v","started":1763800000000,"ended":1763800000000,"outcome":"ok","watch":{"from":1763800000000,"to":1763800000000,"metadata_changes":[null]}}`},
		"part below 0":           {SubjectVisitEnded, `{` + base + `,"visit_id":"v","part":-1,"started":1763800000000,"ended":1763800000000,"outcome":"ok","watch":{"from":1763800000000,"to":1763800000000}}`},
		"change neither 1 nor 0": {SubjectVisitEnded, `{` + base + `,"visit_id":"v","started":1763800000000,"ended":1763800000000,"outcome":"ok","watch":{"from":1763800000000,"to":1763800000000,"initial":[],"changes":[[0,1,2]],"metadata_changes":[]}}`},
		"change of subnet 64":    {SubjectVisitEnded, `{` + base + `,"visit_id":"v","started":1763800000000,"ended":1763800000000,"outcome":"ok","watch":{"from":1763800000000,"to":1763800000000,"initial":[],"changes":[[0,64,1]],"metadata_changes":[]}}`},
		"change after the end":   {SubjectVisitEnded, `{` + base + `,"visit_id":"v","started":1763800000000,"ended":1763800000000,"outcome":"ok","watch":{"from":1763800000000,"to":1763800000000,"initial":[],"changes":[[1,1,1]],"metadata_changes":[]}}`},
		"since without initial":  {SubjectVisitEnded, `{` + base + `,"visit_id":"v","started":1763800000000,"ended":1763800000000,"outcome":"ok","watch":{"from":1763800000000,"to":1763800000000,"initial":[],"since":[1],"changes":[],"metadata_changes":[]}}`},
		"since below 0":          {SubjectVisitEnded, `{` + base + `,"visit_id":"v","started":1763800000000,"ended":1763800000000,"outcome":"ok","watch":{"from":1763800000000,"to":1763800000000,"initial":[3],"since":[-1],"changes":[],"metadata_changes":[]}}`},
		"since of 60 days":       {SubjectVisitEnded, `{` + base + `,"visit_id":"v","started":1763800000000,"ended":1763800000000,"outcome":"ok","watch":{"from":1763800000000,"to":1763800000000,"initial":[3],"since":[5184000000],"changes":[],"metadata_changes":[]}}`},
		"part of no watch":       {SubjectVisitEnded, `{` + base + `,"visit_id":"v","more":true,"started":1763800000000,"ended":1763800000000,"outcome":"ok"}`},
		"too large":              {SubjectVisitEnded, `{` + base + `,"visit_id":"` + strings.Repeat("v", MaxSize) + `"}`},
	} {
		if e, err := Decode(c.subject, []byte(c.data)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: decoded as %+v, error %v", name, e, err)
		}
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	data, err := Encode(visitEnded())
	if err != nil {
		t.Fatal(err)
	}
	data = append([]byte(`{"event_key":"a-1-1","future":{"x":[1]},`), data[1:]...)
	got, err := Decode(SubjectVisitEnded, data)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Event(visitEnded()), got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestKey(t *testing.T) {
	for _, k := range []Key{{"s", 0, 1}, {"a-b-7", 3, 18446744073709551615}, {"-", 0, 0}} {
		got, err := ParseKey(k.String())
		if err != nil || got != k {
			t.Errorf("%q parsed as %+v, %v", k, got, err)
		}
	}
	for _, s := range []string{"", "a", "a-1", "-1-2", "a-1-", "a--2", "a-x-2", "a-1-x", "a-01-2", "a-1-+2", "a-1-18446744073709551616", strings.Repeat("a", 200) + "-1-2"} {
		if k, err := ParseKey(s); err == nil {
			t.Errorf("%q parsed as %+v", s, k)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("sentry-1-2")
	f.Add("a-b-0-18446744073709551615")
	f.Add("--")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseKey(s); err == nil && k.String() != s {
			t.Fatalf("%q parsed as %+v, which is %q", s, k, k)
		}
	})
}
