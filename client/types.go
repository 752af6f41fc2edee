package client

// Types of the answers, as openapi.yaml describes them: nil is null, and what is nil or zero
// of an optional property may be absent. Times are Unix milliseconds.

// Meta says what an answer covers.
type Meta struct {
	Network     string      `json:"network"`
	Simulated   bool        `json:"simulated"` // places are made up
	AsOf        *int64      `json:"as_of"`
	CoversMS    int64       `json:"covers_ms"` // totals count nodes with a handshake in so many milliseconds before AsOf
	AgeMS       *int64      `json:"age_ms"`    // of AsOf when the answer was made
	EstimatedAt *int64      `json:"estimated_at"`
	GeoDate     *string     `json:"geo_date"`
	GeoSources  []GeoSource `json:"geo_sources"` // pages that show places must name and link these
	Public      bool        `json:"public"`      // the view without a key
	Total       int         `json:"total"`       // rows that match, of a list with pages
	Next        *string     `json:"next"`        // cursor of the next page
	Latest      string      `json:"latest"`      // of changes: ChangeQuery.After for those found later
	// Of observations: what the answer covers; Earlier is the end to ask for next, nil when the
	// node was not known before. Rows of damaged files are missing.
	From         int64  `json:"from"`
	To           int64  `json:"to"`
	Earlier      *int64 `json:"earlier"`
	DamagedParts int    `json:"damaged_parts"`
}

// GeoSource is what places and networks are from.
type GeoSource struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Licence string `json:"licence"`
	Date    string `json:"date"`
}

// Summary has the totals.
type Summary struct {
	Nodes      NodeCounts  `json:"nodes"`
	Validators Validators  `json:"validators"`
	Stake      Stake       `json:"stake"`
	Countries  Top         `json:"countries"`
	Networks   Top         `json:"networks"`
	Hosting    []Group     `json:"hosting"`
	Clouds     []Group     `json:"clouds"`
	Clients    []Group     `json:"clients"`
	Forks      ForkSummary `json:"forks"`
	Funnel     Funnel      `json:"funnel"`
}

// NodeCounts are numbers of nodes.
type NodeCounts struct {
	Counted        int      `json:"counted"` // with a handshake in the last day, one per address
	Known          int      `json:"known"`
	DuplicateIDs   int      `json:"duplicate_ids"`
	InboundOnly    int      `json:"inbound_only"`
	WithValidators *float64 `json:"with_validators"`
}

// Validators are the totals of validators: attachments, so that a validator that runs behind
// two nodes counts twice.
type Validators struct {
	Attachments      *float64 `json:"attachments"`
	Low              *float64 `json:"attachments_low"`
	High             *float64 `json:"attachments_high"`
	Active           *int64   `json:"active"`
	ActiveRatio      *float64 `json:"active_ratio"`
	Multiplicity     *float64 `json:"multiplicity"` // how many nodes run each validator, where it was measured
	MultiplicityLow  *float64 `json:"multiplicity_low"`
	MultiplicityHigh *float64 `json:"multiplicity_high"`
	UnreachedShare   *float64 `json:"unreached_share"`
	// The same by names that mean one thing only; nil from an earlier server.
	AttachmentsPerActive *float64           `json:"attachments_per_active"`
	NodesPerValidator    *NodesPerValidator `json:"nodes_per_validator"` // nil where it was not measured
	Unaccounted          *Unaccounted       `json:"unaccounted"`
	// SilentNodes show no duty of the validators that their custody groups require. If they have
	// them, there are up to HiddenValidators more than High, which is no part of the interval.
	SilentNodes      *float64 `json:"silent_nodes"`
	HiddenValidators *float64 `json:"hidden_validators"`
	Verdict          *string  `json:"verdict"`
	Histogram        []Bucket `json:"histogram"`
}

// NodesPerValidator is how many nodes run each validator, with its 90 % interval.
type NodesPerValidator struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Unaccounted is the share of the active validators that run on no counted node. Where
// NodesPerValidator is nil only Low is known.
type Unaccounted struct {
	Share *float64 `json:"share"`
	Low   float64  `json:"low"`
	High  *float64 `json:"high"`
}

