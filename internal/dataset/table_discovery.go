package dataset

import (
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// Discovery is the table of peer_discovered events.
const Discovery = "discovery_events"

func discoveryTable() table { return eventTableOf(0, DiscoveryRow.trusted) }

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
	Own               *bool   `parquet:"own,optional" json:"own"` // the node itself gave the record; null where the sentry does not say
	ClockSkewMS       *int64  `parquet:"clock_skew_ms,optional,dict" json:"clock_skew_ms"`
	ClockErrorMS      *int64  `parquet:"clock_error_ms,optional" json:"clock_error_ms"` // see ClockError
	Common
}

// Table implements Row.
func (DiscoveryRow) Table() string { return Discovery }

// Peer implements Row.
func (r DiscoveryRow) Peer() string { return r.ID }

// ClockErr implements EventRow.
func (r DiscoveryRow) ClockErr() *int64 { return r.ClockErrorMS }

func (r DiscoveryRow) key() rowKey {
	return rowKey{peer: r.ID, crawler: r.CrawlerID, at: r.Timestamp, number: r.Seq}
}

// FromPeerDiscovered is the row of an event.
func FromPeerDiscovered(e *event.PeerDiscovered) DiscoveryRow {
	return DiscoveryRow{
		ENR: e.ENR, ID: e.ID, NodeID: e.NodeID.String(), Seq: e.Seq,
		IP: notEmpty(e.IP), IP6: notEmpty(e.IP6),
		Port: notZero(e.Port), UDP: notZero(e.UDP), QUIC: notZero(e.QUIC),
		ForkDigest: text(e.ForkDigest), NextForkVersion: text(e.NextForkVersion), NextForkEpoch: (*uint64)(e.NextForkEpoch),
		Attnets: text(e.Attnets), Syncnets: text(e.Syncnets),
		CustodyGroupCount: e.CustodyGroupCount, NFD: text(e.NFD), Own: e.Own,
		ClockSkewMS: e.ClockSkewMS, Common: commonOf(e.Common),
	}
}

// trusted is Event, or nil when the clock behind the row's times is known to be off.
func (r DiscoveryRow) trusted() (event.Event, error) {
	if r.ClockErrorMS != nil {
		return nil, nil
	}
	return r.Event()
}

// Event returns the event that the row was made from. It is an error if no valid
// event gives this row.
func (r DiscoveryRow) Event() (event.Event, error) {
	e := &event.PeerDiscovered{
		Common: r.event(r.ClockSkewMS), ENR: r.ENR, ID: r.ID, Seq: r.Seq,
		IP: orEmpty(r.IP), IP6: orEmpty(r.IP6), Port: orZero(r.Port), UDP: orZero(r.UDP), QUIC: orZero(r.QUIC),
		NextForkEpoch: (*eth2.Epoch)(r.NextForkEpoch), CustodyGroupCount: r.CustodyGroupCount, Own: r.Own,
	}
	p := parser{row: r.ID}
	p.parse(&e.NodeID, r.NodeID)
	e.ForkDigest = parsed[eth2.ForkDigest](&p, r.ForkDigest)
	e.NextForkVersion = parsed[eth2.Version](&p, r.NextForkVersion)
	e.Attnets = parsed[eth2.Attnets](&p, r.Attnets)
	e.Syncnets = parsed[eth2.Syncnets](&p, r.Syncnets)
	e.NFD = parsed[eth2.ForkDigest](&p, r.NFD)
	return e, p.err
}
