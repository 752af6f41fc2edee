package app

import (
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
)

// One message must not decide for good that a data directory is for another network of an
// embedded one's name.
func TestImpostor(t *testing.T) {
	mainnet, err := network.Load("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, network string
		root          eth2.Root
		impostor      bool
	}{
		{"the network's root", "mainnet", mainnet.GenesisValidatorsRoot, false},
		{"no root, by an earlier version", "mainnet", eth2.Root{}, false},
		{"another root", "mainnet", eth2.Root{1}, true},
		{"another network's root", "hoodi", mainnet.GenesisValidatorsRoot, true},
		{"a name that is not embedded", "devnet-7", eth2.Root{1}, false},
	} {
		err := impostor(event.Common{Network: tt.network, GenesisValidatorsRoot: tt.root})
		if (err != nil) != tt.impostor {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && (!strings.Contains(err.Error(), tt.root.String()) || !strings.Contains(err.Error(), "--network-dir")) {
			t.Errorf("%s: the error names neither the root nor the way out: %v", tt.name, err)
		}
	}
}
