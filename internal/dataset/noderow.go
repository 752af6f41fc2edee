package dataset

import (
	"os"
	"reflect"
	"strings"
)

// Nodes is the name of the export with one row per node. It is no dataset: its rows are
// derived from all of them.
const Nodes = "nodes"

// NodeRow is what is known of one node. Columns that a handshake fills are null for nodes
// that never completed one (the client is known from any visit that read the agent), those of
// the estimate before the first. Times are Unix
// milliseconds.
type NodeRow struct {
	ID            string  `parquet:"id" json:"id"`
	NodeID        *string `parquet:"node_id,optional" json:"node_id"`
	Client        *string `parquet:"client,optional,dict" json:"client"`
	ClientRelease *string `parquet:"client_release,optional,dict" json:"client_release"`
	ClientVersion *string `parquet:"client_version,optional,dict" json:"client_version"` // the agent string
	OS            *string `parquet:"os,optional,dict" json:"os"`
	Arch          *string `parquet:"arch,optional,dict" json:"arch"`

	Validators     *int64   `parquet:"validators,optional" json:"validators"`
	ValidatorsLow  *float64 `parquet:"validators_low,optional" json:"validators_low"`
	ValidatorsHigh *float64 `parquet:"validators_high,optional" json:"validators_high"`
	ValidatorsMean *float64 `parquet:"validators_mean,optional" json:"validators_mean"`
	// ValidatorsSD and ValidatorsShared are those of peer_estimates, for the interval of a sum.
	ValidatorsSD     *float64 `parquet:"validators_sd,optional" json:"validators_sd"`
	ValidatorsShared *float64 `parquet:"validators_shared_sd,optional" json:"validators_shared_sd"`
	PValidator       *float64 `parquet:"p_validator,optional" json:"p_validator"`
	StakeETH         *float64 `parquet:"stake_eth,optional" json:"stake_eth"`
	StakeLow         *float64 `parquet:"stake_low,optional" json:"stake_low"`
	StakeHigh        *float64 `parquet:"stake_high,optional" json:"stake_high"`
	// Trust and Flags are those of peer_estimates.
	Trust         *string  `parquet:"trust,optional,dict" json:"trust"`
	Flags         []string `parquet:"flags,list,optional" json:"flags"`
	EpochsWatched *float64 `parquet:"epochs_watched,optional" json:"epochs_watched"`
	Weight        *float64 `parquet:"weight,optional" json:"weight"` // in totals; 0 for a node that is in none
	Since         *int64   `parquet:"since,optional" json:"since"`   // null where the number did not change, or in the past

	CustodyGroupCount *uint64 `parquet:"custody_group_count,optional" json:"custody_group_count"`
	CustodyToldBy     *string `parquet:"custody_told_by,optional,dict" json:"custody_told_by"`
	AllSubnets        *bool   `parquet:"all_subnets,optional" json:"all_subnets"`
	LongLivedSubnets  []int32 `parquet:"long_lived_subnets,list,optional" json:"long_lived_subnets"`
	ShortLivedSubnets []int32 `parquet:"short_lived_subnets,list,optional" json:"short_lived_subnets"`

	Observations int64   `parquet:"observations" json:"observations"`
	FirstSeen    *int64  `parquet:"first_seen,optional" json:"first_seen"`
	LastSeen     *int64  `parquet:"last_seen,optional" json:"last_seen"`
	LastEpoch    *uint64 `parquet:"last_epoch,optional" json:"last_epoch"`
	LastOutcome  *string `parquet:"last_outcome,optional,dict" json:"last_outcome"`
	Direction    *string `parquet:"direction,optional,dict" json:"direction"`
	Transport    *string `parquet:"transport,optional,dict" json:"transport"`
	Multiaddr    *string `parquet:"multiaddr,optional" json:"multiaddr"`
	IP           *string `parquet:"ip,optional" json:"ip"`
	IP6          *string `parquet:"ip6,optional" json:"ip6"`
	Port         *int32  `parquet:"port,optional" json:"port"`

	ForkDigest      *string `parquet:"fork_digest,optional,dict" json:"fork_digest"`
	NextForkVersion *string `parquet:"next_fork_version,optional,dict" json:"next_fork_version"`
	NextForkEpoch   *uint64 `parquet:"next_fork_epoch,optional,dict" json:"next_fork_epoch"`
	NFD             *string `parquet:"nfd,optional,dict" json:"nfd"`
	ENR             *string `parquet:"enr,optional" json:"enr"`
	Network         string  `parquet:"network,dict" json:"network"`

	// Country to GeoSource are the place and the network of the address of the last
	// handshake; GeoSource names the databases that say so.
	Country     *string  `parquet:"country,optional,dict" json:"country"`
	CountryCode *string  `parquet:"country_code,optional,dict" json:"country_code"`
	Region      *string  `parquet:"region,optional,dict" json:"region"`
	City        *string  `parquet:"city,optional,dict" json:"city"`
	Latitude    *float64 `parquet:"latitude,optional" json:"latitude"`
	Longitude   *float64 `parquet:"longitude,optional" json:"longitude"`
	ASN         *uint32  `parquet:"asn,optional,dict" json:"asn"`
	ASName      *string  `parquet:"as_name,optional,dict" json:"as_name"`
	Hosting     *string  `parquet:"hosting,optional,dict" json:"hosting"`
	Cloud       *string  `parquet:"cloud,optional,dict" json:"cloud"`
	GeoSource   *string  `parquet:"geo_source,optional,dict" json:"geo_source"`
}

// Table implements Row.
func (NodeRow) Table() string { return Nodes }

// At is when the node was last heard; 0 for never.
func (r NodeRow) At() int64 {
	if r.LastSeen == nil {
		return 0
	}
	return *r.LastSeen
}

// Peer implements Row.
func (r NodeRow) Peer() string { return r.ID }

func (r NodeRow) key() rowKey { return rowKey{peer: r.ID} }

// NewFile writes a Parquet file to f, which Close closes.
func NewFile[T Row](f *os.File) *File[T] { return &File[T]{part: newPart[T](f)} }

// ColumnsOf lists the names of a row's columns.
func ColumnsOf(row Row) (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(row)) {
		if name, _, _ := strings.Cut(f.Tag.Get("parquet"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}
