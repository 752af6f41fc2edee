package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

// samples are events as sentries publish them, by name.
func samples() map[string]Event {
	handshake := metadataReceived()
	handshake.ENR = "enr:-" + strings.Repeat("Ab0_-", 52)
	handshake.ID = "16Uiu2HAm" + strings.Repeat("x", 44)
	handshake.ClientVersion = "Lighthouse/v8.0.0-e3ee7fe/x86_64-linux"
	handshake.VisitID = "7QJ2MZ5XN3KAB6TPWLR4YCDE2H"
	found := peerDiscovered()
	found.ENR, found.ID = handshake.ENR, handshake.ID
	census, watched := visitEnded(), visitEnded()
	for _, visit := range []*VisitEnded{census, watched} {
		visit.ID, visit.VisitID, visit.ClientVersion = handshake.ID, handshake.VisitID, handshake.ClientVersion
	}
	census.Part, census.More, census.Error, census.GoodbyeCode, census.Watch = 0, false, "", nil, nil
	census.Outcome = OutcomeOK
	watched.Watch.Changes = nil
	for i := range int64(200) {
		watched.Watch.Changes = append(watched.Watch.Changes, SubnetChange{At: 20 * i, Subnet: int(i % 64), Subscribed: i/64%2 == 1})
	}
	watched.Watch.MetaDataChanges = append(watched.Watch.MetaDataChanges,
		WatchMetaData{At: 40, MetaData: MetaData{SeqNumber: 5, Syncnets: ptr(eth2.Syncnets(3)), CustodyGroupCount: ptr(uint64(4))}})
	for _, c := range []*Common{&handshake.Common, &found.Common, &census.Common, &watched.Common} {
		c.GenesisValidatorsRoot, c.CrawlerVersion = eth2.Root{0: 0x4b, 31: 0x95}, "valtrack/v0.1.0"
	}
	return map[string]Event{"metadata_received": handshake, "peer_discovered": found, "visit_ended": census, "visit_ended_watch": watched}
}

// wire is the JSON of any event, also of one that is not valid.
func wire(e Event) []byte {
	data, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return data
}

// reference is what encoding/json alone makes of a message.
func reference(subject string, data []byte) (Event, error) {
	e, err := newEvent(subject)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, subject, err)
	}
	cleanText(e)
	return e, e.Validate()
}

