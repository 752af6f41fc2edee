package report

import (
	"slices"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
)

// Node is what is known of one node, with the names of the API's node row.
// Pointers are nil where it is not known. Fields from the handshake are those of the
// newest one; the client and its version are what the node told last, in a handshake or in a
// visit that did not complete one. Times are Unix milliseconds.
type Node struct {
	ID            string  `json:"id"`
	NodeID        string  `json:"node_id,omitempty"`
	Client        string  `json:"client"`
	ClientVersion *string `json:"client_version"` // the agent string, as everywhere
	ClientRelease *string `json:"client_release"` // null where the agent does not say
	OS            *string `json:"os"`
	Arch          *string `json:"arch"`
	// Estimated is nil before the first estimate: then its columns are absent.
	*Estimated
	// Weight is what the node counts for in totals, from 0 to 1; null before the first estimate.
	Weight *float64 `json:"weight,omitempty"`
	// CustodyGroupCount and LongLivedSubnets are what was told last, by a handshake, in a
	// watch or by a newer record; CustodyToldBy says which, empty when the count is null.
	CustodyGroupCount *uint64 `json:"custody_group_count"`
	CustodyToldBy     string  `json:"custody_told_by,omitempty"`
	AllSubnets        bool    `json:"all_subnets"`
	Observations      int     `json:"observations"`
	EpochsWatched     float64 `json:"epochs_watched"`
	FirstSeen         int64   `json:"first_seen"`
	// LastSeen is when the node was last heard: a handshake, a new record, or a watch's end.
	LastSeen         int64   `json:"last_seen"`
	LastEpoch        uint64  `json:"last_epoch"`
	Direction        string  `json:"direction"`
	Transport        string  `json:"transport"`
	ForkDigest       *string `json:"fork_digest"`
	NextForkVersion  *string `json:"next_fork_version"`
	NextForkEpoch    *uint64 `json:"next_fork_epoch"` // null also where the record announces no fork
	NFD              *string `json:"nfd"`
	LongLivedSubnets []int32 `json:"long_lived_subnets"`
	// SubnetRule is the rule that LongLivedSubnets follow (eth2.SubnetRule), null when they
	// have changed since the last handshake. It tells families of clients apart where the
	// agent is hidden.
	SubnetRule *string `json:"subnet_rule"`
	// ShortLivedSubnets is null when the handshake got no gossip hello.
	ShortLivedSubnets []int32 `json:"short_lived_subnets"`
	// LastOutcome is that of the newest visit; open while its end is not stored.
	LastOutcome string  `json:"last_outcome,omitempty"`
	ENR         string  `json:"enr,omitempty"`
	Multiaddr   string  `json:"multiaddr,omitempty"`
	IP          *string `json:"ip"`
	Port        *int32  `json:"port"`
	IP6         *string `json:"ip6"`
	Agent       string  `json:"agent,omitempty"` // as ClientVersion
	Location

	network          string
	record           *uint64 // seq of the newest record; nil before the first
	recordAt         int64   // when it was observed
	recordCustody    *uint64 // the newest record's
	announcedEpoch   *uint64 // of the next fork in the record, eth2.FarFutureEpoch for none
	handshake, visit int64   // time of the newest
	met              int64   // as tracker.Peer.LastMet
	began            int64   // when that visit began
	agentAt          int64   // when the agent was told
	agentHidden      bool    // it has an address
	custodyAt        int64   // when the custody group count and the subnets were told
	metaDataAt       int64
	estimatedAt      int64
	discovered       bool
	visited          bool
	connected        bool // in the report's range, by a handshake or a watch
	visits           int  // that ended in the report's range
	unanswered       int  // of these, dials that nothing answered
	answered         bool // it answered one of them, whatever came of it
	handshakes       handshakes
}

