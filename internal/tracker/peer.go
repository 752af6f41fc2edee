package tracker

import (
	"slices"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
)

// Bounds of what is kept of one peer.
const (
	maxEndpoints  = 4
	maxCustody    = 8
	maxOpenVisits = 4  // of the only sentry
	maxOpenShared = 16 // of several sentries together
	// maxVersionsADay bounds the statistics of a peer that changes its agent all the time.
	maxVersionsADay = 4
	// outcomes is how many event.Outcomes there are.
	outcomes = 12
)

// Peer is what is known about one peer. Times are Unix milliseconds, 0 for never.
// Pointers are nil and strings empty where it is not known. It is immutable.
type Peer struct {
	ID      string       `json:"-"`
	Network string       `json:"network"`
	NodeID  *eth2.NodeID `json:"node_id,omitempty"`
	// Client is what the node told last, in a handshake or in a visit that completed none; see ToldClient.
	Client  eth2.Client  `json:"client"`
	Crawler event.Common `json:"crawler"` // of the last handshake; its timestamp is the handshake's
	Record  Record       `json:"record"`
	Address string       `json:"address,omitempty"` // transport/ip:port of the last outbound handshake
	// Outcomes counts ended visits, in the order of event.Outcomes.
	Outcomes [outcomes]uint32 `json:"outcomes"`
	// LastOutcome is that of the visit that ended last, at LastVisit.
	LastOutcome string `json:"last_outcome,omitempty"`
	LastVisit   int64  `json:"last_visit,omitempty"`

	// From the newest handshake.
	Multiaddr string `json:"multiaddr,omitempty"`
	// Place is that of Multiaddr, and stays when the address is forgotten.
	Place      *geo.Place      `json:"place,omitempty"`
	Direction  string          `json:"direction,omitempty"`
	Transport  string          `json:"transport,omitempty"`
	ForkDigest eth2.ForkDigest `json:"fork_digest"`
	LastEpoch  eth2.Epoch      `json:"last_epoch"`
	// From the newest MetaData, of a handshake or a watch, which came at MetaDataAt.
	Attnets           eth2.Attnets `json:"attnets"`
	CustodyGroupCount *uint64      `json:"custody_group_count,omitempty"`
	MetaDataAt        int64        `json:"metadata_at,omitempty"`

	FirstSeen     int64 `json:"first_seen"`
	LastSeen      int64 `json:"last_seen"`
	LastHandshake int64 `json:"last_handshake,omitempty"`
	ClientAt      int64 `json:"client_at,omitempty"` // 0 also where an earlier version kept Client
	// Observations counts handshakes, Watches logs of subscriptions (one with several parts
	// once), WatchedMS the time in which at least one sentry watched.
	Observations uint64 `json:"observations"`
	Watches      uint64 `json:"watches"`
	WatchedMS    int64  `json:"watched_ms"`
	// Watched are the newest of these times, of all sentries together.
	Watched []estimate.Span `json:"watched,omitempty"`

	Custody        estimate.Custody `json:"custody"`
	CustodyHistory []CustodyChange  `json:"custody_history,omitempty"` // oldest first
	// Views are what each sentry knows of it, by the sentries' ids; empty as long as there was only
	// one, see viewed.
	Views []View `json:"views,omitempty"`
	// Endpoints are the addresses of outbound handshakes, oldest first.
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// Open are visits that have not ended, and the last ones with a watch.
	Open []openVisit `json:"open,omitempty"`

	// Duties are those that it showed in the newest watched epochs, for the multiplicity of the
	// network's validators.
	Duties estimate.Duties `json:"duties,omitempty"`

	// Estimate is nil before the first.
	Estimate *Estimate `json:"estimate,omitempty"`

	// LostDays counts the days of statistics that were dropped as they could not be decoded.
	LostDays uint32 `json:"lost_days,omitempty"`

	days []day // ascending
	// placed is the version of the databases, plus 1, that Place was last looked up in; 0
	// for none since the start.
	placed uint64
}

// ToldClient is when the node told its Client; 0 if it never did.
func (p *Peer) ToldClient() int64 { return max(p.ClientAt, p.LastHandshake) }