// sameAsReference fails when the decoder and encoding/json differ in verdict,
// reason or value.
func sameAsReference(t *testing.T, subject string, data []byte) {
	t.Helper()
	want, wantErr := reference(subject, data)
	got, err := Decode(subject, data)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Fatalf("%s %q: error %v, encoding/json has %v", subject, data, err, wantErr)
	}
	if err != nil {
		if !errors.Is(err, ErrInvalid) {
			t.Fatalf("error does not wrap ErrInvalid: %v", err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s %q (-encoding/json +decoder):\n%s", subject, data, diff)
	}
}

// fast reports whether the message is read without encoding/json.
func fast(subject string, data []byte) bool {
	e, err := newEvent(subject)
	return err == nil && readFast(string(data), e)
}

func TestOwnEventsTakeTheFastPath(t *testing.T) {
	events := []Event{
		peerDiscovered(), metadataReceived(), visitEnded(),
		&PeerDiscovered{}, &MetadataReceived{MetaData: &MetaData{}}, &VisitEnded{Watch: &Watch{}},
		&PeerDiscovered{Seq: math.MaxUint64, NextForkEpoch: ptr(eth2.FarFutureEpoch), Port: math.MaxUint16},
		&VisitEnded{Started: math.MaxInt64, Watch: &Watch{Initial: []int{}, Changes: []SubnetChange{}, MetaDataChanges: []WatchMetaData{}}},
	}
	for _, e := range samples() {
		events = append(events, e)
	}
	for _, e := range events {
		if data := wire(e); !fast(e.Subject(), data) {
			t.Errorf("left to encoding/json: %s", data)
		}
	}
}

// Each of these differs from our own form, or is no JSON at all.
func TestOtherForms(t *testing.T) {
	const (
		number = `"seq":7`
		text   = `"ip":"127.0.0.1"`
		digest = `"fork_digest":"0x01020304"`
	)
	own := string(wire(peerDiscovered()))
	replace := func(old, with string) string {
		if !strings.Contains(own, old) {
			t.Fatalf("%s is not in %s", old, own)
		}
		return strings.Replace(own, old, with, 1)
	}
	for _, data := range []string{
		replace(number, `"seq":07`), replace(number, `"seq":-0`), replace(number, `"seq":7.0`), replace(number, `"seq":1e3`), replace(number, `"seq":`),
		replace(number, `"seq":+7`), replace(number, `"seq":18446744073709551616`), replace(number, `"seq":99999999999999999999`), replace(number, `"seq":"7"`),
		replace(number, `"seq":null`), replace(number, `"SEQ":7`), replace(number, number+`,"seq":8`), replace(number, number+`,"x":1`), replace(number, ` "seq": 7`),
		replace(`"port":9000`, `"port":65536`), replace(`"timestamp":1763800000000`, `"timestamp":-1`), replace(`"timestamp":1763800000000`, `"timestamp":9223372036854775808`),
		replace(text, `"ip":null`), replace(text, `"ip":""`), replace(text, `"ip":"<&>"`), replace(text, `"ip":"\u0041"`), replace(text, "\"ip\":\"\x1f\""),
		replace(text, "\"ip\":\"\x7f\""), replace(text, "\"ip\":\"\xff\""), replace(text, `"ip":"é"`), replace(text, `"ip":"a`), replace(text, `"ip":"127.0.0.1"x`),
		replace(digest, `"fork_digest":"01020304"`), replace(digest, `"fork_digest":"0XAABBCCDD"`), replace(digest, `"fork_digest":"0xAABBCCDD"`),
		replace(digest, `"fork_digest":"0x010203"`), replace(digest, `"fork_digest":"0x0102030g"`), replace(digest, `"fork_digest":null`),
		own + " ", " " + own, own + "x", own + own, own[:len(own)-1], own[:len(own)-2], own[:20], "", "{", "{}", "null", "[]",
	} {
		sameAsReference(t, SubjectPeerDiscovered, []byte(data))
	}
}

// Nothing of one event may come into the next, whichever way they are read.
func TestDecodeForgets(t *testing.T) {
	for range 2 {
		for _, e := range []Event{
			metadataReceived(), &MetadataReceived{Common: common(), ID: "x", MetaData: &MetaData{}, SyncSubnets: []int{2}},
			visitEnded(), &VisitEnded{Common: common(), VisitID: "v", ID: "x", Started: 1763800000000, Ended: 1763800000000, Outcome: OutcomeRefused},
			peerDiscovered(), &PeerDiscovered{Common: common(), ENR: "enr:-abc", ID: "x", NodeID: eth2.NodeID{1}},
		} {
			data := wire(e)
			sameAsReference(t, e.Subject(), data)
			sameAsReference(t, e.Subject(), append([]byte(" "), data...))
		}
	}
}

// An event shares no memory with its message.
func TestDecodeOwnsItsEvent(t *testing.T) {
	for name, want := range samples() {
		data := wire(want)
		got, err := Decode(want.Subject(), data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range data {
			data[i] = 'x'
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Consumers decode thousands of events a second: an event may cost what it points to,
// its lists and its strings' memory, and no more.
func TestDecodeAllocations(t *testing.T) {
	for name, most := range map[string]float64{"metadata_received": 9, "peer_discovered": 10, "visit_ended": 3, "visit_ended_watch": 11} {
		e := samples()[name]
		data := wire(e)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := Decode(e.Subject(), data); err != nil {
				t.Fatal(err)
			}
		}); n > most {
			t.Errorf("%s: %v allocations to decode, want at most %v", name, n, most)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range samples() {
		for i := range 3 {
			f.Add(i, wire(e))
		}
	}
	f.Add(1, []byte(`{"metadata":null}`))
	subjects := []string{SubjectPeerDiscovered, SubjectMetadataReceived, SubjectVisitEnded}
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		subject := subjects[uint(i)%3]
		sameAsReference(t, subject, data)
		e, err := Decode(subject, data)
		if err != nil {
			return
		}
		back, err := Decode(subject, wire(e))
		if err != nil {
			t.Fatalf("decoded once, not twice: %v", err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Fatalf("changed on the way (-first +second):\n%s", diff)
		}
	})
}

// FuzzEncode fills events with whatever comes: the decoder must read what
// encoding/json makes of them as encoding/json does.
func FuzzEncode(f *testing.F) {
	f.Add("plain", "enr:-abc", int64(1), uint64(2), []byte{1, 2, 3})
	f.Add(`<a href="x">&\`, "\x00\b\f\n\r\t\x1f\x7f", int64(-1), uint64(math.MaxUint64), []byte{0})
	f.Add("\u2028\u2029é\U0001f600", "\xff\xc3(", int64(math.MinInt64), uint64(0), []byte{})
	f.Fuzz(func(t *testing.T, text, more string, n int64, u uint64, bits []byte) {
		for _, e := range filled(text, more, n, u, bits) {
			sameAsReference(t, e.Subject(), wire(e))
		}
	})
}

// filled are events of each type; bits decides which optional fields are there.
func filled(text, more string, n int64, u uint64, bits []byte) []Event {
	has := func(i int) bool { return len(bits) > 0 && bits[i%len(bits)]>>(i%8)&1 == 1 }
	c := Common{Network: text, CrawlerID: more, CrawlerLocation: text + more, Timestamp: n}
	found := &PeerDiscovered{Common: c, ENR: more, ID: text, Seq: u, IP: text, Port: uint16(u), QUIC: uint16(n)}
	copy(found.NodeID[:], bits)
	m := &MetaData{SeqNumber: u}
	copy(m.Attnets[:], bits)
	handshake := &MetadataReceived{Common: c, ENR: text, ID: more, Multiaddr: text, Epoch: eth2.Epoch(u), ClientVersion: more, VisitID: text, HeadSlot: eth2.Slot(u)}
	visit := &VisitEnded{Common: c, VisitID: more, Part: int(n), More: has(0), ID: text, Started: n, Ended: n, Outcome: text, Error: more}
	watch := &Watch{From: n, To: n}
	for i, b := range bits {
		handshake.SyncSubnets = append(handshake.SyncSubnets, int(b)-1)
		watch.Changes = append(watch.Changes, SubnetChange{At: n, Subnet: int(b), Subscribed: i%2 == 1})
		watch.MetaDataChanges = append(watch.MetaDataChanges, WatchMetaData{At: n, MetaData: *m})
	}
	optional := []func(){
		func() { found.ForkDigest, found.NFD = (*eth2.ForkDigest)(m.Attnets[:4]), &eth2.ForkDigest{} },
		func() { found.NextForkVersion, found.NextForkEpoch = &eth2.Version{}, ptr(eth2.Epoch(u)) },
		func() { found.Attnets, found.Syncnets = &m.Attnets, ptr(eth2.Syncnets(n)) },
		func() { found.CustodyGroupCount, m.CustodyGroupCount = &u, &u },
		func() { m.Syncnets, handshake.NodeID = ptr(eth2.Syncnets(u)), &found.NodeID },
		func() { handshake.EarliestAvailableSlot, handshake.ColumnSubnets = ptr(eth2.Slot(u)), ptr(int(n)) },
		func() { handshake.MetaData, handshake.SubscribedSubnets = m, []int{} },
		func() { visit.GoodbyeCode, visit.HandshakeMS = &u, &n },
		func() { visit.Watch = watch },
		func() { watch.Initial = handshake.SyncSubnets },
		func() {
			for _, c := range []*Common{&found.Common, &handshake.Common, &visit.Common} {
				copy(c.GenesisValidatorsRoot[:], bits)
				c.CrawlerVersion = text
			}
		},
	}
	for i, set := range optional {
		if has(i) {
			set()
		}
	}
	return []Event{found, handshake, visit}
}
