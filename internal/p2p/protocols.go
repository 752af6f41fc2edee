package p2p

import "github.com/libp2p/go-libp2p/core/protocol"

// Req/resp protocol ids (consensus-specs phase0, altair and fulu
// p2p-interface.md, "The Req/Resp domain").
const (
	ProtoStatusV1   protocol.ID = "/eth2/beacon_chain/req/status/1/ssz_snappy"
	ProtoStatusV2   protocol.ID = "/eth2/beacon_chain/req/status/2/ssz_snappy"
	ProtoPingV1     protocol.ID = "/eth2/beacon_chain/req/ping/1/ssz_snappy"
	ProtoMetaDataV1 protocol.ID = "/eth2/beacon_chain/req/metadata/1/ssz_snappy"
	ProtoMetaDataV2 protocol.ID = "/eth2/beacon_chain/req/metadata/2/ssz_snappy"
	ProtoMetaDataV3 protocol.ID = "/eth2/beacon_chain/req/metadata/3/ssz_snappy"
	ProtoGoodbyeV1  protocol.ID = "/eth2/beacon_chain/req/goodbye/1/ssz_snappy"
)

// MeshsubProtocols are the gossipsub versions we accept streams of, newest first.
func MeshsubProtocols() []protocol.ID {
	return []protocol.ID{"/meshsub/1.2.0", "/meshsub/1.1.0", "/meshsub/1.0.0"}
}
