package enr_test

import (
	"testing"

	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

func FuzzParseENR(f *testing.F) {
	f.Add("enr:")
	f.Add("enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8")
	f.Add(sign(f, gethenr.WithEntry("attnets", []byte{1, 2, 3})))
	f.Add("\ufeff'-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2Vj\ncDI1NmsxoQPKY0yuDUmstAHYpMa2/oxVtw0RW/QAdpzBQA8yWM0xOIN1ZHCCdl8=',")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := enr.Parse(text)
		if err != nil {
			return
		}
		again, err := enr.Parse(r.Raw)
		if err != nil {
			t.Fatalf("%q: its own text: %v", text, err)
		}
		if diff := cmp.Diff(r, again, compareAddrs); diff != "" {
			t.Errorf("%q: again (-want +got):\n%s", text, diff)
		}
	})
}

// FuzzENREntries signs a record with one arbitrary entry, as a hostile node can:
// the other entries must be read whatever it holds.
func FuzzENREntries(f *testing.F) {
	f.Add("attnets", []byte{0x83, 1, 2, 3})
	f.Add("eth2", []byte{0xc1, 0x80})
	f.Add("cgc", []byte{0x82, 0, 1})
	f.Add("quic", []byte{0x83, 1, 0, 0})
	f.Add("ip", []byte{0x81, 0x7f})
	f.Add("syncnets", []byte{0xb8, 0x01, 0x7f})
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		if key == "id" || key == "secp256k1" || key == "nfd" {
			return
		}
		if _, _, rest, err := rlp.Split(value); err != nil || len(rest) > 0 {
			return // not one value: it would shift the keys after it
		}
		nfd := eth2.ForkDigest{1, 2, 3, 4}
		text, err := trySign(gethenr.WithEntry(key, rlp.RawValue(value)), enr.NFDEntry(nfd))
		if err != nil {
			return // too big
		}
		r, err := enr.Parse(text)
		if err != nil {
			return // not RLP
		}
		if r.NFD == nil || *r.NFD != nfd || r.PeerID == "" {
			t.Errorf("%q %x: other entries lost: %+v", key, value, r)
		}
		if len(r.Errors) > 1 || len(r.Errors) == 1 && r.Errors[0].Key != key {
			t.Errorf("%q %x: errors %v", key, value, r.Errors)
		}
	})
}
