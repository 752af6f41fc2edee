package enr

import (
	"net/netip"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Record is a decoded node record. Numbers are 0, addresses invalid and pointers
// nil where the record has no such entry or a malformed one.
type Record struct {
	// Raw is the record in its text form, "enr:...".
	Raw    string
	Seq    uint64
	NodeID eth2.NodeID
	// PeerID is the libp2p peer id of the record's key, base58.
	PeerID string

	IP4, IP6          netip.Addr
	UDP, TCP, QUIC    uint16
	UDP6, TCP6, QUIC6 uint16

	Eth2     *eth2.ENRForkID
	Attnets  *eth2.Attnets
	Syncnets *eth2.Syncnets
	// CustodyGroupCount is the cgc entry, big endian without leading zeros.
	CustodyGroupCount *uint64
	NFD               *eth2.ForkDigest

	// Own means that the node itself gave the record, in an authenticated answer. It is
	// right whatever its Seq: a node may lose its state and count from 1 again.
	Own bool

	// Errors lists the entries that could not be read.
	Errors []EntryError
}

// EntryError is one malformed entry.
type EntryError struct {
	Key string `json:"key"`
	Err string `json:"error"`
}
