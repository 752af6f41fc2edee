package dataset

// ValidatorMetadata is the table of metadata_received events with what they show about
// validators.
const ValidatorMetadata = "validator_metadata_events"

func validatorTable() table { return tableOf[ValidatorRow]() }

// ValidatorRow is one metadata_received event with what it shows about validators.
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
	// ExpectedSubnets are those that the node should keep at the epoch: by SubnetRule
	// where that is spec, staggered or static, else by compute_subscribed_subnets; null
	// when the node id is not known.
	ExpectedSubnets []int32 `parquet:"expected_subnets,list,optional" json:"expected_subnets"`
	// SubnetRule is the eth2.SubnetRule that LongLivedSubnets follow; null when there are
	// none or the node id is not known, and in rows of earlier versions.
	SubnetRule        *string `parquet:"subnet_rule,optional,dict" json:"subnet_rule"`
	SubscribedSubnets []int32 `parquet:"subscribed_subnets,list,optional" json:"subscribed_subnets"`
	// ShortLivedSubnets are the subscribed ones that are not long-lived.
	ShortLivedSubnets []int32 `parquet:"short_lived_subnets,list,optional" json:"short_lived_subnets"`
	// AllSubnets: MetaData or the gossip hello named all 64 subnets.
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
	ClockSkewMS           *int64  `parquet:"clock_skew_ms,optional,dict" json:"clock_skew_ms"`
	ClockErrorMS          *int64  `parquet:"clock_error_ms,optional" json:"clock_error_ms"` // see ClockError
	// GeoCountry to GeoSource are the place and the network of the address; see place.go.
	// Null where they are not known, and in rows of earlier versions.
	GeoCountry      Text     `parquet:"geo_country,optional,dict" json:"geo_country"`
	GeoCountryCode  Text     `parquet:"geo_country_code,optional,dict" json:"geo_country_code"`
	GeoRegion       Text     `parquet:"geo_region,optional,dict" json:"geo_region"`
	GeoCity         Text     `parquet:"geo_city,optional,dict" json:"geo_city"`
	GeoLatitude     *float64 `parquet:"geo_latitude,optional,dict" json:"geo_latitude"`
	GeoLongitude    *float64 `parquet:"geo_longitude,optional,dict" json:"geo_longitude"`
	GeoASN          Number   `parquet:"geo_autonomous_system_number,optional,dict" json:"geo_autonomous_system_number"`
	GeoOrganization Text     `parquet:"geo_autonomous_system_organization,optional,dict" json:"geo_autonomous_system_organization"`
	GeoHosting      Text     `parquet:"geo_hosting,optional,dict" json:"geo_hosting"`
	GeoCloud        Text     `parquet:"geo_cloud,optional,dict" json:"geo_cloud"`
	GeoSource       Text     `parquet:"geo_source,optional,dict" json:"geo_source"`
	Common
}

// Table implements Row.
func (ValidatorRow) Table() string { return ValidatorMetadata }

// Peer implements Row.
func (r ValidatorRow) Peer() string { return r.ID }

func (r ValidatorRow) key() rowKey {
	return rowKey{peer: r.ID, crawler: r.CrawlerID, at: r.Timestamp, visit: r.VisitID}
}

// ValidatorRowOf fills the columns that a handshake's two rows have in common, which
// then share what they point to; the derived ones are the caller's.
func ValidatorRowOf(r *MetadataRow) ValidatorRow {
	return ValidatorRow{
		ENR: r.ENR, ID: r.ID, NodeID: r.NodeID, Multiaddr: r.Multiaddr, Epoch: r.Epoch,
		SeqNumber: r.MetaData.SeqNumber, Attnets: r.MetaData.Attnets, Syncnets: r.MetaData.Syncnets, CustodyGroupCount: r.MetaData.CustodyGroupCount,
		SubscribedSubnets: r.SubscribedSubnets,
		ClientVersion:     r.ClientVersion, VisitID: r.VisitID, Direction: r.Direction, Transport: r.Transport,
		ForkDigest: r.ForkDigest, HeadSlot: r.HeadSlot, FinalizedEpoch: r.FinalizedEpoch,
		EarliestAvailableSlot: r.EarliestAvailableSlot, ColumnSubnets: r.ColumnSubnets, SyncSubnets: r.SyncSubnets,
		ClockSkewMS: r.ClockSkewMS, ClockErrorMS: r.ClockErrorMS, Common: r.Common,
	}
}
