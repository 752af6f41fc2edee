package wire

import (
	"bytes"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

// list is the RLP list of encoded items.
func list(t testing.TB, items ...[]byte) []byte {
	t.Helper()
	raw := make([]rlp.RawValue, len(items))
	for i, item := range items {
		raw[i] = item
	}
	b, err := rlp.EncodeToBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func item(t testing.TB, v any) []byte {
	t.Helper()
	b, err := rlp.EncodeToBytes(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// badRecords are items of the list of records that are not records.
func badRecords(t testing.TB) map[string][]byte {
	good := encodeRecord(t, testRecord(t, enr.UDP(9000)))
	signature := item(t, make([]byte, 64))
	seq, id, v4, udp, port := item(t, uint(1)), item(t, "id"), item(t, "v4"), item(t, "udp"), item(t, uint(9000))
	return map[string][]byte{
		"too large":                 list(t, signature, seq, id, v4, item(t, "zz"), item(t, make([]byte, 250))),
		"unsorted keys":             list(t, signature, seq, udp, port, id, v4),
		"a key twice":               list(t, signature, seq, id, v4, id, v4),
		"a key without value":       list(t, signature, seq, id),
		"no seq":                    list(t, signature),
		"seq of nine bytes":         list(t, signature, item(t, bytes.Repeat([]byte{1}, 9)), id, v4),
		"empty list":                list(t),
		"a string":                  item(t, "record"),
		"an empty string":           item(t, ""),
		"one byte":                  {1},
		"a record in a string":      item(t, good),
		"a record in a list":        list(t, good),
		"a number in a longer form": list(t, signature, []byte{0x81, 0x01}, id, v4),
	}
}

// A record that is none does not cost the valid ones beside it.
func TestInvalidRecordsBesideValidOnes(t *testing.T) {
	var good [][]byte
	for range 3 {
		good = append(good, encodeRecord(t, testRecord(t, enr.UDP(9000))))
	}
	for name, bad := range badRecords(t) {
		for at := range len(good) + 1 {
			records := slices.Insert(slices.Clone(good), at, bad)
			m, err := decodeMessage(append([]byte{typeNodes}, list(t, item(t, []byte{1}), item(t, uint(2)), list(t, records...))...))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			checkRecords(t, name, m.(*Nodes), good, 1)
		}
	}
}

func decodeRecords(m *Nodes) (records []*enr.Record, refused int) {
	for _, raw := range m.Raw {
		if r, err := DecodeRecord(raw); err == nil {
			records = append(records, r)
		} else {
			refused++
		}
	}
	return records, refused
}

func checkRecords(t *testing.T, name string, m *Nodes, want [][]byte, wantRefused int) {
	t.Helper()
	records, refused := decodeRecords(m)
	var got [][]byte
	for _, r := range records {
		got = append(got, encodeRecord(t, r))
	}
	if !reflect.DeepEqual(got, want) || refused != wantRefused {
		t.Errorf("%s: %d records, %d refused, want %d and %d", name, len(got), refused, len(want), wantRefused)
	}
}

// A damaged list, bytes after its end, more fields, and any number of packets do not
// cost the records before.
func TestNodesAroundTheirRecords(t *testing.T) {
	good := [][]byte{encodeRecord(t, testRecord(t)), encodeRecord(t, testRecord(t))}
	id, total, records := item(t, []byte{1}), item(t, uint(2)), list(t, good...)
	broken := list(t, good[0], good[1], []byte{0xf8, 0xff, 1}) // an item that is longer than the list
	for _, tt := range []struct {
		name    string
		body    []byte
		total   uint64
		refused int
	}{
		{"as it should be", list(t, id, total, records), 2, 0},
		{"bytes after the message", append(list(t, id, total, records), 1, 2, 3), 2, 0},
		{"another field", list(t, id, total, records, item(t, "new")), 2, 0},
		{"a broken list", list(t, id, total, broken), 2, 1},
		{"300 packets", list(t, id, item(t, uint(300)), records), 300, 0},
		{"no packets", list(t, id, item(t, uint(0)), records), 0, 0},
		{"without request id", list(t, item(t, ""), total, records), 2, 0},
	} {
		m, err := decodeMessage(append([]byte{typeNodes}, tt.body...))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if nodes := m.(*Nodes); nodes.Total != tt.total {
			t.Errorf("%s: %d packets, want %d", tt.name, nodes.Total, tt.total)
		}
		checkRecords(t, tt.name, m.(*Nodes), good, tt.refused)
	}
}

func TestMalformedMessages(t *testing.T) {
	id, total := item(t, []byte{1}), item(t, uint(2))
	for name, b := range map[string][]byte{
		"empty":                        {},
		"of no known type":             append([]byte{9}, list(t, id)...),
		"without body":                 {typeNodes},
		"cut":                          {typeNodes, 0xc8, 1, 2},
		"NODES without records":        append([]byte{typeNodes}, list(t, id, total)...),
		"NODES with a string":          append([]byte{typeNodes}, list(t, id, total, item(t, "x"))...),
		"NODES with a long request id": append([]byte{typeNodes}, list(t, item(t, make([]byte, 9)), total, list(t))...),
		"PING with a long request id":  append([]byte{typePing}, list(t, item(t, make([]byte, 9)), total)...),
		"PING without seq":             append([]byte{typePing}, list(t, id)...),
	} {
		if m, err := decodeMessage(b); err == nil {
			t.Errorf("%s: read as %+v", name, m)
		}
	}
}

func TestPongEndpoint(t *testing.T) {
	for _, tt := range []struct {
		pong Pong
		want netip.AddrPort
		ok   bool
	}{
		{Pong{ToIP: []byte{1, 2, 3, 4}, ToPort: 9}, netip.MustParseAddrPort("1.2.3.4:9"), true},
		{Pong{ToIP: netip.MustParseAddr("::ffff:1.2.3.4").AsSlice(), ToPort: 9}, netip.MustParseAddrPort("1.2.3.4:9"), true},
		{Pong{ToIP: netip.MustParseAddr("2001:db8::1").AsSlice(), ToPort: 9}, netip.MustParseAddrPort("[2001:db8::1]:9"), true},
		{Pong{ToIP: []byte{1, 2, 3}, ToPort: 9}, netip.AddrPort{}, false},
		{Pong{ToIP: []byte{1, 2, 3, 4}}, netip.AddrPort{}, false},
	} {
		if got, ok := tt.pong.Endpoint(); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%+v: %v, %v", tt.pong, got, ok)
		}
	}
}

// Whatever is read can be encoded again, and read as the same.
func FuzzDecodeMessage(f *testing.F) {
	for _, m := range messages(f) {
		b, err := encodeMessage(m.ours)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, bad := range badRecords(f) {
		f.Add(append([]byte{typeNodes}, list(f, item(f, []byte{1}), item(f, uint(2)), list(f, bad))...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b)
		if err != nil {
			return
		}
		nodes, ok := m.(*Nodes)
		if ok {
			if records, refused := decodeRecords(nodes); len(records)+refused != len(nodes.Raw) {
				t.Errorf("%d records and %d refused of %d", len(records), refused, len(nodes.Raw))
			}
			for _, raw := range nodes.Raw {
				if _, _, err := rlp.SplitString(raw); err != nil {
					if _, _, err := rlp.SplitList(raw); err != nil {
						return // cannot be encoded
					}
				}
			}
		}
		again, err := encodeMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeMessage(again); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v was read as %+v, %v", m, got, err)
		}
	})
}

// A packet from anybody is an error, a request for a handshake, or what its sender sent.
func FuzzDecodePacket(f *testing.F) {
	for _, packet := range []string{pingPacket, whoareyouPacket, handshakePacket, handshakeRecordPacket} {
		f.Add(unhex(f, packet), false)
		f.Add(unhex(f, packet), true)
	}
	b := newParty(f, keyB)
	a := Peer{enode.PubkeyToIDV4(&privateKey(f, keyA).PublicKey), b.addr}
	f.Fuzz(func(t *testing.T, packet []byte, unmasked bool) {
		c := NewCodec(b.local, b.key, enode.ValidSchemes)
		c.begin(a, keys{}, 0)
		c.EncodeWhoareyou(a, Nonce{}, nil)
		if unmasked && len(packet) >= headerSize {
			// Fuzzing cannot guess a mask.
			packet = bytes.Clone(packet)
			copy(packet[ivSize:], protocolID)
			packet[ivSize+6], packet[ivSize+7] = 0, version
			size := int(packet[headerSize-2])<<8 | int(packet[headerSize-1])
			mask(b.local.ID(), packet[:min(headerSize+size, len(packet))])
		}
		before := bytes.Clone(packet)
		got, err := c.Decode(packet, b.addr)
		if !bytes.Equal(packet, before) {
			t.Error("the packet was changed")
		}
		if err == nil && got.Node != nil && got.Node.ID() != a.ID {
			t.Error("a handshake of another node")
		}
	})
}
