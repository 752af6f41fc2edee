package discv5

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Our record gets the endpoint that hosts in many networks agree on, and none that a single
// network, or nobody, can see.
func TestOurEndpointNeedsManyNetworks(t *testing.T) {
	real4, real6 := "192.31.196.7:9000", "[2a01:4f8:1::7]:9000"
	for name, tt := range map[string]struct {
		from    func(i int) string
		at      string
		private bool
		want    bool
	}{
		"many networks":               {func(i int) string { return fmt.Sprintf("193.1.%d.1", i) }, real4, false, true},
		"one /24":                     {func(i int) string { return fmt.Sprintf("193.1.1.%d", i) }, real4, false, false},
		"many IPv6 networks":          {func(i int) string { return fmt.Sprintf("2a02:4f8:%x::1", i) }, real6, false, true},
		"one /48":                     {func(i int) string { return fmt.Sprintf("2a02:4f8:1:%x::1", i) }, real6, false, false},
		"one /24 as IPv6":             {func(i int) string { return fmt.Sprintf("64:ff9b::193.1.1.%d", i) }, real4, false, false},
		"the other family":            {func(i int) string { return fmt.Sprintf("2a02:4f8:%x::1", i) }, real4, false, false},
		"loopback":                    {func(i int) string { return fmt.Sprintf("193.1.%d.1", i) }, "127.0.0.1:9000", false, false},
		"a private address":           {func(i int) string { return fmt.Sprintf("193.1.%d.1", i) }, "10.0.0.1:9000", false, false},
		"multicast":                   {func(i int) string { return fmt.Sprintf("193.1.%d.1", i) }, "224.0.0.1:9000", true, false},
		"neighbours on a private LAN": {func(i int) string { return fmt.Sprintf("10.0.0.%d", i) }, "10.0.1.1:9000", true, true},
	} {
		key, err := crypto.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		db, err := enode.OpenDB("")
		if err != nil {
			t.Fatal(err)
		}
		tr := &transport{local: enode.NewLocalNode(db, key), allowPrivate: tt.private}
		at := netip.MustParseAddrPort(tt.at)
		for i := range 100 {
			tr.noteEndpoint(netip.MustParseAddr(tt.from(1+i)), at)
		}
		got, _ := tr.local.Node().UDPEndpoint()
		if (got == at) != tt.want || !tt.want && got.Addr().IsValid() {
			t.Errorf("%s: our endpoint is %v, want it to be %v: %v", name, got, at, tt.want)
		}
		db.Close()
	}
}