// Bucket counts nodes by the median of their estimates.
type Bucket struct {
	Low        int     `json:"low"`
	High       *int    `json:"high"` // nil or 0 is no upper end
	Nodes      int     `json:"nodes"`
	Validators float64 `json:"validators"`
}

// Stake is in ETH.
type Stake struct {
	ETH  *float64 `json:"eth"`
	Low  *float64 `json:"eth_low"`
	High *float64 `json:"eth_high"`
}

// Top are the groups with the most validators, of Known.
type Top struct {
	Known     int     `json:"known"`
	Top       []Group `json:"top"`
	MostNodes *Group  `json:"most_nodes"` // the named one with the most nodes
}

// ForkSummary is the readiness of all nodes.
type ForkSummary struct {
	Scheduled  *bool           `json:"scheduled"` // as in Forks
	Next       *string         `json:"next"`      // nil when none is scheduled
	Ready      int             `json:"ready"`
	NotReady   int             `json:"not_ready"`
	Unknown    int             `json:"unknown"` // without a next fork all nodes
	Validators *ForkValidators `json:"validators"`
}

// Funnel is how far the crawl gets with nodes.
type Funnel struct {
	Records        int      `json:"records"`
	RightDigest    *int     `json:"right_digest"`
	Dialled        int      `json:"dialled"`
	Connected      int      `json:"connected"`
	Status         int      `json:"status"`
	Metadata       int      `json:"metadata"`
	WithValidators *float64 `json:"with_validators"`
}

// Group is what nodes with something in common add up to.
type Group struct {
	By              string   `json:"by"`
	Name            *string  `json:"name"` // nil is not known
	Code            *string  `json:"code"` // country code, AS number, or a release's client
	Latitude        *float64 `json:"latitude"`
	Longitude       *float64 `json:"longitude"`
	Nodes           int      `json:"nodes"`
	WithValidators  *float64 `json:"with_validators"`
	Validators      *float64 `json:"validators"`
	Low             *float64 `json:"validators_low"`
	High            *float64 `json:"validators_high"`
	StakeETH        *float64 `json:"stake_eth"`
	ShareNodes      float64  `json:"share_nodes"`
	ShareValidators *float64 `json:"share_validators"`
	ShareLow        *float64 `json:"share_validators_low"`
	ShareHigh       *float64 `json:"share_validators_high"`
}

// Subnets count the nodes that count in totals.
type Subnets struct {
	Subnets            []SubnetCount  `json:"subnets"`
	CustodyGroupCounts []CustodyCount `json:"custody_group_counts"`
}

// SubnetCount is how many nodes keep a subnet.
type SubnetCount struct {
	Subnet    int `json:"subnet"`
	LongLived int `json:"long_lived"`
}

// CustodyCount is how many nodes have a custody group count; nil is not reported.
type CustodyCount struct {
	CustodyGroupCount *uint64 `json:"custody_group_count"`
	Nodes             int     `json:"nodes"`
}

// Forks is the readiness for the next fork.
type Forks struct {
	Epoch         *uint64 `json:"epoch"`
	CurrentDigest *string `json:"current_digest"`
	// Scheduled is nil when the network's schedule is not known, and from an earlier server.
	Scheduled  *bool           `json:"scheduled"`
	Next       *NextFork       `json:"next"` // nil when none is scheduled
	Validators *ForkValidators `json:"validators"`
	Versions   []ForkVersion   `json:"versions"`
	Announced  []Announcement  `json:"announced"`
}

// ForkValidators are the validators behind the nodes, by their readiness.
type ForkValidators struct {
	Total    ForkSum `json:"total"`
	Ready    ForkSum `json:"ready"`
	NotReady ForkSum `json:"not_ready"`
	Unknown  ForkSum `json:"unknown"`
}

// ForkSum are the validators of so many nodes, with the ends of the 90 % interval.
type ForkSum struct {
	Nodes      int     `json:"nodes"`
	Validators float64 `json:"validators"`
	Low        float64 `json:"validators_low"`
	High       float64 `json:"validators_high"`
}

// NextFork is the next change of the fork digest.
type NextFork struct {
	Name        string `json:"name"`
	Epoch       uint64 `json:"epoch"`
	At          *int64 `json:"at"`
	ForkVersion string `json:"fork_version"` // empty from an earlier server
	Digest      string `json:"digest"`
}

