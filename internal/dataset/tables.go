// Package dataset stores rows in datasets: directories of Parquet parts that any
// reader opens as one table. It is the only package that knows Parquet.
//
// A data directory holds one directory a table, named as the table with
// .parquet. Rows are written in segments: a segment is one part in every table,
// and exists as a whole or not at all (see Writer).
package dataset

import "github.com/chainbound/valtrack/internal/event"

// Table names.
const (
	Discovery         = "discovery_events"
	Metadata          = "metadata_events"
	ValidatorMetadata = "validator_metadata_events"
	Visit             = "visit_events"
	PeerEstimates     = "peer_estimates"
)

// SchemaVersion stands in every part's footer as valtrack.schema. It grows when a
// column changes its meaning or goes; new columns do not change it.
const SchemaVersion = "1"

// Tables lists the tables in the order in which a segment's parts are renamed
// into place. The last one's rename commits the segment.
func Tables() []string { return []string{Discovery, ValidatorMetadata, Visit, PeerEstimates, Metadata} }

// Row is one of the tables' row types. Pointers and nil lists are null; an empty
// list is a list without elements. Bit fields and digests are lower-case hex with
// 0x, lists are LIST<INT32>.
type Row interface {
	DiscoveryRow | MetadataRow | ValidatorRow | VisitRow | EstimateRow
	// Table is the name of the row's table.
	Table() string
	// At is the row's timestamp, Unix milliseconds UTC.
	At() int64
	// Peer is the row's peer id.
	Peer() string
}

// Common stands last in every row. It is the only embedded struct: parquet-go
// 0.32 writes nil pointers in an embedded struct as zero values.
type Common struct {
	Network         string `parquet:"network,dict" json:"network"`
	CrawlerID       string `parquet:"crawler_id,dict" json:"crawler_id"`
	CrawlerLocation string `parquet:"crawler_location,dict" json:"crawler_location"`
	Timestamp       int64  `parquet:"timestamp,delta" json:"timestamp"` // Unix milliseconds UTC
}

// At is the row's timestamp.
func (c Common) At() int64 { return c.Timestamp }

func commonOf(c event.Common) Common {
	return Common{Network: c.Network, CrawlerID: c.CrawlerID, CrawlerLocation: c.CrawlerLocation, Timestamp: c.Timestamp}
}

// DiscoveryRow is one peer_discovered event.
type DiscoveryRow struct {
	ENR               string  `parquet:"enr,dict" json:"enr"`
	ID                string  `parquet:"id,dict" json:"id"`
	NodeID            string  `parquet:"node_id,dict" json:"node_id"`
	Seq               uint64  `parquet:"seq" json:"seq"`
	IP                *string `parquet:"ip,optional,dict" json:"ip"`
	IP6               *string `parquet:"ip6,optional,dict" json:"ip6"`
	Port              *int32  `parquet:"port,optional,dict" json:"port"`
	UDP               *int32  `parquet:"udp,optional,dict" json:"udp"`
	QUIC              *int32  `parquet:"quic,optional,dict" json:"quic"`
	ForkDigest        *string `parquet:"fork_digest,optional,dict" json:"fork_digest"`
	NextForkVersion   *string `parquet:"next_fork_version,optional,dict" json:"next_fork_version"`
	NextForkEpoch     *uint64 `parquet:"next_fork_epoch,optional,dict" json:"next_fork_epoch"`
	Attnets           *string `parquet:"attnets,optional,dict" json:"attnets"`
	Syncnets          *string `parquet:"syncnets,optional,dict" json:"syncnets"`
	CustodyGroupCount *uint64 `parquet:"custody_group_count,optional,dict" json:"custody_group_count"`
	NFD               *string `parquet:"nfd,optional,dict" json:"nfd"`
	Common
}

// MetaData is the peer's MetaData message; what its version lacks is null.
type MetaData struct {
	SeqNumber         uint64  `parquet:"seq_number" json:"seq_number"`
	Attnets           string  `parquet:"attnets,dict" json:"attnets"`
	Syncnets          *string `parquet:"syncnets,optional,dict" json:"syncnets"`
	CustodyGroupCount *uint64 `parquet:"custody_group_count,optional,dict" json:"custody_group_count"`
}

