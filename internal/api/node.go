package api

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/tracker"
)

// node is a row of /nodes: a peer, and what follows from all of them.
type node struct {
	*tracker.Peer
	nodeID  string
	release string
	weight  float64 // in totals; NaN for a node that does not count
	place   place
	// hidden is whether few nodes are at its place: the public does not see which.
	hidden     bool
	validating validating
}

// place is where a node is, as far as it is known. Empty strings are unknown.
type place struct {
	country, code, region, city string
	latitude, longitude         float64 // NaN where they are unknown
	asn                         uint32  // 0 where it is unknown
	asName, hosting, cloud      string
	source                      string // the databases that say so
}

// validating is whether a node has validators; unsure estimates keep what was known before.
type validating int8

const (
	unsure validating = iota
	no
	yes
)

// validatingOf is yes or no above and below these probabilities.
func validatingOf(p *tracker.Peer) validating {
	const likely = 0.95
	switch {
	case p.Estimate == nil:
		return unsure
	case p.Estimate.PValidator >= likely:
		return yes
	case p.Estimate.PValidator <= 1-likely:
		return no
	}
	return unsure
}

// address is that of the last outbound handshake or, without one, of the record.
func (n *node) address() (ip netip.Addr, port uint16) {
	_, text, _ := strings.Cut(n.Address, "/")
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr(), at.Port()
	}
	for _, text := range []string{n.Record.IP, n.Record.IP6} {
		if ip, err := netip.ParseAddr(text); err == nil {
			return ip, n.Record.Port
		}
	}
	return netip.Addr{}, 0
}

// handshaken reports whether the node ever completed a handshake.
func (n *node) handshaken() bool { return n.LastHandshake > 0 }

// custody is the custody group count that the node told last: in its MetaData, or, where that has
// none (before version 3, or without a handshake), the last one known, as of its record. Nil for none.
func (n *node) custody() *uint64 {
	if n.CustodyGroupCount == nil && n.Custody.Latest > 0 {
		return &n.Custody.Latest
	}
	return n.CustodyGroupCount
}

// forkDigest is that of the Status or, before the first handshake, of the record.
func (n *node) forkDigest() *eth2.ForkDigest {
	if n.handshaken() {
		return &n.ForkDigest
	}
	return n.Record.ForkDigest
}

// announcedEpoch is that of the fork that the newest record announces, nil for none.
func (n *node) announcedEpoch() *uint64 {
	if e := n.Record.NextForkEpoch; e != nil && *e != eth2.FarFutureEpoch {
		return (*uint64)(e)
	}
	return nil
}

// agent is the agent string, put together from what the tracker keeps of it, as agents are
// commonly written: other text that a node may have put there is not in it.
func (n *node) agent() string {
	parts := []string{string(n.Client.Kind)}
	if n.Client.Version != "" {
		parts = append(parts, n.Client.Version)
	}
	if platform := strings.Trim(n.Client.Arch+"-"+n.Client.OS, "-"); platform != "" {
		parts = append(parts, platform)
	}
	return strings.Join(parts, "/")
}

// subnetBits are the long-lived subnets of a node as a bit field.
func subnetBits(n *node) int64 {
	if n.MetaDataAt == 0 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(n.Attnets[:]))
}

// column is one member of a row.
type column struct {
	name  string
	keyed bool // needs a key
	list  bool // nodes are not sorted by it
	get   func(n *node) value
	// public is what is shown without a key; nil for get.
	public func(n *node) value
}

// at is the value that the caller may see.
func (c *column) at(n *node, full bool) value {
	if c.public != nil && !full {
		return c.public(n)
	}
	return c.get(n)
}

// ofHandshake is null before the first handshake.
func ofHandshake(get func(n *node) value) func(n *node) value {
	return func(n *node) value {
		if !n.handshaken() {
			return value{}
		}
		return get(n)
	}
}

// ofClient is null until the node has told its client, in a handshake or in a visit that completed
// none.
func ofClient(get func(n *node) value) func(n *node) value {
	return func(n *node) value {
		if n.ToldClient() == 0 {
			return value{}
		}
		return get(n)
	}
}

// ofEstimate is null before the first estimate.
func ofEstimate(get func(e *tracker.Estimate) value) func(n *node) value {
	return func(n *node) value {
		if n.Estimate == nil {
			return value{}
		}
		return get(n.Estimate)
	}
}

// ofStake is null where the stake is not known.
func ofStake(get func(s estimate.Stake) float64) func(n *node) value {
	return ofEstimate(func(e *tracker.Estimate) value {
		if !e.Stake.Known {
			return value{}
		}
		return float(get(e.Stake))
	})
}

// unlessHidden is null for the public where few nodes are.
func unlessHidden(get func(n *node) value) func(n *node) value {
	return func(n *node) value {
		if n.hidden {
			return value{}
		}
		return get(n)
	}
}

