package event

import (
	"errors"

	"github.com/chainbound/valtrack/internal/eth2"
)

// NATS subjects, one per event type. Stream is the JetStream stream that holds them.
const (
	Stream                  = "EVENTS"
	SubjectPeerDiscovered   = "events.peer_discovered"
	SubjectMetadataReceived = "events.metadata_received"
	SubjectVisitEnded       = "events.visit_ended"
)

// Subjects lists every subject of the stream.
func Subjects() []string {
	return []string{SubjectMetadataReceived, SubjectPeerDiscovered, SubjectVisitEnded}
}

// Event is one of *PeerDiscovered, *MetadataReceived, *VisitEnded.
type Event interface {
	// Subject is the NATS subject the event is published on.
	Subject() string
	// Validate reports the first missing required field or value out of range,
	// wrapped around ErrInvalid.
	Validate() error
	// validateValues is Validate of what is not text.
	validateValues() error
}

// ErrInvalid marks an event that violates the contract.
var ErrInvalid = errors.New("invalid event")

// MaxSize is the largest encoded event that is accepted, in bytes. It is the
// stream's maximum message size less room for headers.
const MaxSize = 1<<20 - 1024

// Common is part of every event.
type Common struct {
	Network         string `json:"network"`          // name of the network
	CrawlerID       string `json:"crawler_id"`       // --crawler-id, or the sentry's own id
	CrawlerLocation string `json:"crawler_location"` // --crawler-location; empty without it
	Timestamp       int64  `json:"timestamp"`        // Unix milliseconds UTC, by the sentry's clock
	// By how many milliseconds the sentry's clock was ahead of the broker's, negative
	// when it was behind. Absent when it was not measured recently.
	ClockSkewMS *int64 `json:"clock_skew_ms,omitempty"`
	// Distinguishes networks with the same name. Older sentries do not send it.
	GenesisValidatorsRoot eth2.Root `json:"genesis_validators_root,omitzero"`
	// The sentry's version of Valtrack. Older sentries do not send it.
	CrawlerVersion string `json:"crawler_version,omitempty"`
}

// PeerDiscovered reports a node record: a new node, or a higher seq. Entries that the
// record does not have are absent.
type PeerDiscovered struct {
	Common
	ENR               string           `json:"enr"`                           // the record in text form
	ID                string           `json:"id"`                            // libp2p peer id
	NodeID            eth2.NodeID      `json:"node_id"`                       // discv5 node id
	Seq               uint64           `json:"seq"`                           // the record's sequence number
	IP                string           `json:"ip,omitempty"`                  // IPv4 address
	IP6               string           `json:"ip6,omitempty"`                 // IPv6 address
	Port              uint16           `json:"port,omitempty"`                // TCP port
	UDP               uint16           `json:"udp,omitempty"`                 // discv5 port
	QUIC              uint16           `json:"quic,omitempty"`                // UDP port of libp2p over QUIC
	ForkDigest        *eth2.ForkDigest `json:"fork_digest,omitempty"`         // of the record's eth2 entry
	NextForkVersion   *eth2.Version    `json:"next_fork_version,omitempty"`   // likewise
	NextForkEpoch     *eth2.Epoch      `json:"next_fork_epoch,omitempty"`     // likewise; 2^64 - 1 where no fork is scheduled
	Attnets           *eth2.Attnets    `json:"attnets,omitempty"`             // long-lived attestation subnets, a bit field
	Syncnets          *eth2.Syncnets   `json:"syncnets,omitempty"`            // sync committee subnets, a bit field
	CustodyGroupCount *uint64          `json:"custody_group_count,omitempty"` // the cgc entry
	NFD               *eth2.ForkDigest `json:"nfd,omitempty"`                 // the next fork digest
	// Whether the node itself sent the record, in an authenticated response, or another node
	// did, whose copy may be outdated. Older sentries do not send it.
	Own *bool `json:"own,omitempty"`
}

// MetaData is the peer's MetaData message.
type MetaData struct {
	SeqNumber         uint64         `json:"seq_number"`                    // increases when the others change
	Attnets           eth2.Attnets   `json:"attnets"`                       // long-lived attestation subnets, a bit field
	Syncnets          *eth2.Syncnets `json:"syncnets,omitempty"`            // sync committee subnets, a bit field, from version 2 of the message on
	CustodyGroupCount *uint64        `json:"custody_group_count,omitempty"` // from version 3 on
}

// Directions and transports of a visit.
const (
	Outbound = "outbound"
	Inbound  = "inbound"
	QUIC     = "quic"
	TCP      = "tcp"
)

// MetadataReceived reports a successful handshake.
type MetadataReceived struct {
	Common
	ENR       string       `json:"enr,omitempty"`     // newest record known; absent for an inbound peer never seen in discv5
	ID        string       `json:"id"`                // libp2p peer id
	NodeID    *eth2.NodeID `json:"node_id,omitempty"` // discv5 node id
	Multiaddr string       `json:"multiaddr"`         // the address of this connection
	Epoch     eth2.Epoch   `json:"epoch"`             // by the wall clock, not the peer's head
	MetaData  *MetaData    `json:"metadata"`          // the peer's MetaData message
	// The attestation subnets of the current digest in the gossip hello: sorted, unique.
	// Null when no hello came, empty when the hello named none.
	SubscribedSubnets     []int           `json:"subscribed_subnets"`
	ClientVersion         string          `json:"client_version"`                    // identify's agent string; empty where the peer sends none
	VisitID               string          `json:"visit_id"`                          // the same in the visit_ended of this visit
	Direction             string          `json:"direction"`                         // outbound or inbound
	Transport             string          `json:"transport"`                         // quic or tcp
	ForkDigest            eth2.ForkDigest `json:"fork_digest"`                       // of the peer's Status
	HeadSlot              eth2.Slot       `json:"head_slot"`                         // likewise
	FinalizedEpoch        eth2.Epoch      `json:"finalized_epoch"`                   // likewise
	EarliestAvailableSlot *eth2.Slot      `json:"earliest_available_slot,omitempty"` // likewise, Status v2 only
	ColumnSubnets         *int            `json:"column_subnets,omitempty"`          // number of data_column_sidecar topics; absent when no hello came
	SyncSubnets           []int           `json:"sync_subnets"`                      // sync committee subnets, as subscribed_subnets
}

