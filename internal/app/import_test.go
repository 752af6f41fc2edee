package app

import (
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// Two networks are one only if nothing that is known of both differs.
func TestSameNetwork(t *testing.T) {
	known := network.Network{Name: "devnet", GenesisValidatorsRoot: eth2.Root{1}, GenesisTime: time.Unix(1_700_000_000, 0)}
	for name, c := range map[string]struct {
		change func(*network.Network)
		same   bool
	}{
		"equal":               {func(*network.Network) {}, true},
		"another name":        {func(n *network.Network) { n.Name = "other" }, false},
		"another root":        {func(n *network.Network) { n.GenesisValidatorsRoot = eth2.Root{2} }, false},
		"unknown root":        {func(n *network.Network) { n.GenesisValidatorsRoot = eth2.Root{} }, true},
		"began at another":    {func(n *network.Network) { n.GenesisTime = n.GenesisTime.Add(time.Second) }, false},
		"not known when":      {func(n *network.Network) { n.GenesisTime = time.Time{} }, true},
		"in another place":    {func(n *network.Network) { n.GenesisTime = n.GenesisTime.In(time.FixedZone("", 3600)) }, true},
		"only the name known": {func(n *network.Network) { *n = network.Network{Name: n.Name} }, true},
	} {
		other := known
		c.change(&other)
		a, b := DirNetwork{Network: known}, DirNetwork{Network: other}
		if sameNetwork(a, b) != c.same || sameNetwork(b, a) != c.same {
			t.Errorf("%s: want %t", name, c.same)
		}
	}
}
