package enr_test

import (
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// sign makes a record of the entries with a fixed key and gives its text form.
func sign(t testing.TB, entries ...gethenr.Entry) string {
	t.Helper()
	text, err := trySign(entries...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func trySign(entries ...gethenr.Entry) (string, error) {
	key, err := crypto.HexToECDSA("b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291")
	if err != nil {
		return "", err
	}
	var r gethenr.Record
	for _, e := range entries {
		r.Set(e)
	}
	if err := enode.SignV4(&r, key); err != nil {
		return "", err
	}
	n, err := enode.New(enode.ValidSchemes, &r)
	if err != nil {
		return "", err
	}
	return n.String(), nil
}

func ptr[T any](v T) *T { return &v }

var ignoreIdentity = cmpopts.IgnoreFields(enr.Record{}, "Raw", "Seq", "NodeID", "PeerID")

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestParseEveryEntry(t *testing.T) {
	forkID := eth2.ENRForkID{ForkDigest: eth2.ForkDigest{1, 2, 3, 4}, NextForkVersion: eth2.Version{5}, NextForkEpoch: eth2.FarFutureEpoch}
	text := sign(t,
		gethenr.IPv4{127, 0, 0, 1}, gethenr.IPv6(netip.MustParseAddr("fe80::1").AsSlice()),
		gethenr.UDP(9000), gethenr.TCP(9001), enr.QUICEntry(9002),
		gethenr.UDP6(9003), gethenr.TCP6(9004), enr.QUIC6Entry(65535),
		enr.Eth2Entry(forkID), enr.AttnetsEntry(eth2.NewAttnets([]int{0, 63})), enr.SyncnetsEntry(0x0f),
		enr.CGCEntry(128), enr.NFDEntry(eth2.ForkDigest{9, 8, 7, 6}),
	)
	got, err := enr.Parse("  " + text + "\n")
	if err != nil {
		t.Fatal(err)
	}
	want := enr.Record{
		IP4: netip.MustParseAddr("127.0.0.1"), IP6: netip.MustParseAddr("fe80::1"),
		UDP: 9000, TCP: 9001, QUIC: 9002, UDP6: 9003, TCP6: 9004, QUIC6: 65535,
		Eth2: &forkID, Attnets: &eth2.Attnets{1, 0, 0, 0, 0, 0, 0, 0x80}, Syncnets: ptr(eth2.Syncnets(0x0f)),
		CustodyGroupCount: ptr(uint64(128)), NFD: &eth2.ForkDigest{9, 8, 7, 6},
	}
	if diff := cmp.Diff(want, got, ignoreIdentity, compareAddrs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The key is EIP-778's example.
	if want := "0xa448f24c6d18e575453db13171562b71999873db5b286df957af199ec94617f7"; got.NodeID.String() != want {
		t.Errorf("node id %s, want %s", got.NodeID, want)
	}
	if got.Raw != text {
		t.Errorf("raw %s, want %s", got.Raw, text)
	}
	id, err := enr.NodeIDFromPeerID(got.PeerID)
	if err != nil || id != got.NodeID {
		t.Errorf("node id of peer id %s: %s, %v: want %s", got.PeerID, id, err, got.NodeID)
	}
}

// EIP-778's own example, and a record with no consensus entry.
func TestParseEIP778(t *testing.T) {
	r, err := enr.Parse("enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8")
	if err != nil {
		t.Fatal(err)
	}
	want := enr.Record{IP4: netip.MustParseAddr("127.0.0.1"), UDP: 30303}
	if diff := cmp.Diff(want, r, ignoreIdentity, compareAddrs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMalformedEntries(t *testing.T) {
	raw := func(key string, value ...byte) gethenr.Entry { return gethenr.WithEntry(key, value) }
	for _, tt := range []struct {
		name  string
		entry gethenr.Entry
	}{
		{"attnets", raw("attnets", 1, 2, 3)}, // crashed the earlier implementation
		{"attnets", raw("attnets")},
		{"attnets", raw("attnets", 1, 2, 3, 4, 5, 6, 7, 8, 9)},
		{"attnets", gethenr.WithEntry("attnets", [][]byte{{1}})},
		{"syncnets", raw("syncnets")},
		{"syncnets", raw("syncnets", 0x10)},
		{"syncnets", raw("syncnets", 1, 0)},
		{"eth2", raw("eth2", make([]byte, 15)...)},
		{"eth2", raw("eth2", make([]byte, 17)...)},
		{"eth2", gethenr.WithEntry("eth2", []uint64{1, 2})},
		{"cgc", raw("cgc", 0)},
		{"cgc", raw("cgc", 0, 4)},
		{"cgc", raw("cgc", 128, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"cgc", gethenr.WithEntry("cgc", rlp.RawValue{0x81, 0x04})},
		{"nfd", raw("nfd", 1, 2, 3)},
		{"nfd", raw("nfd")},
		{"quic", gethenr.WithEntry("quic", uint64(65536))},
		{"quic", raw("quic", 0, 80)},
		{"quic6", raw("quic6", 1, 2, 3)},
		{"tcp", gethenr.WithEntry("tcp", uint64(1<<40))},
		{"udp", raw("udp", 0)},
		{"tcp6", gethenr.WithEntry("tcp6", uint64(1<<63))},
		{"udp6", raw("udp6", 1, 1, 1)},
		{"ip", raw("ip", 127, 0, 0)},
		{"ip", raw("ip", make([]byte, 16)...)},
		{"ip6", raw("ip6", 127, 0, 0, 1)},
	} {
		// A good record around it, less the entry itself.
		entries := []gethenr.Entry{
			gethenr.IPv4{10, 0, 0, 1}, gethenr.TCP(9000), enr.QUICEntry(9001),
			enr.Eth2Entry(eth2.ENRForkID{NextForkEpoch: 7}), enr.AttnetsEntry(eth2.Attnets{3}), enr.SyncnetsEntry(1), enr.CGCEntry(4),
		}
		good := entryKeys(t, entries)
		got, err := enr.Parse(sign(t, append(entries, tt.entry)...))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if len(got.Errors) != 1 || got.Errors[0].Key != tt.name || got.Errors[0].Err == "" {
			t.Errorf("%s: errors %v, want one", tt.name, got.Errors)
		}
		want := slices.DeleteFunc(good, func(key string) bool { return key == tt.name })
		if diff := cmp.Diff(want, presentKeys(got)); diff != "" {
			t.Errorf("%s: entries left (-want +got):\n%s", tt.name, diff)
		}
	}
}

func entryKeys(t *testing.T, entries []gethenr.Entry) []string {
	r, err := enr.Parse(sign(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	return presentKeys(r)
}

func presentKeys(r enr.Record) (keys []string) {
	for key, present := range map[string]bool{
		"secp256k1": r.PeerID != "", "ip": r.IP4.IsValid(), "ip6": r.IP6.IsValid(),
		"tcp": r.TCP != 0, "udp": r.UDP != 0, "quic": r.QUIC != 0, "tcp6": r.TCP6 != 0, "udp6": r.UDP6 != 0, "quic6": r.QUIC6 != 0,
		"eth2": r.Eth2 != nil, "attnets": r.Attnets != nil, "syncnets": r.Syncnets != nil, "cgc": r.CustodyGroupCount != nil, "nfd": r.NFD != nil,
	} {
		if present {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Every form in which people paste a record gives the record, and Raw its usual form.
func TestParsePasted(t *testing.T) {
	good := sign(t, gethenr.TCP(9000), gethenr.IPv4{127, 0, 0, 1}, enr.AttnetsEntry(eth2.Attnets{0xff, 0xfe}), enr.QUICEntry(9001))
	want, err := enr.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	bare := strings.TrimPrefix(good, "enr:")
	if bare[0] != '-' || !strings.ContainsAny(bare, "_") {
		t.Fatalf("%s does not have the characters of this test", bare)
	}
	raw, err := base64.RawURLEncoding.DecodeString(bare)
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]string{
		"no prefix":       bare,
		"upper case":      "ENR:" + bare,
		"quoted":          `"` + good + `"`,
		"quoted bare":     "'" + bare + "'",
		"back quotes":     "`" + good + "`",
		"list item":       `  "` + good + `",` + "\r\n",
		"byte order mark": "\ufeff" + good,
		"wrapped":         good[:70] + "\n    " + good[70:140] + "\r\n" + good[140:],
		"one = too many":  good + "=",
		"URL":             "enr://" + bare,
		"standard base64": "enr:" + base64.StdEncoding.EncodeToString(raw),
		"bare standard":   base64.RawStdEncoding.EncodeToString(raw),
		"padded":          "enr:" + base64.URLEncoding.EncodeToString(raw),
		"double padded":   good + "==",
	}
	for name, text := range forms {
		got, err := enr.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for text, bareRecord := range map[string]bool{
		bare: true, bare + "==": true, bare[:90]: true, good: false, "": false, "-": false, "-l": false, "--log-level": false,
		"--" + bare: false, "-n=nats://" + strings.Repeat("a", 100): false, "-n" + strings.Repeat("=", 100): false,
	} {
		if enr.IsBare(text) != bareRecord {
			t.Errorf("IsBare(%q) is not %v", text, bareRecord)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := sign(t, gethenr.TCP(9000))
	for name, text := range map[string]string{
		"empty":               "",
		"prefix alone":        "enr:", // what the earlier implementation wrote for a peer without a record
		"multiaddr":           "/ip4/127.0.0.1/tcp/9000",
		"peer id":             "16Uiu2HAm9dqnTSYPpqFevmJXXvRUavRzcEuYPVS2htkoQLumpu4w",
		"cut, no prefix":      good[4 : len(good)-4],
		"two bare at once":    good[4:] + "\n" + good[4:],
		"enode URL":           "enode://ca634cae0d49acb401d8a4c6b6fe8c55b70d115bf400769cc1400f3258cd31387574077f301b421bc84df7266c44e9e6d569fc56be00812904767bf5ccd1fc7f@127.0.0.1:9000",
		"bad base64":          good + "!",
		"cut":                 good[:len(good)-4],
		"trailing bytes":      good + "AAAA",
		"signature":           good[:12] + flip(good[12]) + good[13:],
		"over 300 bytes":      "enr:" + strings.Repeat("A", 401),
		"a megabyte":          "enr:" + strings.Repeat("A", 1<<20),
		"deep list":           "enr:" + strings.Repeat("-v__", 100),
		"another identity":    "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY1gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8",
		"bytes beyond ASCII":  "enr:\xff\xff\xff",
		"two records at once": good + "\n" + good,
	} {
		r, err := enr.Parse(text)
		if err == nil {
			t.Errorf("%s: %+v, want an error", name, r)
			continue
		}
		if len(err.Error()) > 600 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// The 173 rows of the earlier implementation's published sample; 44 have no record.
func TestSampleRecords(t *testing.T) {
	f, err := os.Open("../testdata/sample_peers.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	decoded, empty, sameAttnets := 0, 0, 0
	for _, row := range rows[1:] {
		text, peerID, attnets := row[0], row[1], row[3]
		nodeID, err := enr.NodeIDFromPeerID(peerID)
		if err != nil {
			t.Error(err)
		}
		if text == "enr:" {
			empty++
			continue
		}
		r, err := enr.Parse(text)
		if err != nil {
			t.Error(err)
			continue
		}
		decoded++
		if len(r.Errors) > 0 || r.Raw != text {
			t.Errorf("%s: errors %v, raw %s", text, r.Errors, r.Raw)
		}
		if r.PeerID != peerID || r.NodeID != nodeID {
			t.Errorf("%s: peer id %s, node id %s: want %s, %s", text, r.PeerID, r.NodeID, peerID, nodeID)
		}
		if !r.IP4.IsValid() || r.Eth2 == nil || r.Eth2.ForkDigest != (eth2.ForkDigest{0x6a, 0x95, 0xa1, 0xa9}) {
			t.Errorf("%s: ip %s, eth2 %v: want an address and Deneb's digest", text, r.IP4, r.Eth2)
		}
		if r.Attnets != nil && r.Attnets.String() == "0x"+attnets {
			sameAttnets++
		}
	}
	if decoded != 129 || empty != 44 {
		t.Errorf("%d records decoded, %d rows without one: want 129 and 44", decoded, empty)
	}
	// Some nodes changed their subnets between publishing the record and the visit.
	if sameAttnets != 122 {
		t.Errorf("attnets of record and MetaData are the same in %d rows, want 122", sameAttnets)
	}
}

// An error names the text and says what is expected, whatever is wrong with it.
func TestErrorsSayWhatIsExpected(t *testing.T) {
	whole := sign(t, gethenr.UDP(9000))
	wrongSignature := []byte(whole)
	if wrongSignature[20] != 'A' {
		wrongSignature[20] = 'A'
	} else {
		wrongSignature[20] = 'B'
	}
	for _, test := range []struct{ text, why string }{
		{"enr:abc", "incomplete or damaged"},
		{"abc", "incomplete or damaged"},
		{whole[:len(whole)/2], "damaged"},
		{"1.2.3.4:9000", "not base64"},
		{string(wrongSignature), "signature is wrong"},
		{"enr:", "empty"},
		{"", "empty"},
		{"enode://abc@1.2.3.4:5", `which begins with "enr:"`},
		{"enr:" + strings.Repeat("A", 500), "characters"},
	} {
		_, err := enr.Parse(test.text)
		if err == nil {
			t.Errorf("%q is parsed", test.text)
			continue
		}
		got := err.Error()
		if !strings.HasPrefix(got, fmt.Sprintf("ENR %.80q: ", test.text)) || !strings.Contains(got, test.why) || strings.Contains(got, `": rlp: `) {
			t.Errorf("%q: %s", test.text, got)
		}
	}
}
