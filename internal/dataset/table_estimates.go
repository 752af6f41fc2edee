package dataset

// PeerEstimates is the table of hourly estimates.
const PeerEstimates = "peer_estimates"

func estimateTable() table { return tableOf[EstimateRow]() }

// EstimateRow is the estimate of one node for the hour that Timestamp is the
// beginning of, from everything observed before. Each node has one row per hour in
// which it was seen within a day. Crawler columns are of the sentry that completed
// a handshake with it last.
type EstimateRow struct {
	ID            string  `parquet:"id,dict" json:"id"`
	NodeID        *string `parquet:"node_id,optional,dict" json:"node_id"`
	Client        string  `parquet:"client,dict" json:"client"`
	ClientRelease *string `parquet:"client_release,optional,dict" json:"client_release"`
	// Validators is the median of the posterior, ValidatorsLow and ValidatorsHigh the
	// ends of its middle 90 %. Sums take the means, each times its weight.
	Validators     int64   `parquet:"validators" json:"validators"`
	ValidatorsLow  float64 `parquet:"validators_low" json:"validators_low"`
	ValidatorsHigh float64 `parquet:"validators_high" json:"validators_high"`
	ValidatorsMean float64 `parquet:"validators_mean" json:"validators_mean"`
	ValidatorsSD   float64 `parquet:"validators_sd" json:"validators_sd"`
	// PValidator is the probability of at least one.
	PValidator float64 `parquet:"p_validator" json:"p_validator"`
	// ValidatorsShared is the part of ValidatorsSD that all nodes of the client have in common: in a
	// sum over them it adds up. Null in rows of earlier versions.
	ValidatorsShared *float64 `parquet:"validators_shared_sd,optional" json:"validators_shared_sd"`
	// ValidatorsHidden is how many validators more than the mean a node with the flag silent has on
	// average if it shows none of their duties; 0 for others. Null in rows of earlier versions.
	ValidatorsHidden *float64 `parquet:"validators_hidden,optional" json:"validators_hidden"`
	// Trust says how far the rate of duties of the client version is known, Flags what makes the
	// estimate doubtful, as estimate.Trust and estimate.Flags name them. Null in rows of earlier
	// versions.
	Trust *string  `parquet:"trust,optional,dict" json:"trust"`
	Flags []string `parquet:"flags,list,optional" json:"flags"`
	// StakeETH to StakeMean are the median, the ends of the middle 90 % and the mean. Null where
	// MeanBalance is not known, in ETH; rows of earlier versions, which assumed it, have numbers.
	StakeETH          *float64 `parquet:"stake_eth,optional" json:"stake_eth"`
	StakeLow          *float64 `parquet:"stake_low,optional" json:"stake_low"`
	StakeHigh         *float64 `parquet:"stake_high,optional" json:"stake_high"`
	StakeMean         *float64 `parquet:"stake_mean,optional" json:"stake_mean"`
	MeanBalance       *float64 `parquet:"mean_balance,optional,dict" json:"mean_balance"`
	CustodyGroupCount *uint64  `parquet:"custody_group_count,optional,dict" json:"custody_group_count"`
	AllSubnets        bool     `parquet:"all_subnets" json:"all_subnets"`
	// Weight is what the node counts for in the totals of its hour, from 0 to 1: below 1 where
	// its network prefix has too many nodes, or claims too much. Null in rows of earlier
	// versions, which counted every node in full.
	Weight *float64 `parquet:"weight,optional,dict" json:"weight"`
	// Observations counts all handshakes so far; EpochsWatched the epochs that the estimate's
	// watches cover.
	Observations  int64   `parquet:"observations" json:"observations"`
	EpochsWatched float64 `parquet:"epochs_watched" json:"epochs_watched"`
	LastSeen      int64   `parquet:"last_seen,delta" json:"last_seen"` // Unix milliseconds
	// ActiveValidators of the network, which the estimate was made with.
	ActiveValidators int64 `parquet:"active_validators,dict" json:"active_validators"`
	// GeoCountry to GeoSource are the place and the network of the address of the last handshake; see place.go.
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
func (EstimateRow) Table() string { return PeerEstimates }

// Peer implements Row.
func (r EstimateRow) Peer() string { return r.ID }

func (r EstimateRow) key() rowKey {
	return rowKey{peer: r.ID, at: r.Timestamp}
}
