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
	Network         string `json:"network"`
	CrawlerID       string `json:"crawler_id"`
	CrawlerLocation string `json:"crawler_location"`
	Timestamp       int64  `json:"timestamp"` // Unix milliseconds UTC, by the sentry's clock
	// ClockSkewMS is how many milliseconds the sentry's clock was ahead of the broker's,
	// below zero when it was behind. Nil when it was not measured lately.
	ClockSkewMS *int64 `json:"clock_skew_ms,omitempty"`
	// GenesisValidatorsRoot tells networks of one name apart. Zero is absent, as in the
	// events of older sentries.
	GenesisValidatorsRoot eth2.Root `json:"genesis_validators_root,omitzero"`
	// CrawlerVersion is the program that the sentry runs. Empty in the events of older sentries.
	CrawlerVersion string `json:"crawler_version,omitempty"`
}

// PeerDiscovered reports a node record: a new node, or a higher seq. Pointers
// are nil and strings empty where the record has no such entry.
type PeerDiscovered struct {
	Common
	ENR               string           `json:"enr"`
	ID                string           `json:"id"` // libp2p peer id
	NodeID            eth2.NodeID      `json:"node_id"`
	Seq               uint64           `json:"seq"`
	IP                string           `json:"ip,omitempty"`
	IP6               string           `json:"ip6,omitempty"`
	Port              uint16           `json:"port,omitempty"` // TCP
	UDP               uint16           `json:"udp,omitempty"`
	QUIC              uint16           `json:"quic,omitempty"`
	ForkDigest        *eth2.ForkDigest `json:"fork_digest,omitempty"`
	NextForkVersion   *eth2.Version    `json:"next_fork_version,omitempty"`
	NextForkEpoch     *eth2.Epoch      `json:"next_fork_epoch,omitempty"`
	Attnets           *eth2.Attnets    `json:"attnets,omitempty"`
	Syncnets          *eth2.Syncnets   `json:"syncnets,omitempty"`
	CustodyGroupCount *uint64          `json:"custody_group_count,omitempty"`
	NFD               *eth2.ForkDigest `json:"nfd,omitempty"`
	// Own says whether the node itself gave the record, in an authenticated answer, or others
	// did: those may hand out an old one. Nil for sentries that do not say.
	Own *bool `json:"own,omitempty"`
}

// MetaData is the peer's MetaData message. Syncnets is nil for version 1,
// CustodyGroupCount for versions 1 and 2.
type MetaData struct {
	SeqNumber         uint64         `json:"seq_number"`
	Attnets           eth2.Attnets   `json:"attnets"`
	Syncnets          *eth2.Syncnets `json:"syncnets,omitempty"`
	CustodyGroupCount *uint64        `json:"custody_group_count,omitempty"`
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
	ENR       string       `json:"enr,omitempty"` // empty for an inbound peer never seen in discv5
	ID        string       `json:"id"`
	NodeID    *eth2.NodeID `json:"node_id,omitempty"`
	Multiaddr string       `json:"multiaddr"`
	Epoch     eth2.Epoch   `json:"epoch"` // wall clock, not the peer's head
	MetaData  *MetaData    `json:"metadata"`
	// SubscribedSubnets are the attestation subnets of the current digest in the
	// gossip hello: sorted, unique. Nil when no hello came, empty when the hello
	// named none.
	SubscribedSubnets     []int           `json:"subscribed_subnets"`
	ClientVersion         string          `json:"client_version"` // identify's agent string
	VisitID               string          `json:"visit_id"`
	Direction             string          `json:"direction"`
	Transport             string          `json:"transport"`
	ForkDigest            eth2.ForkDigest `json:"fork_digest"` // of the peer's Status
	HeadSlot              eth2.Slot       `json:"head_slot"`
	FinalizedEpoch        eth2.Epoch      `json:"finalized_epoch"`
	EarliestAvailableSlot *eth2.Slot      `json:"earliest_available_slot,omitempty"` // Status v2 only
	ColumnSubnets         *int            `json:"column_subnets,omitempty"`          // number of data_column_sidecar topics; nil when no hello came
	SyncSubnets           []int           `json:"sync_subnets"`                      // as SubscribedSubnets
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
// watch is published in parts while it continues, one at the end of each epoch: events
// with the same visit id whose Watch spans follow one another without a gap. Part counts
// them from 0. All but the last have More set and the outcome ok; their Ended is the time
// of publication. Each part can be read without the others.
type VisitEnded struct {
	Common
	VisitID       string  `json:"visit_id"`
	Part          int     `json:"part,omitempty"`
	More          bool    `json:"more,omitempty"`
	ID            string  `json:"id"`
	Multiaddr     string  `json:"multiaddr,omitempty"`
	Direction     string  `json:"direction"`
	Transport     string  `json:"transport,omitempty"` // empty when no connection was made
	Started       int64   `json:"started"`             // Unix milliseconds
	Ended         int64   `json:"ended"`
	Outcome       string  `json:"outcome"`
	Error         string  `json:"error,omitempty"` // short
	GoodbyeCode   *uint64 `json:"goodbye_code,omitempty"`
	ClientVersion string  `json:"client_version,omitempty"`
	HandshakeMS   *int64  `json:"handshake_ms,omitempty"` // from dial to MetaData; nil when it did not get there
	Watch         *Watch  `json:"watch,omitempty"`
}

// Watch is the subscription log of a watch visit, or of one part of it. Every slot
// that lies entirely between From and To is fully covered.
type Watch struct {
	From    int64 `json:"from"` // Unix milliseconds
	To      int64 `json:"to"`
	Initial []int `json:"initial"` // attestation subnets at From, sorted
	// Since says for each subnet of Initial how many ms before From the peer joined it; 0
	// where that was before the visit's first part. Nil when it was so for all of them.
	Since []int `json:"since,omitempty"`
	// Attnets are MetaData's at From; nil while they are those of the visit's
	// metadata_received.
	Attnets         *eth2.Attnets   `json:"attnets,omitempty"`
	Changes         []SubnetChange  `json:"changes"` // in order; one at To belongs to the next part, if there is one
	MetaDataChanges []WatchMetaData `json:"metadata_changes"`
}

// SubnetChange is a peer's joining or leaving of an attestation subnet. On the wire
// it is a list of three numbers: [At, Subnet, 1 when subscribed or 0].
type SubnetChange struct {
	At         int64 // ms after the watch's From
	Subnet     int
	Subscribed bool
}

// WatchMetaData is a MetaData that differs from the one before it.
type WatchMetaData struct {
	At int64 `json:"at"` // ms after From
	MetaData
}

// Subject implements Event.
func (*PeerDiscovered) Subject() string { return SubjectPeerDiscovered }

// Subject implements Event.
func (*MetadataReceived) Subject() string { return SubjectMetadataReceived }

// Subject implements Event.
func (*VisitEnded) Subject() string { return SubjectVisitEnded }
