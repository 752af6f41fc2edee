package client

// Node is a row of the nodes. With Fields in the query, other columns are absent.
type Node struct {
	ID                string   `json:"id"`
	NodeID            *string  `json:"node_id"`
	Client            *string  `json:"client"`
	ClientVersion     *string  `json:"client_version"`
	ClientRelease     *string  `json:"client_release"`
	OS                *string  `json:"os"`
	Arch              *string  `json:"arch"`
	Validators        *float64 `json:"validators"` // median
	ValidatorsLow     *float64 `json:"validators_low"`
	ValidatorsHigh    *float64 `json:"validators_high"`
	ValidatorsMean    *float64 `json:"validators_mean"`
	PValidator        *float64 `json:"p_validator"` // probability of at least one
	Flags             []string `json:"flags"`
	Trust             *string  `json:"trust"`
	Weight            *float64 `json:"weight"` // in totals; nil when the node does not count
	StakeETH          *float64 `json:"stake_eth"`
	StakeLow          *float64 `json:"stake_low"`
	StakeHigh         *float64 `json:"stake_high"`
	CustodyGroupCount *uint64  `json:"custody_group_count"`
	AllSubnets        *bool    `json:"all_subnets"`
	Observations      int      `json:"observations"`
	EpochsWatched     *float64 `json:"epochs_watched"`
	FirstSeen         *int64   `json:"first_seen"`
	LastSeen          *int64   `json:"last_seen"`
	LastEpoch         *uint64  `json:"last_epoch"`
	LastOutcome       *string  `json:"last_outcome"`
	Direction         *string  `json:"direction"`
	Transport         *string  `json:"transport"`
	ForkDigest        *string  `json:"fork_digest"`
	NextForkVersion   *string  `json:"next_fork_version"`
	NextForkEpoch     *uint64  `json:"next_fork_epoch"` // nil also where the record announces no fork
	NFD               *string  `json:"nfd"`
	LongLivedSubnets  []int    `json:"long_lived_subnets"`
	Country           *string  `json:"country"`
	CountryCode       *string  `json:"country_code"`
	Region            *string  `json:"region"`
	City              *string  `json:"city"`
	Latitude          *float64 `json:"latitude"`
	Longitude         *float64 `json:"longitude"`
	ASN               *uint32  `json:"asn"`
	ASName            *string  `json:"as_name"`
	Hosting           *string  `json:"hosting"`
	Cloud             *string  `json:"cloud"`
	GeoSource         *string  `json:"geo_source"` // the databases that say where the node is
	Since             *int64   `json:"since"`      // since when it has this number of validators; nil where no change shows
	// With a key.
	ENR       *string `json:"enr,omitempty"`
	Multiaddr *string `json:"multiaddr,omitempty"`
	IP        *string `json:"ip,omitempty"`
	Port      *int    `json:"port,omitempty"`
}

// NodeDetail is all that is known about a node.
type NodeDetail struct {
	Node
	Counted        bool            `json:"counted"`
	Why            string          `json:"why"` // in a sentence
	Signals        Signals         `json:"signals"`
	Posterior      []Quantile      `json:"posterior"`
	Evidence       Evidence        `json:"evidence"`
	Days           []Day           `json:"days"`
	CustodyHistory []CustodyChange `json:"custody_history"`
	OtherIDs       []OtherID       `json:"other_ids"`
	SeenBy         []SeenBy        `json:"seen_by"`
	Endpoints      []Endpoint      `json:"endpoints"` // with a key
}

// SeenBy is what a sentry knows of the node.
type SeenBy struct {
	Sentry        string  `json:"sentry"`
	Location      *string `json:"location"`
	LastSeen      *int64  `json:"last_seen"` // the last handshake, or the end of what it watched last
	LastHandshake *int64  `json:"last_handshake"`
	LastVisit     *int64  `json:"last_visit"` // that has ended, with LastOutcome
	LastOutcome   *string `json:"last_outcome"`
	// Reachable is whether it completed a handshake with the node, or watched it, in the last day;
	// nil if it did not try.
	Reachable         *bool  `json:"reachable"`
	HandshakeMS       *int64 `json:"handshake_ms"`
	SubscribedSubnets *int   `json:"subscribed_subnets"` // at the last handshake
	// SubscriptionsDiffer is whether another sentry was told others within an epoch; nil where no
	// other's handshake can be compared.
	SubscriptionsDiffer *bool `json:"subscriptions_differ"`
}

