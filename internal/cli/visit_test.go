package cli

import (
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/report"
)

// A node is visited at the address that was typed, unless it came from there to us.
func TestAddressesOfKnownNodes(t *testing.T) {
	const typed, newest = "/ip4/192.0.2.1/tcp/9000", "/ip4/192.0.2.2/tcp/9000"
	node := report.Node{ID: "16Uiu2", ENR: "enr:-x", Multiaddr: newest}
	for _, c := range []struct {
		direction, text string
		want            []string
	}{
		{event.Outbound, typed, []string{typed + "/p2p/16Uiu2", "enr:-x", newest + "/p2p/16Uiu2"}},
		{event.Outbound, typed + "/p2p/16Uiu2", []string{typed + "/p2p/16Uiu2", "enr:-x", newest + "/p2p/16Uiu2"}},
		{event.Inbound, typed, []string{"enr:-x", typed + "/p2p/16Uiu2", newest + "/p2p/16Uiu2"}},
		{event.Outbound, "/p2p/16Uiu2", []string{"/p2p/16Uiu2", "enr:-x", newest + "/p2p/16Uiu2"}},
	} {
		n := node
		n.Direction = c.direction
		if got := addressesOf(&n, c.text); !slices.Equal(got, c.want) {
			t.Errorf("%s, %s: %q, want %q", c.text, c.direction, got, c.want)
		}
	}
}
