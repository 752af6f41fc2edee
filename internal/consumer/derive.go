package consumer

import (
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
)

// maxClients bounds the agent strings that a Deriver remembers: peers choose them.
const maxClients = 4096

// Deriver makes the rows of handshakes. It remembers what is the same for many of
// them. Its zero value is ready for use, by one goroutine at a time.
type Deriver struct {
	subnets eth2.SubnetCache
	clients map[string]clientColumns // by agent string
}

// clientColumns are those that are read from the agent string.
type clientColumns struct {
	kind              string
	release, os, arch *string
}

// Rows gives a handshake as it came, and with what it tells of validators: the
// subnets that the peer keeps for the network's sake, those that it should keep,
// and the rest, which it joined for the duties of its validators. No subnets at
// all are an observation too. The rows share memory, but none with the event.
func (d *Deriver) Rows(e *event.MetadataReceived) (dataset.MetadataRow, dataset.ValidatorRow) {
	handshake := dataset.FromMetadataReceived(e)
	row := dataset.ValidatorRowOf(&handshake)
	row.LongLivedSubnets = dataset.List(e.MetaData.Attnets.Subnets())
	if id, ok := nodeID(e); ok {
		if row.NodeID == nil {
			text := id.String()
			row.NodeID = &text
		}
		expected := d.subnets.Subscribed(id, e.Epoch)
		row.ExpectedSubnets = dataset.List(expected[:])
	}
	row.ShortLivedSubnets = without(row.SubscribedSubnets, row.LongLivedSubnets)
	row.AllSubnets = len(row.LongLivedSubnets) == eth2.AttestationSubnetCount || len(row.SubscribedSubnets) == eth2.AttestationSubnetCount
	client := d.client(e.ClientVersion)
	row.Client, row.ClientRelease, row.OS, row.Arch = client.kind, client.release, client.os, client.arch
	return handshake, row
}

func (d *Deriver) client(agent string) clientColumns {
	columns, ok := d.clients[agent]
	if ok {
		return columns
	}
	client := eth2.ParseAgent(agent)
	columns = clientColumns{string(client.Kind), known(client.Release()), known(client.OS), known(client.Arch)}
	if d.clients == nil || len(d.clients) == maxClients {
		d.clients = make(map[string]clientColumns)
	}
	// The agent string is a part of its message, which must not stay for it.
	d.clients[strings.Clone(agent)] = columns
	return columns
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

// known is nil for what the agent string does not say. What it says is copied, as
// the string itself is part of a message.
func known(s string) *string {
	if s == "" {
		return nil
	}
	s = strings.Clone(s)
	return &s
}
