package report

// Node is what is known of one node, with the names of the API's node row.
// Pointers are nil where it is not known. Fields from the handshake are those of the
// newest one. Times are Unix milliseconds.
type Node struct {
	ID            string  `json:"id"`
	NodeID        string  `json:"node_id,omitempty"`
	Client        string  `json:"client"`
	ClientVersion *string `json:"client_version"`
	OS            *string `json:"os"`
	Arch          *string `json:"arch"`
	// Estimated is nil before the first estimate: then its columns are absent.
	*Estimated
	CustodyGroupCount *uint64 `json:"custody_group_count"`
	AllSubnets        bool    `json:"all_subnets"`
	Observations      int     `json:"observations"`
	EpochsWatched     float64 `json:"epochs_watched"`
	FirstSeen         int64   `json:"first_seen"`
	LastSeen          int64   `json:"last_seen"`
	LastEpoch         uint64  `json:"last_epoch"`
	Direction         string  `json:"direction"`
	Transport         string  `json:"transport"`
	ForkDigest        *string `json:"fork_digest"`
	NextForkVersion   *string `json:"next_fork_version"`
	NFD               *string `json:"nfd"`
	LongLivedSubnets  []int32 `json:"long_lived_subnets"`
	// SubnetRule is the rule that LongLivedSubnets follow (eth2.SubnetRule). It tells families
	// of clients apart where the agent is hidden.
	SubnetRule *string `json:"subnet_rule"`
	// ShortLivedSubnets is null when the handshake got no gossip hello.
	ShortLivedSubnets []int32 `json:"short_lived_subnets"`
	LastOutcome       string  `json:"last_outcome,omitempty"` // of the newest visit
	ENR               string  `json:"enr,omitempty"`
	Multiaddr         string  `json:"multiaddr,omitempty"`
	IP                *string `json:"ip"`
	Port              *int32  `json:"port"`

	record           *uint64 // seq of the newest record; nil before the first
	handshake, visit int64   // time of the newest
	discovered       bool
	visited          bool
}

func (n *Node) seen(at int64) {
	if n.FirstSeen == 0 || at < n.FirstSeen {
		n.FirstSeen = at
	}
	n.LastSeen = max(n.LastSeen, at)
}

// orEmpty is the string that p points at, empty for nil.
func orEmpty(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