// ForkVersion is the readiness of the nodes of one client version.
type ForkVersion struct {
	Client     string   `json:"client"`
	Version    string   `json:"version"`
	Nodes      int      `json:"nodes"`
	Current    int      `json:"current"`
	Ready      int      `json:"ready"`
	NotReady   int      `json:"not_ready"`
	Unknown    int      `json:"unknown"`
	Validators *float64 `json:"validators"`
	Low        *float64 `json:"validators_low"`
	High       *float64 `json:"validators_high"`
}

// Announcement is what nodes say about forks.
type Announcement struct {
	ForkDigest      *string `json:"fork_digest"`
	NextForkVersion *string `json:"next_fork_version"`
	NextForkEpoch   *uint64 `json:"next_fork_epoch"` // 2^64-1 for no next fork
	NFD             *string `json:"nfd"`
	Nodes           int     `json:"nodes"`
}

// Outcome is how often visits ended in a way; Nodes' last visit did.
type Outcome struct {
	Outcome string `json:"outcome"`
	Visits  int    `json:"visits"`
	Nodes   int    `json:"nodes"`
}

// Concentration is how concentrated the validators are on groups of one kind.
type Concentration struct {
	By               string   `json:"by"`
	KnownShare       *float64 `json:"known_share"`
	HHI              *float64 `json:"hhi"` // Herfindahl-Hirschman index, at least
	HHIHigh          *float64 `json:"hhi_high"`
	Third            *int     `json:"third"` // how many groups hold a third; nil when they cannot
	TwoThirds        *int     `json:"two_thirds"`
	Largest          *string  `json:"largest"`
	LargestCode      *string  `json:"largest_code"`
	LargestShare     *float64 `json:"largest_share"`
	LargestShareLow  *float64 `json:"largest_share_low"`
	LargestShareHigh *float64 `json:"largest_share_high"`
}

// Point is a step of the timeseries. Metrics that were not asked for, or not known, are nil.
type Point struct {
	Time           *int64         `json:"time"`      // where the step begins
	TotalsAt       *int64         `json:"totals_at"` // of when the totals are, the last in the step
	Nodes          *float64       `json:"nodes"`
	WithValidators *float64       `json:"with_validators"`
	Validators     *float64       `json:"validators"`
	Low            *float64       `json:"validators_low"`
	High           *float64       `json:"validators_high"`
	StakeETH       *float64       `json:"stake_eth"`
	StakeLow       *float64       `json:"stake_low"`
	StakeHigh      *float64       `json:"stake_high"`
	Clients        map[string]int `json:"clients"`    // nodes by client
	Fork           *string        `json:"fork"`       // the next one at that time
	ForkReady      *int           `json:"fork_ready"` // nodes whose record announced its digest
	ForkNotReady   *int           `json:"fork_not_ready"`
	ForkUnknown    *int           `json:"fork_unknown"`
	Records        *int           `json:"records"`
	Handshakes     *int           `json:"handshakes"`
	Watches        *int           `json:"watches"`
	Visits         map[string]int `json:"visits"` // by outcome
}

// Kinds of changes.
const (
	Appeared          = "appeared"
	Vanished          = "vanished"
	Moved             = "moved"
	Upgraded          = "upgraded"
	StartedValidating = "started_validating"
	StoppedValidating = "stopped_validating"
)

// Change is what happened to a node.
type Change struct {
	Kind    string  `json:"kind"`
	ID      string  `json:"id"`
	At      *int64  `json:"at"`
	Client  *string `json:"client"`
	Version *string `json:"version"`
	// From and To are versions, places or numbers of validators; of a node that moved, with a
	// key, addresses.
	From     *string `json:"from"`
	To       *string `json:"to"`
	Replaces *string `json:"replaces"` // the vanished peer id at the same address
	// The ends of the 90 % intervals of From and To where these are numbers of validators, and the
	// flags of the latter.
	FromLow  *float64 `json:"from_low"`
	FromHigh *float64 `json:"from_high"`
	ToLow    *float64 `json:"to_low"`
	ToHigh   *float64 `json:"to_high"`
	Flags    []string `json:"flags"`
	// Seq numbers the changes in the order in which they were found, at FoundAt: events may come
	// late.
	Seq     int64  `json:"seq"`
	FoundAt *int64 `json:"found_at"`
}