// Signals are what each kind of evidence says alone; nil where it says nothing.
type Signals struct {
	Custody *Interval `json:"custody"`
	Subnets *Interval `json:"subnets"`
	Sync    *Interval `json:"sync"`
}

// Interval is an estimate.
type Interval struct {
	Validators float64 `json:"validators"`
	Low        float64 `json:"validators_low"`
	High       float64 `json:"validators_high"`
}

// Evidence counts what the signals are made from: cells are places for duties, those of sync are
// for seats in sync committees.
type Evidence struct {
	CellsOn  uint64 `json:"cells_on"`
	CellsOff uint64 `json:"cells_off"`
	// CellRate is the chance that a given validator fills a cell, CellRateSD its relative standard
	// deviation; nil without cells.
	CellRate   *float64  `json:"cell_rate"`
	CellRateSD *float64  `json:"cell_rate_sd"`
	SyncOn     uint64    `json:"sync_on"`
	SyncOff    uint64    `json:"sync_off"`
	Used       string    `json:"used"`      // which evidence the estimate is made from
	LostDays   int       `json:"lost_days"` // days of statistics that could not be read
	Stretches  []Stretch `json:"stretches"` // the oldest first
}

// Stretch is a time in which the number of validators did not change.
type Stretch struct {
	From *int64 `json:"from"`
	To   *int64 `json:"to"`
	Interval
}

// Quantile is the probability P of at most so many validators.
type Quantile struct {
	Validators float64 `json:"validators"`
	P          float64 `json:"p"`
}

// Day is one day's observations of a node with one client version.
type Day struct {
	Date          string  `json:"date"`
	Client        string  `json:"client"`
	Version       string  `json:"version"`
	EpochsWatched float64 `json:"epochs_watched"`
	CellsOn       uint64  `json:"cells_on"`
	CellsOff      uint64  `json:"cells_off"`
	Subscriptions uint32  `json:"subscriptions"`
	AllSubnets    bool    `json:"all_subnets"`
}

// CustodyChange is a custody group count from a time on.
type CustodyChange struct {
	At    *int64 `json:"at"`
	Count uint64 `json:"count"`
}

// OtherID is another peer id at the node's address.
type OtherID struct {
	ID       string `json:"id"`
	LastSeen *int64 `json:"last_seen"`
}

// Endpoint is an address of a node, as transport/ip:port.
type Endpoint struct {
	Address string `json:"address"`
	First   *int64 `json:"first"`
	Last    *int64 `json:"last"`
}

// Observations are a node's subscriptions and estimates, the newest first.
type Observations struct {
	Epochs    []ObservedEpoch `json:"epochs"`
	Estimates []PastEstimate  `json:"estimates"`
}

// ObservedEpoch is what a handshake, or a watch, in an epoch showed.
type ObservedEpoch struct {
	Epoch             uint64 `json:"epoch"`
	Time              *int64 `json:"time"`
	Source            string `json:"source"`     // handshake, or watch, which has all subnets of its time
	WatchedMS         *int64 `json:"watched_ms"` // nil for a handshake
	LongLivedSubnets  []int  `json:"long_lived_subnets"`
	ShortLivedSubnets []int  `json:"short_lived_subnets"` // nil when they were not announced
}

// PastEstimate is the estimate of an hour.
type PastEstimate struct {
	Time       *int64   `json:"time"`
	Validators *float64 `json:"validators"`
	Low        *float64 `json:"validators_low"`
	High       *float64 `json:"validators_high"`
	Trust      *string  `json:"trust"`
	Flags      []string `json:"flags"`
}
