package eventlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
)

// errNoNetwork marks an event of the earlier program, which names no network, when none
// was given.
var errNoNetwork = errors.New("it is an event of the earlier program, which does not name its network: give --network")

// earlierMetadata is a handshake as the earlier program logged it: bits in base64, subnets
// in any order and repeated, and no network.
type earlierMetadata struct {
	event.MetadataReceived
	MetaData *struct {
		SeqNumber uint64 `json:"seq_number"`
		Attnets   []byte `json:"attnets"`
		Syncnets  []byte `json:"syncnets"`
	} `json:"metadata"`
}

// fromEarlier reads an event of the earlier program. ok is false when the text is none.
func fromEarlier(subject, network string, text []byte) (e event.Event, ok bool, err error) {
	var common *event.Common
	switch subject {
	case event.SubjectMetadataReceived:
		m, ok := earlierHandshake(text)
		if !ok {
			return nil, false, nil
		}
		e, common = m, &m.Common
	case event.SubjectPeerDiscovered:
		d, ok := earlierDiscovery(text)
		if !ok {
			return nil, false, nil
		}
		e, common = d, &d.Common
	default:
		return nil, false, nil // it logged no others
	}
	if common.Network = network; network == "" {
		return nil, true, fmt.Errorf("%w: %w", event.ErrInvalid, errNoNetwork)
	}
	return e, true, e.Validate()
}

func earlierHandshake(text []byte) (*event.MetadataReceived, bool) {
	var old earlierMetadata
	if json.Unmarshal(text, &old) != nil || old.Network != "" || old.MetaData == nil || len(old.MetaData.Attnets) != len(eth2.Attnets{}) || len(old.MetaData.Syncnets) > 1 {
		return nil, false
	}
	e := old.MetadataReceived
	e.MetaData = &event.MetaData{SeqNumber: old.MetaData.SeqNumber, Attnets: eth2.Attnets(old.MetaData.Attnets)}
	if len(old.MetaData.Syncnets) == 1 {
		syncnets := eth2.Syncnets(old.MetaData.Syncnets[0])
		e.MetaData.Syncnets = &syncnets
	}
	slices.Sort(e.SubscribedSubnets)
	e.SubscribedSubnets = slices.Compact(e.SubscribedSubnets)
	return &e, true
}

// earlierDiscovery takes node id and sequence number, which the earlier program did not
// log, from the record.
func earlierDiscovery(text []byte) (*event.PeerDiscovered, bool) {
	var e event.PeerDiscovered
	if json.Unmarshal(text, &e) != nil || e.Network != "" || e.NodeID != (eth2.NodeID{}) {
		return nil, false
	}
	record, err := enr.Parse(e.ENR)
	if err != nil || record.PeerID != e.ID {
		return nil, false
	}
	e.NodeID, e.Seq = record.NodeID, record.Seq
	return &e, true
}