// Outcomes of a visit.
const (
	OutcomeOK           = "ok"
	OutcomeDialTimeout  = "dial_timeout"
	OutcomeRefused      = "refused"
	OutcomeUnreachable  = "unreachable"
	OutcomeNegotiation  = "negotiation"
	OutcomeStatus       = "status"
	OutcomeWrongNetwork = "wrong_network"
	OutcomeMetadata     = "metadata"
	OutcomeGoodbye      = "goodbye"
	OutcomeReset        = "reset"
	OutcomeProtocol     = "protocol"
	OutcomeCanceled     = "canceled"
)

// Outcomes lists every outcome, ok first.
func Outcomes() []string {
	return []string{
		OutcomeOK, OutcomeDialTimeout, OutcomeRefused, OutcomeUnreachable, OutcomeNegotiation, OutcomeStatus,
		OutcomeWrongNetwork, OutcomeMetadata, OutcomeGoodbye, OutcomeReset, OutcomeProtocol, OutcomeCanceled,
	}
}

// VisitEnded reports how a connection or attempted connection with a peer ended. A
// watch is published in parts while it runs, one at the end of each epoch: events
// with the same visit id whose watches follow one another without a gap. In all but the
// last, more is set and the outcome is ok. Each part can be read without the others.
type VisitEnded struct {
	Common
	VisitID       string  `json:"visit_id"`                 // unique for each visit
	Part          int     `json:"part,omitempty"`           // number of the part, from 0
	More          bool    `json:"more,omitempty"`           // whether another part follows
	ID            string  `json:"id"`                       // libp2p peer id
	Multiaddr     string  `json:"multiaddr,omitempty"`      // the address that was connected to, or tried last
	Direction     string  `json:"direction"`                // outbound or inbound
	Transport     string  `json:"transport,omitempty"`      // quic or tcp; absent when no connection was made
	Started       int64   `json:"started"`                  // Unix milliseconds
	Ended         int64   `json:"ended"`                    // Unix milliseconds; where more is set, the time of publication
	Outcome       string  `json:"outcome"`                  // ok, dial_timeout, refused, unreachable, negotiation, status, wrong_network, metadata, goodbye, reset, protocol or canceled
	Error         string  `json:"error,omitempty"`          // short description of what went wrong
	GoodbyeCode   *uint64 `json:"goodbye_code,omitempty"`   // code of the peer's Goodbye
	ClientVersion string  `json:"client_version,omitempty"` // identify's agent string
	HandshakeMS   *int64  `json:"handshake_ms,omitempty"`   // from dial to MetaData; absent when the visit did not get there
	// Key of the last event of one of the sentry's 16 boots before this one, each in turn. A consumer
	// that lacks it lost the end of that boot. Absent where none is known, and from older sentries.
	EarlierBootEnd string `json:"earlier_boot_end,omitempty"`
	Watch          *Watch `json:"watch,omitempty"` // the subscription log, of a watch visit
}

// Watch is the subscription log of a watch visit, or of one part of it. Every slot
// that lies entirely between start and end is fully covered.
type Watch struct {
	From    int64 `json:"from"`    // the start, Unix milliseconds
	To      int64 `json:"to"`      // the end, Unix milliseconds
	Initial []int `json:"initial"` // attestation subnets at the start, sorted
	// For each subnet of initial, how many ms before the start the peer joined it; 0 where it
	// was before the visit's first part. Absent when that is so for all of them.
	Since []int `json:"since,omitempty"`
	// MetaData's attnets at the start; absent while they are those of the visit's metadata_received.
	Attnets         *eth2.Attnets   `json:"attnets,omitempty"`
	Changes         []SubnetChange  `json:"changes"`          // in order; one at the end belongs to the next part, if there is one
	MetaDataChanges []WatchMetaData `json:"metadata_changes"` // each MetaData that differs from the one before it, in order
}

// SubnetChange reports that a peer joined or left an attestation subnet. On the wire
// it is a list of three numbers, without names.
type SubnetChange struct {
	At         int64 // ms after the watch's start
	Subnet     int   // attestation subnet
	Subscribed bool  // 1 when joined, 0 when left
}

// WatchMetaData is a MetaData that differs from the one before it.
type WatchMetaData struct {
	At int64 `json:"at"` // ms after the start
	MetaData
}

// Subject implements Event.
func (*PeerDiscovered) Subject() string { return SubjectPeerDiscovered }

// Subject implements Event.
func (*MetadataReceived) Subject() string { return SubjectMetadataReceived }

// Subject implements Event.
func (*VisitEnded) Subject() string { return SubjectVisitEnded }