// Location is the place and the network of the address of the newest handshake. GeoSource
// names the databases that say so.
type Location struct {
	Country     *string  `json:"country"`
	CountryCode *string  `json:"country_code"`
	Region      *string  `json:"region"`
	City        *string  `json:"city"`
	Latitude    *float64 `json:"latitude"`
	Longitude   *float64 `json:"longitude"`
	ASN         *uint32  `json:"asn"`
	ASName      *string  `json:"as_name"`
	Hosting     *string  `json:"hosting"`
	Cloud       *string  `json:"cloud"`
	GeoSource   *string  `json:"geo_source"`
}

// locationOf is the place in the columns of a row.
func locationOf(r *dataset.ValidatorRow) Location {
	text := func(t dataset.Text) *string { return known(string(t)) }
	return Location{
		text(r.GeoCountry), text(r.GeoCountryCode), text(r.GeoRegion), text(r.GeoCity), r.GeoLatitude, r.GeoLongitude,
		known(uint32(r.GeoASN)), text(r.GeoOrganization), text(r.GeoHosting), text(r.GeoCloud), text(r.GeoSource),
	}
}

// Who told the custody group count.
const (
	toldByHandshake = "handshake"
	toldByWatch     = "watch"
	toldByRecord    = "record"
)

// outcomeOpen stands for the outcome of a visit of which a handshake or a part is stored and
// no end: it still runs, or its sentry was killed.
const outcomeOpen = "open"

// open notes that a visit had not ended at a time.
func (n *Node) open(at int64) {
	if at > n.visit {
		n.visit, n.began, n.LastOutcome = at, at, outcomeOpen
	}
}

// toldAgent notes the agent that a visit read, also one that completed no handshake.
func (n *Node) toldAgent(at int64, agent string) {
	if at <= n.agentAt {
		return
	}
	if agent == n.Agent {
		n.agentAt = at
		return
	}
	c := eth2.ParseAgent(agent)
	n.setClient(at, agent, string(c.Kind), known(c.Release()))
	n.OS, n.Arch = known(c.OS), known(c.Arch)
}

// setClient notes the client that an agent told at a time is of.
func (n *Node) setClient(at int64, agent, client string, release *string) {
	n.agentAt, n.Agent, n.ClientVersion = at, agent, known(agent)
	n.Client, n.ClientRelease = client, release
}

func (n *Node) seen(at int64) {
	if n.FirstSeen == 0 || at < n.FirstSeen {
		n.FirstSeen = at
	}
	n.LastSeen = max(n.LastSeen, at)
}

// told notes a custody group count and long-lived subnets, when nothing newer was told. A
// MetaData before version 3 has no count: then the record's is the last that was told.
func (n *Node) told(at int64, by string, custody *uint64, longLived []int32) {
	if at >= n.custodyAt {
		if custody == nil && by != toldByRecord {
			custody, by = n.recordCustody, toldByRecord
		}
		if n.CustodyGroupCount, n.CustodyToldBy, n.custodyAt = custody, by, at; custody == nil {
			n.CustodyToldBy = ""
		}
	}
	if at >= n.metaDataAt && longLived != nil {
		if !slices.Equal(n.LongLivedSubnets, longLived) {
			n.SubnetRule = nil // of other subnets
		}
		n.LongLivedSubnets, n.metaDataAt = longLived, at
	}
}

// attnetsOf are the set bits of attnets in hex; nil for none and for what is no bit field.
func attnetsOf(text *string) []int32 {
	var a eth2.Attnets
	if text == nil || a.UnmarshalText([]byte(*text)) != nil {
		return nil
	}
	return append([]int32{}, dataset.List(a.Subnets())...)
}

// reached reports whether the node completed a handshake and was connected in the report's
// range.
func (n *Node) reached() bool { return n.handshake > 0 && n.connected }

// sentry reports whether it is another sentry of this program: no node of the network.
func (n *Node) sentry() bool { return n.Client == string(eth2.ClientValtrack) }

// validators is the estimate; -1 without one.
func (n *Node) validators() int {
	if n.Estimated == nil {
		return -1
	}
	return n.Validators
}

// orEmpty is the string that p points at, empty for nil.
func orEmpty(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