// nodeColumns are the columns of a row, in the order in which they are written.
var nodeColumns = []column{
	{name: "id", get: func(n *node) value { return text(n.ID) }},
	{name: "node_id", get: func(n *node) value { return text(n.nodeID) }},
	{name: "client", get: ofClient(func(n *node) value { return text(n.Client.Kind) })},
	{name: "client_version", get: ofClient(func(n *node) value { return text(n.agent()) })},
	{name: "client_release", get: ofClient(func(n *node) value { return text(n.release) })},
	{name: "os", get: ofClient(func(n *node) value { return text(n.Client.OS) })},
	{name: "arch", get: ofClient(func(n *node) value { return text(n.Client.Arch) })},
	{name: "validators", get: ofEstimate(func(e *tracker.Estimate) value { return integer(e.Median) })},
	{name: "validators_low", get: ofEstimate(func(e *tracker.Estimate) value { return float(e.Low) })},
	{name: "validators_high", get: ofEstimate(func(e *tracker.Estimate) value { return float(e.High) })},
	{name: "validators_mean", get: ofEstimate(func(e *tracker.Estimate) value { return float(e.Mean) })},
	{name: "p_validator", get: ofEstimate(func(e *tracker.Estimate) value { return float(e.PValidator) })},
	{name: "flags", list: true, get: ofEstimate(func(e *tracker.Estimate) value { return value{kind: kindWords, words: e.Flags.Names()} })},
	{name: "trust", get: ofEstimate(func(e *tracker.Estimate) value { return text(e.Trust.String()) })},
	{name: "weight", get: func(n *node) value { return float(n.weight) }},
	{name: "stake_eth", get: ofStake(func(s estimate.Stake) float64 { return s.Median })},
	{name: "stake_low", get: ofStake(func(s estimate.Stake) float64 { return s.Low })},
	{name: "stake_high", get: ofStake(func(s estimate.Stake) float64 { return s.High })},
	{name: "custody_group_count", get: func(n *node) value {
		if count := n.custody(); count != nil {
			return integer(*count)
		}
		return value{}
	}},
	{name: "all_subnets", get: ofEstimate(func(e *tracker.Estimate) value { return boolean(e.AllSubnets) })},
	{name: "observations", get: func(n *node) value { return integer(n.Observations) }},
	{name: "epochs_watched", get: ofEstimate(func(e *tracker.Estimate) value { return float(e.EpochsWatched) })},
	{name: "first_seen", get: func(n *node) value { return millis(n.FirstSeen) }},
	{name: "last_seen", get: func(n *node) value { return millis(n.LastSeen) }},
	{name: "last_epoch", get: ofHandshake(func(n *node) value { return integer(uint64(n.LastEpoch)) })},
	{name: "last_outcome", get: func(n *node) value { return text(n.LastOutcome) }},
	{name: "direction", get: func(n *node) value { return text(n.Direction) }},
	{name: "transport", get: func(n *node) value { return text(n.Transport) }},
	{name: "fork_digest", get: func(n *node) value { return text(orEmpty(stringOf(n.forkDigest()))) }},
	{name: "next_fork_version", get: func(n *node) value { return text(orEmpty(stringOf(n.Record.NextForkVersion))) }},
	{name: "next_fork_epoch", get: func(n *node) value {
		if e := n.announcedEpoch(); e != nil {
			return integer(*e)
		}
		return value{}
	}},
	{name: "nfd", get: func(n *node) value { return text(orEmpty(stringOf(n.Record.NFD))) }},
	{name: "long_lived_subnets", list: true, get: func(n *node) value {
		if n.MetaDataAt == 0 {
			return value{}
		}
		return value{kind: kindBits, n: subnetBits(n)}
	}},
	{name: "country", get: func(n *node) value { return text(n.place.country) }},
	{name: "country_code", get: func(n *node) value { return text(n.place.code) }},
	{name: "region", get: func(n *node) value { return text(n.place.region) }, public: unlessHidden(func(n *node) value { return text(n.place.region) })},
	{name: "city", get: func(n *node) value { return text(n.place.city) }, public: unlessHidden(func(n *node) value { return text(n.place.city) })},
	{name: "latitude", get: func(n *node) value { return float(n.place.latitude) }, public: unlessHidden(func(n *node) value { return float(geo.Coarse(n.place.latitude)) })},
	{name: "longitude", get: func(n *node) value { return float(n.place.longitude) }, public: unlessHidden(func(n *node) value { return float(geo.Coarse(n.place.longitude)) })},
	{name: "asn", get: func(n *node) value {
		if n.place.asn == 0 {
			return value{}
		}
		return integer(n.place.asn)
	}},
	{name: "as_name", get: func(n *node) value { return text(n.place.asName) }},
	{name: "hosting", get: func(n *node) value { return text(n.place.hosting) }},
	{name: "cloud", get: func(n *node) value { return text(n.place.cloud) }},
	{name: "enr", keyed: true, get: func(n *node) value { return text(n.Record.ENR) }},
	{name: "multiaddr", keyed: true, get: func(n *node) value { return text(n.Multiaddr) }},
	{name: "ip", keyed: true, get: func(n *node) value {
		ip, _ := n.address()
		if !ip.IsValid() {
			return value{}
		}
		return text(ip.String())
	}},
	{name: "port", keyed: true, get: func(n *node) value {
		_, port := n.address()
		if port == 0 {
			return value{}
		}
		return integer(port)
	}},
	{name: "geo_source", get: func(n *node) value { return text(n.place.source) }},
	{name: "since", get: ofEstimate(func(e *tracker.Estimate) value { return millis(e.Since) })},
}

// columnsFor are the columns that a caller may see.
func columnsFor(full bool) (out []*column) {
	for i := range nodeColumns {
		if c := &nodeColumns[i]; full || !c.keyed {
			out = append(out, c)
		}
	}
	return out
}