// LastMet is when the node is last known to have been connected: its newest handshake, or the end
// of what was watched of it last, since a long watch has no later handshake. 0 for a node that never
// completed one.
func (p *Peer) LastMet() int64 {
	if n := len(p.Watched); n > 0 && p.LastHandshake > 0 {
		return max(p.LastHandshake, p.Watched[n-1][1])
	}
	return p.LastHandshake
}

// Record is the newest node record.
type Record struct {
	At              int64            `json:"at,omitempty"` // 0 without a record
	ENR             string           `json:"enr,omitempty"`
	Seq             uint64           `json:"seq,omitempty"`
	IP              string           `json:"ip,omitempty"`
	IP6             string           `json:"ip6,omitempty"`
	Port            uint16           `json:"port,omitempty"` // TCP
	UDP             uint16           `json:"udp,omitempty"`  // of discovery
	QUIC            uint16           `json:"quic,omitempty"`
	ForkDigest      *eth2.ForkDigest `json:"fork_digest,omitempty"`
	NextForkVersion *eth2.Version    `json:"next_fork_version,omitempty"`
	NextForkEpoch   *eth2.Epoch      `json:"next_fork_epoch,omitempty"` // nil also in records that an earlier version kept
	NFD             *eth2.ForkDigest `json:"nfd,omitempty"`
}

// CustodyChange is a custody group count that differs from the one before.
type CustodyChange struct {
	At    int64  `json:"at"`
	Count uint64 `json:"count"`
}

// Endpoint is an address at which the peer was found.
type Endpoint struct {
	Address string `json:"address"` // transport/ip:port
	First   int64  `json:"first"`
	Last    int64  `json:"last"`
}

// openVisit joins a handshake with the parts of its visit's watch.
type openVisit struct {
	ID      string       `json:"id"`
	Attnets eth2.Attnets `json:"attnets"`        // MetaData's at the handshake
	Parts   partWindow   `json:"parts,omitzero"` // that were folded
	// WatchedTo is the end of the newest part of a watch that goes on, Unix milliseconds.
	WatchedTo int64 `json:"watched_to,omitempty"`
}

// partWindow are the parts of a watch that were folded, in any order: the newest, and
// which of the 64 up to it (as the anti-replay window of RFC 4303).
type partWindow struct {
	Count  int    `json:"count,omitempty"` // the newest part's number, plus 1
	Recent uint64 `json:"recent,omitempty"`
}

// add notes a part. It is false for one that was noted before, or that is so old that it
// may have been.
func (w *partWindow) add(part int) bool {
	if ahead := part + 1 - w.Count; ahead > 0 {
		w.Count, w.Recent = part+1, w.Recent<<ahead|1
		return true
	}
	behind := w.Count - 1 - part
	if behind >= 64 || w.Recent>>behind&1 == 1 {
		return false
	}
	w.Recent |= 1 << behind
	return true
}

// withoutAddresses is the peer without the addresses that were last seen to hold before a
// time, Unix milliseconds: the peer itself when it has none of them.
func (p *Peer) withoutAddresses(before int64) *Peer {
	old := func(e Endpoint) bool { return e.Last < before }
	unseen := p.LastSeen < before && (p.Address != "" || p.Multiaddr != "" || p.Record.ENR != "" || p.Record.IP != "" || p.Record.IP6 != "")
	if !unseen && !slices.ContainsFunc(p.Endpoints, old) {
		return p
	}
	next := *p
	next.Endpoints = slices.DeleteFunc(slices.Clone(p.Endpoints), old)
	if !slices.ContainsFunc(next.Endpoints, func(e Endpoint) bool { return e.Address == p.Address }) {
		next.Address = ""
	}
	if unseen {
		next.Multiaddr = ""
		r := &next.Record
		r.ENR, r.IP, r.IP6 = "", "", ""
	}
	return &next
}

// withoutDuties is the peer without its duties if all are of slots before one: the peer itself
// otherwise.
func (p *Peer) withoutDuties(before eth2.Slot) *Peer {
	if p.Duties == nil || p.Duties.Newest() >= before {
		return p
	}
	next := *p
	next.Duties = nil
	return &next
}
