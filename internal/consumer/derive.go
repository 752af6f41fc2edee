package consumer

import (
	"slices"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
)

// validatorRow derives what a handshake tells of validators: the subnets that the
// peer keeps for the network's sake, those that it should keep, and the rest,
// which it joined for the duties of its validators. No subnets at all are an
// observation too.
func validatorRow(e *event.MetadataReceived) dataset.ValidatorRow {
	row := dataset.ValidatorRowOf(e)
	longLived := e.MetaData.Attnets.Subnets()
	row.LongLivedSubnets = dataset.List(longLived)
	if id, ok := nodeID(e); ok {
		text := id.String()
		row.NodeID = &text
		row.ExpectedSubnets = dataset.List(eth2.ComputeSubscribedSubnets(id, e.Epoch))
	}
	row.ShortLivedSubnets = dataset.List(without(e.SubscribedSubnets, longLived))
	row.AllSubnets = len(longLived) == eth2.AttestationSubnetCount || len(e.SubscribedSubnets) == eth2.AttestationSubnetCount
	client := eth2.ParseAgent(e.ClientVersion)
	row.Client = string(client.Kind)
	row.ClientRelease, row.OS, row.Arch = known(client.Release()), known(client.OS), known(client.Arch)
	return row
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
func without(subnets, remove []int) []int {
	if subnets == nil {
		return nil
	}
	out := make([]int, 0, len(subnets))
	for _, s := range subnets {
		if !slices.Contains(remove, s) {
			out = append(out, s)
		}
	}
	return out
}

func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
