package enr_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// encode gives the RLP of an entry's value.
func encode(t *testing.T, e gethenr.Entry) []byte {
	t.Helper()
	b, err := rlp.EncodeToBytes(e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The client entry (EIP-7636) of a record, whoever wrote what into it.
func TestClientEntry(t *testing.T) {
	long := strings.Repeat("x", 100)
	for name, c := range map[string]struct {
		value any // of the entry
		want  *enr.Client
		fails bool
	}{
		"name and version": {[]string{"Geth", "v1.14.0"}, &enr.Client{Name: "Geth", Version: "v1.14.0"}, false},
		"with a build":     {[]string{"Nimbus", "v24", "ab12"}, &enr.Client{Name: "Nimbus", Version: "v24", Build: "ab12"}, false},
		"not printable":    {[]string{"\x1b[31m", long}, &enr.Client{Name: "\x1b[31m", Version: long}, false},
		"empty":            {[]string{"", ""}, &enr.Client{}, false},
		"a string":         {"Geth", nil, true},
		"a name alone":     {[]string{"Geth"}, nil, true},
		"four":             {[]string{"a", "b", "c", "d"}, nil, true},
		"lists":            {[][]string{{"a"}, {"b"}}, nil, true},
	} {
		got, err := enr.ClientOf(sign(t, gethenr.WithEntry("client", c.value)))
		if (err != nil) != c.fails || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := enr.ClientOf(sign(t)); got != nil || err != nil {
		t.Errorf("without: %+v, %v", got, err)
	}
	if got, err := enr.ClientOf(sign(t, enr.ClientEntry("valtrack", "v0.1.0"))); err != nil || *got != (enr.Client{Name: "valtrack", Version: "v0.1.0"}) {
		t.Errorf("ours: %+v, %v", got, err)
	}
}

func TestEntryVectors(t *testing.T) {
	var file struct {
		Eth2 []struct{ Network, Eth2, NFD string }
		CGC  map[string]string
	}
	data, err := os.ReadFile("../testdata/enr_fields.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Eth2) == 0 || len(file.CGC) == 0 {
		t.Fatal("no vectors")
	}
	for count, value := range file.CGC {
		n, err := strconv.ParseUint(count, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		entry := enr.CGCEntry(n)
		if got := encode(t, entry); !bytes.Equal(got, rlpString(t, value)) {
			t.Errorf("cgc %d: %x, want the string %s", n, got, value)
		}
		r, err := enr.Parse(sign(t, entry))
		if err != nil || r.CustodyGroupCount == nil || *r.CustodyGroupCount != n || len(r.Errors) > 0 {
			t.Errorf("cgc %d decoded: %+v, %v", n, r, err)
		}
	}
	for _, v := range file.Eth2 {
		var id eth2.ENRForkID
		if err := id.UnmarshalSSZ(hexBytes(t, v.Eth2)); err != nil {
			t.Fatal(err)
		}
		nfd := eth2.ForkDigest(hexBytes(t, v.NFD))
		if got := encode(t, enr.Eth2Entry(id)); !bytes.Equal(got, rlpString(t, v.Eth2)) {
			t.Errorf("eth2 %s: %x", v.Eth2, got)
		}
		if got := encode(t, enr.NFDEntry(nfd)); !bytes.Equal(got, rlpString(t, v.NFD)) {
			t.Errorf("nfd %s: %x", v.NFD, got)
		}
		r, err := enr.Parse(sign(t, enr.Eth2Entry(id), enr.NFDEntry(nfd)))
		if err != nil || r.Eth2 == nil || *r.Eth2 != id || r.NFD == nil || *r.NFD != nfd {
			t.Errorf("%s %s decoded: %+v, %v", v.Network, v.Eth2, r, err)
		}
	}
}

func rlpString(t *testing.T, value string) []byte {
	t.Helper()
	b, err := rlp.EncodeToBytes(hexBytes(t, value))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func hexBytes(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPeerIDRefuses(t *testing.T) {
	for _, id := range []string{
		"",
		"16Uiu2HA",
		"16Uiu2HAm9dqnTSYPpqFevmJXXvRUavRzcEuYPVS2htkoQLumpu4",   // cut
		"16Uiu2HAm9dqnTSYPpqFevmJXXvRUavRzcEuYPVS2htkoQLumpu4w1", // longer
		"16Uiu2HAm9dqnTSYPpqFevmJXXvRUavRzcEuYPVS2htkoQLumpu40",  // 0 is not base58
		"12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",   // Ed25519
		"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",         // RSA
		string(make([]byte, 1<<20)),
	} {
		if got, err := enr.NodeIDFromPeerID(id); err == nil {
			t.Errorf("%.80q: %s, want an error", id, got)
		}
	}
	for _, key := range [][]byte{nil, make([]byte, 32), make([]byte, 33), bytes.Repeat([]byte{0xff}, 33), make([]byte, 65)} {
		if got, err := enr.PeerIDFromKey(key); err == nil {
			t.Errorf("key %x: %s, want an error", key, got)
		}
	}
}
