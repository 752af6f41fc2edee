package consumer

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
)

// Enrichers returns the enrichers that need nothing but the event. They remember what
// many handshakes have in common.
func Enrichers() []Enricher {
	return []Enricher{&subnetColumns{}, &clientColumns{agents: map[string]client{}}}
}

// subnetColumns derives the peer's long-lived subnets, the rule that they follow, those
// that it should keep by that rule, and the rest, which it joined for the duties of its
// validators.
// No subnets at all are an observation too.
type subnetColumns struct{ longLived eth2.SubnetCache }

// Enrich implements Enricher.
func (c *subnetColumns) Enrich(e *event.MetadataReceived, row *dataset.ValidatorRow) {
	row.LongLivedSubnets = dataset.List(e.MetaData.Attnets.Subnets())
	if id, ok := nodeID(e); ok {
		if row.NodeID == nil {
			text := id.String()
			row.NodeID = &text
		}
		rule, expected := c.longLived.LongLived(id, e.Epoch, e.MetaData.Attnets)
		row.ExpectedSubnets, row.SubnetRule = dataset.List(expected[:]), known(string(rule))
	}
	row.ShortLivedSubnets = without(row.SubscribedSubnets, row.LongLivedSubnets)
	row.AllSubnets = len(row.LongLivedSubnets) == eth2.AttestationSubnetCount || len(row.SubscribedSubnets) == eth2.AttestationSubnetCount
}

// nodeID is the event's, or else that of the peer id's key. There is none for a
// peer whose key is not secp256k1.
func nodeID(e *event.MetadataReceived) (eth2.NodeID, bool) {
	if e.NodeID != nil {
		return *e.NodeID, true
	}
	id, err := enr.NodeIDFromPeerID(e.ID)
	return id, err == nil
}

// without gives the subnets that are not in remove; nil only for nil.
func without(subnets, remove []int32) []int32 {
	if subnets == nil {
		return nil
	}
	out := make([]int32, 0, len(subnets))
	for _, s := range subnets {
		if !slices.Contains(remove, s) {
			out = append(out, s)
		}
	}
	return out
}

// maxAgents bounds the agent strings that clientColumns remembers: peers choose them.
const maxAgents = 4096

// clientColumns reads the agent string.
type clientColumns struct{ agents map[string]client }

type client struct {
	kind              string
	release, os, arch *string // nil where the agent string does not say
}

// Enrich implements Enricher.
func (c *clientColumns) Enrich(e *event.MetadataReceived, row *dataset.ValidatorRow) {
	client, ok := c.agents[e.ClientVersion]
	if !ok {
		client = c.remember(e.ClientVersion)
	}
	row.Client, row.ClientRelease, row.OS, row.Arch = client.kind, client.release, client.os, client.arch
}

func (c *clientColumns) remember(agent string) client {
	agent = strings.Clone(agent) // the event's is a part of its message, which must not stay in memory
	parsed := eth2.ParseAgent(agent)
	read := client{string(parsed.Kind), known(parsed.Release()), known(parsed.OS), known(parsed.Arch)}
	if len(c.agents) == maxAgents {
		clear(c.agents)
	}
	c.agents[agent] = read
	return read
}

// known is nil for what the agent string does not say.
func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// placeColumns derives the place and the network of the connection's address.
type placeColumns struct {
	places *geo.Locator
	counts *placeCounts
}

// placeCounts counts handshakes by what is known about their address.
type placeCounts struct{ known, unknown, private atomic.Uint64 }

// byResult has the names of the metric.
func (c *placeCounts) byResult() map[string]uint64 {
	return map[string]uint64{"known": c.known.Load(), "unknown": c.unknown.Load(), "private": c.private.Load()}
}

// Enrich implements Enricher.
func (c *placeColumns) Enrich(e *event.MetadataReceived, row *dataset.ValidatorRow) {
	place, local := c.places.FindMultiaddr(e.Multiaddr)
	row.SetPlace(place)
	switch {
	case place != nil:
		c.counts.known.Add(1)
	case local:
		c.counts.private.Add(1)
	default:
		c.counts.unknown.Add(1)
	}
}