// MetadataRow is one metadata_received event as it came.
type MetadataRow struct {
	ENR                   string   `parquet:"enr,dict" json:"enr"`
	ID                    string   `parquet:"id,dict" json:"id"`
	NodeID                *string  `parquet:"node_id,optional,dict" json:"node_id"`
	Multiaddr             string   `parquet:"multiaddr,dict" json:"multiaddr"`
	Epoch                 uint64   `parquet:"epoch" json:"epoch"`
	MetaData              MetaData `parquet:"metadata" json:"metadata"`
	SubscribedSubnets     []int32  `parquet:"subscribed_subnets,list,optional" json:"subscribed_subnets"`
	ClientVersion         string   `parquet:"client_version,dict" json:"client_version"` // the agent string
	VisitID               string   `parquet:"visit_id,delta" json:"visit_id"`
	Direction             string   `parquet:"direction,dict" json:"direction"`
	Transport             string   `parquet:"transport,dict" json:"transport"`
	ForkDigest            string   `parquet:"fork_digest,dict" json:"fork_digest"`
	HeadSlot              uint64   `parquet:"head_slot,delta" json:"head_slot"`
	FinalizedEpoch        uint64   `parquet:"finalized_epoch" json:"finalized_epoch"`
	EarliestAvailableSlot *uint64  `parquet:"earliest_available_slot,optional" json:"earliest_available_slot"`
	ColumnSubnets         *int32   `parquet:"column_subnets,optional" json:"column_subnets"`
	SyncSubnets           []int32  `parquet:"sync_subnets,list,optional" json:"sync_subnets"`
	Common
}

// ValidatorRow is one metadata_received event with what it tells of validators.
// Lists of subnets are sorted. SubscribedSubnets and ShortLivedSubnets are null
// when the peer sent no gossip hello, and empty when its hello named none.
type ValidatorRow struct {
	ENR               string  `parquet:"enr,dict" json:"enr"`
	ID                string  `parquet:"id,dict" json:"id"`
	NodeID            *string `parquet:"node_id,optional,dict" json:"node_id"`
	Multiaddr         string  `parquet:"multiaddr,dict" json:"multiaddr"`
	Epoch             uint64  `parquet:"epoch" json:"epoch"`
	SeqNumber         uint64  `parquet:"seq_number" json:"seq_number"`
	Attnets           string  `parquet:"attnets,dict" json:"attnets"`
	Syncnets          *string `parquet:"syncnets,optional,dict" json:"syncnets"`
	CustodyGroupCount *uint64 `parquet:"custody_group_count,optional,dict" json:"custody_group_count"`
	// LongLivedSubnets are the set bits of MetaData's attnets.
	LongLivedSubnets []int32 `parquet:"long_lived_subnets,list" json:"long_lived_subnets"`
	// ExpectedSubnets are compute_subscribed_subnets of the node id at the epoch;
	// null when the node id cannot be told.
	ExpectedSubnets   []int32 `parquet:"expected_subnets,list,optional" json:"expected_subnets"`
	SubscribedSubnets []int32 `parquet:"subscribed_subnets,list,optional" json:"subscribed_subnets"`
	// ShortLivedSubnets are the subscribed ones that are not long-lived.
	ShortLivedSubnets []int32 `parquet:"short_lived_subnets,list,optional" json:"short_lived_subnets"`
	// AllSubnets tells that MetaData or the gossip hello named all 64 subnets.
	AllSubnets bool `parquet:"all_subnets" json:"all_subnets"`
	// Client to Arch are read from the agent string; null where it does not say.
	Client                string  `parquet:"client,dict" json:"client"`
	ClientRelease         *string `parquet:"client_release,optional,dict" json:"client_release"`
	OS                    *string `parquet:"os,optional,dict" json:"os"`
	Arch                  *string `parquet:"arch,optional,dict" json:"arch"`
	ClientVersion         string  `parquet:"client_version,dict" json:"client_version"` // the agent string
	VisitID               string  `parquet:"visit_id,delta" json:"visit_id"`
	Direction             string  `parquet:"direction,dict" json:"direction"`
	Transport             string  `parquet:"transport,dict" json:"transport"`
	ForkDigest            string  `parquet:"fork_digest,dict" json:"fork_digest"`
	HeadSlot              uint64  `parquet:"head_slot,delta" json:"head_slot"`
	FinalizedEpoch        uint64  `parquet:"finalized_epoch" json:"finalized_epoch"`
	EarliestAvailableSlot *uint64 `parquet:"earliest_available_slot,optional" json:"earliest_available_slot"`
	ColumnSubnets         *int32  `parquet:"column_subnets,optional" json:"column_subnets"`
	SyncSubnets           []int32 `parquet:"sync_subnets,list,optional" json:"sync_subnets"`
	Common
}