// Crawl is how the crawl goes.
type Crawl struct {
	Ready    bool         `json:"ready"`
	Reason   *string      `json:"reason"` // why it is not ready
	Sentries []Sentry     `json:"sentries"`
	Funnel   Funnel       `json:"funnel"`
	Outcomes []VisitCount `json:"outcomes"`
	Events   EventCounts  `json:"events"`
	GeoDate  *string      `json:"geo_date"`
}

// Sentry is one crawler.
type Sentry struct {
	ID            string  `json:"id"`
	Location      *string `json:"location"`
	LastEvent     *int64  `json:"last_event"`
	Events        *uint64 `json:"events"`
	MissingEvents *uint64 `json:"missing_events"`
}

// Sentries compare what the sentries see, over the day before the newest event. Numbers of nodes are
// of peer ids.
type Sentries struct {
	Nodes    NodeViews        `json:"nodes"`
	Sentries []ComparedSentry `json:"sentries"`
}

// NodeViews count nodes by how many of the sentries that tried them reached them, by a handshake or
// in a watch.
type NodeViews struct {
	ByAll    int `json:"by_all"` // two or more, and each of them
	BySome   int `json:"by_some"`
	ByOne    int `json:"by_one"` // the only one that tried
	ByNone   int `json:"by_none"`
	Sentries int `json:"sentries"` // peer ids of Valtrack sentries: in no other number
}

// ComparedSentry is a sentry beside the others.
type ComparedSentry struct {
	ID          string  `json:"id"`
	Location    *string `json:"location"`
	Version     *string `json:"version"` // the program that it runs
	FirstSeen   *int64  `json:"first_seen"`
	LastEvent   *int64  `json:"last_event"`
	ClockSkewMS *int64  `json:"clock_skew_ms"` // above zero ahead of the broker's clock
	ClockSkewAt *int64  `json:"clock_skew_at"`
	ClockErrors uint64  `json:"clock_errors"` // events since the consumer's start that are not used
	Tried       int     `json:"tried"`
	Reached     int     `json:"reached"`
	Watched     int     `json:"watched"`
	Alone       int     `json:"alone"`  // reached by no other
	Shared      int     `json:"shared"` // that it tried and another reached
	Missed      int     `json:"missed"` // of these, those that it did not reach
	// ReachedShare is that of Shared which it reached.
	ReachedShare *float64 `json:"reached_share"`
	HandshakeMS  *int64   `json:"handshake_ms"` // the median over nodes
	// HandshakeDifferenceMS is the median over nodes of how much longer it took than others.
	HandshakeDifferenceMS *int64        `json:"handshake_difference_ms"`
	Handshakes            int64         `json:"handshakes"`
	Hellos                int64         `json:"hellos"` // handshakes with the node's subscriptions
	WatchedHours          float64       `json:"watched_hours"`
	Changes               int64         `json:"changes"` // of attestation subnets in watches
	Faults                []SentryFault `json:"faults"`
}

// SentryFault is something that a sentry does worse than the others.
type SentryFault struct {
	Fault string `json:"fault"`
	Text  string `json:"text"`
}

// VisitCount is how often visits ended in a way.
type VisitCount struct {
	Outcome string `json:"outcome"`
	Visits  int    `json:"visits"`
}

// EventCounts are those of the consumer.
type EventCounts struct {
	Lag         *uint64 `json:"lag"` // messages of the stream that are not stored yet
	Stored      *uint64 `json:"stored"`
	Rejected    *uint64 `json:"rejected"`
	LastSegment *uint64 `json:"last_segment"`
	LastCommit  *int64  `json:"last_commit"`
}

// Dataset is one table.
type Dataset struct {
	Table  string        `json:"table"`
	Public bool          `json:"public"` // can be downloaded without a key
	Files  int           `json:"files"`
	Bytes  int64         `json:"bytes"`
	Rows   *int64        `json:"rows"`
	Parts  []DatasetFile `json:"parts"`
}

// DatasetFile is one file of a table.
type DatasetFile struct {
	Name     string `json:"name"`
	Bytes    int64  `json:"bytes"`
	Modified *int64 `json:"modified"`
}
