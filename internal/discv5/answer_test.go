package discv5

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/chainbound/valtrack/internal/discv5/wire"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

func rawRecord(t testing.TB, r *gethenr.Record) rlp.RawValue {
	t.Helper()
	raw, err := rlp.EncodeToBytes(r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func rawRecords(t testing.TB, nodes []*enode.Node) (list []rlp.RawValue) {
	t.Helper()
	for _, n := range nodes {
		list = append(list, rawRecord(t, n.Record()))
	}
	return list
}

// rlpList is a list of any values.
func rlpList(t testing.TB, values ...any) rlp.RawValue {
	t.Helper()
	b, err := rlp.EncodeToBytes(values)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// namelessScheme is an identity scheme that nobody knows.
type namelessScheme struct{}

func (namelessScheme) Verify(*gethenr.Record, []byte) error { return nil }
func (namelessScheme) NodeAddr(*gethenr.Record) []byte      { return make([]byte, 32) }

// invalidRecords are records, or what stands in their place, by what is wrong with
// them, and the reason for which they are refused.
func invalidRecords(t testing.TB) map[string]struct {
	raw    rlp.RawValue
	reason string
} {
	_, key := testKey(t)
	signature := make([]byte, 64)
	var v9 gethenr.Record
	v9.Set(gethenr.ID("v9"))
	if err := v9.SetSig(namelessScheme{}, signature); err != nil {
		t.Fatal(err)
	}
	return map[string]struct {
		raw    rlp.RawValue
		reason string
	}{
		"too large":               {rlpList(t, signature, uint(1), "id", "v4", "zz", make([]byte, 300)), "encoding"},
		"unsorted keys":           {rlpList(t, signature, uint(1), "udp", uint(9000), "id", "v4"), "encoding"},
		"a key twice":             {rlpList(t, signature, uint(1), "id", "v4", "id", "v4"), "encoding"},
		"not a list":              {rlp.RawValue{0x83, 1, 2, 3}, "encoding"},
		"a bad signature":         {rawRecord(t, forged(t, signedRecord(t, key, 1))), "signature"},
		"unknown identity scheme": {rawRecord(t, &v9), "signature"},
		"longer than the packet":  {rlp.RawValue{0xf9, 0xff, 0xff, 1}, "encoding"},
	}
}

// An invalid record costs itself only, and is counted.
func TestInvalidRecordsBesideValidOnes(t *testing.T) {
	forkID := testForkID(1)
	for name, bad := range invalidRecords(t) {
		t.Run(name, func(t *testing.T) {
			var records []rlp.RawValue
			s := newServer(t, forkID, nil)
			s.with(func() {
				s.rawAnswer = func([]uint) []*rawNodes { return []*rawNodes{{RespCount: 1, Records: records}} }
			})
			good := s.atDistance(t, 256, 3, forkID)
			raw := rawRecords(t, good)
			at := 1
			if name == "longer than the packet" { // nothing can be read after it
				at = 3
			}
			records = slices.Insert(raw, at, bad.raw)
			f := newFinder(t, nil)
			got := f.query(t.Context(), visitOf(t, f.newCrawl(func(enr.Record) {}), s, []uint{256}, nil))
			if !sameNodes(got.near, good) || got.nearCut {
				t.Errorf("%d of %d valid records kept, cut %v", len(got.near), len(good), got.nearCut)
			}
			stats := f.Stats()
			if stats.Records != 3 || stats.Refused[bad.reason] != 1 || len(s.requests()) != 1 {
				t.Errorf("%d requests, counts %+v, want one refused for its %s", len(s.requests()), stats, bad.reason)
			}
		})
	}
}

func sameNodes(got, want []*enode.Node) bool {
	return slices.EqualFunc(got, want, func(a, b *enode.Node) bool { return a.String() == b.String() })
}

// A full answer in any number of packets is kept.
func TestAnswersInManyPackets(t *testing.T) {
	forkID := testForkID(1)
	for _, each := range []int{1, 2, 3, 4} {
		var all []*enode.Node
		s := newServer(t, forkID, nil)
		s.with(func() {
			s.rawAnswer = func([]uint) []*rawNodes { return rawPacked(t, all, each) }
		})
		all = s.atDistance(t, 256, bucketSize, forkID)
		f := newFinder(t, nil)
		got := f.query(t.Context(), visitOf(t, f.newCrawl(func(enr.Record) {}), s, []uint{256}, nil))
		// There is room for no more, so there may be more.
		if !sameNodes(got.near, all) || !got.nearCut || len(s.requests()) != 1 {
			t.Errorf("%d a packet: %d of %d found in %d requests, cut %v", each, len(got.near), len(all), len(s.requests()), got.nearCut)
		}
	}
}

func TestAnswerEndsWithItsLastPacket(t *testing.T) {
	_, key := testKey(t)
	n := nodeOf(t, key, 1, nil)
	raw := rawRecord(t, n.Record())
	var from enode.ID
	distance := uint(enode.LogDist(from, n.ID()))
	for _, tt := range []struct {
		name   string
		totals []uint64 // of the packets that come
		ends   bool
		cut    bool
	}{
		{"one of one", []uint64{1}, true, false},
		{"one of none", []uint64{0}, true, false},
		{"one of two", []uint64{2}, false, true},
		{"two of two", []uint64{2, 2}, true, false},
		{"more than at first", []uint64{2, 3}, false, true},
		{"16 of 16", slices.Repeat([]uint64{16}, 16), true, true}, // 16 records
		{"16 of 17", slices.Repeat([]uint64{17}, 16), true, true},
		{"one of very many", []uint64{1 << 63}, false, true},
	} {
		a := answer{from: from, addr: netip.MustParseAddr("127.0.0.1"), distances: []uint{distance}, schemes: newVerified(64)}
		var ended bool
		for _, total := range tt.totals {
			if ended {
				t.Errorf("%s: ended after %d packets", tt.name, a.packets)
			}
			ended = a.add(&wire.Nodes{Total: total, Raw: []rlp.RawValue{raw}})
		}
		if ended != tt.ends || a.cut() != tt.cut || len(a.nodes) != 1 {
			t.Errorf("%s: ended %v, cut %v, %d nodes", tt.name, ended, a.cut(), len(a.nodes))
		}
	}
}

// Of a node's records the highest seq is kept, in any order. What was not asked for, or
// has an address that the node cannot know of, is refused.
func TestAnswerKeepsWhatBelongsToIt(t *testing.T) {
	_, key := testKey(t)
	first, second := nodeOf(t, key, 1, nil), nodeOf(t, key, 2, nil)
	var from enode.ID
	distance := uint(enode.LogDist(from, first.ID()))
	for _, order := range [][]*enode.Node{{first, second}, {second, first}} {
		a := answer{from: from, addr: netip.MustParseAddr("127.0.0.1"), distances: []uint{distance}, schemes: newVerified(64)}
		a.add(&wire.Nodes{Total: 1, Raw: rawRecords(t, order)})
		if !sameNodes(a.nodes, []*enode.Node{second}) {
			t.Errorf("kept %v", a.nodes)
		}
	}
	a := answer{from: from, addr: netip.MustParseAddr("127.0.0.1"), distances: []uint{distance - 1}, schemes: newVerified(64)}
	a.add(&wire.Nodes{Total: 1, Raw: rawRecords(t, []*enode.Node{first})})
	if len(a.nodes) != 0 || a.refused.distance != 1 {
		t.Errorf("another distance: kept %v, refused %+v", a.nodes, a.refused)
	}
	a = answer{from: from, addr: netip.MustParseAddr("8.8.8.8"), distances: []uint{distance}, schemes: newVerified(64)}
	a.add(&wire.Nodes{Total: 1, Raw: rawRecords(t, []*enode.Node{first})})
	if len(a.nodes) != 0 || a.refused.address != 1 {
		t.Errorf("loopback from afar: kept %v, refused %+v", a.nodes, a.refused)
	}
}

// The records that are checked in an answer are bounded by what a node can have.
func TestAnswerIsBounded(t *testing.T) {
	raw := rawRecord(t, testNode(t, nil).Record())
	a := answer{addr: netip.MustParseAddr("127.0.0.1"), distances: []uint{1}, schemes: newVerified(64)}
	for range maxAnswerPackets {
		a.add(&wire.Nodes{Total: 1 << 20, Raw: slices.Repeat([]rlp.RawValue{raw}, 5)})
	}
	if got := a.refused.distance; got != bucketSize || !a.cut() {
		t.Errorf("%d records were checked, cut %v", got, a.cut())
	}
}