// VisitRow is one visit_ended event.
type VisitRow struct {
	VisitID       string  `parquet:"visit_id,delta" json:"visit_id"`
	Part          int32   `parquet:"part" json:"part"` // from 0; above for a long watch
	More          bool    `parquet:"more" json:"more"` // a further part of the visit follows
	ID            string  `parquet:"id,dict" json:"id"`
	Multiaddr     *string `parquet:"multiaddr,optional,dict" json:"multiaddr"`
	Direction     string  `parquet:"direction,dict" json:"direction"`
	Transport     *string `parquet:"transport,optional,dict" json:"transport"`
	Started       int64   `parquet:"started,delta" json:"started"` // Unix milliseconds
	Ended         int64   `parquet:"ended,delta" json:"ended"`
	Outcome       string  `parquet:"outcome,dict" json:"outcome"`
	Error         *string `parquet:"error,optional,dict" json:"error"`
	GoodbyeCode   *uint64 `parquet:"goodbye_code,optional,dict" json:"goodbye_code"`
	ClientVersion *string `parquet:"client_version,optional,dict" json:"client_version"`
	HandshakeMS   *int64  `parquet:"handshake_ms,optional" json:"handshake_ms"`
	Watch         *Watch  `parquet:"watch,optional" json:"watch"`
	Common
}

// Watch is the subscription log of a watch visit.
type Watch struct {
	From            int64            `parquet:"from" json:"from"` // Unix milliseconds
	To              int64            `parquet:"to" json:"to"`
	Initial         []int32          `parquet:"initial,list" json:"initial"`
	Changes         []SubnetChange   `parquet:"changes,list" json:"changes"`
	MetaDataChanges []MetaDataChange `parquet:"metadata_changes,list" json:"metadata_changes"`
}

// SubnetChange is a SUBSCRIBE or an UNSUBSCRIBE, At milliseconds after Watch.From.
type SubnetChange struct {
	At         int64 `parquet:"at" json:"at"`
	Subnet     int32 `parquet:"subnet" json:"subnet"`
	Subscribed bool  `parquet:"subscribed" json:"subscribed"`
}

// MetaDataChange is a MetaData that differs from the one before it.
type MetaDataChange struct {
	At       int64    `parquet:"at" json:"at"`
	MetaData MetaData `parquet:"metadata" json:"metadata"`
}

// Table implements Row.
func (DiscoveryRow) Table() string { return Discovery }

// Table implements Row.
func (MetadataRow) Table() string { return Metadata }

// Table implements Row.
func (ValidatorRow) Table() string { return ValidatorMetadata }

// Table implements Row.
func (VisitRow) Table() string { return Visit }

// Peer implements Row.
func (r DiscoveryRow) Peer() string { return r.ID }

// Peer implements Row.
func (r MetadataRow) Peer() string { return r.ID }

// Peer implements Row.
func (r ValidatorRow) Peer() string { return r.ID }

// Peer implements Row.
func (r VisitRow) Peer() string { return r.ID }
