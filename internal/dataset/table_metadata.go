package dataset

import (
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// Metadata is the table of metadata_received events. Its part is the last of a
// segment's to be renamed into place: that commits the segment.
const Metadata = "metadata_events"

func metadataTable() table { return eventTableOf(1, MetadataRow.trusted) }

// MetadataRow is one metadata_received event, unchanged.
type MetadataRow struct {
	ENR                   string   `parquet:"enr,dict" json:"enr"`
	ID                    string   `parquet:"id,dict" json:"id"`
	NodeID                *string  `parquet:"node_id,optional,dict" json:"node_id"`
	Multiaddr             string   `parquet:"multiaddr,dict" json:"multiaddr"`
	Epoch                 uint64   `parquet:"epoch" json:"epoch"`
	MetaData              MetaData `parquet:"metadata" json:"metadata"`
	SubscribedSubnets     []int32  `parquet:"subscribed_subnets,list,optional" json:"subscribed_subnets"`
	ClientVersion         string   `parquet:"client_version,dict" json:"client_version"` // the agent string
	VisitID               string   `parquet:"visit_id,delta" json:"visit_id"`
	Direction             string   `parquet:"direction,dict" json:"direction"`
	Transport             string   `parquet:"transport,dict" json:"transport"`
	ForkDigest            string   `parquet:"fork_digest,dict" json:"fork_digest"`
	HeadSlot              uint64   `parquet:"head_slot,delta" json:"head_slot"`
	FinalizedEpoch        uint64   `parquet:"finalized_epoch" json:"finalized_epoch"`
	EarliestAvailableSlot *uint64  `parquet:"earliest_available_slot,optional" json:"earliest_available_slot"`
	ColumnSubnets         *int32   `parquet:"column_subnets,optional" json:"column_subnets"`
	SyncSubnets           []int32  `parquet:"sync_subnets,list,optional" json:"sync_subnets"`
	ClockSkewMS           *int64   `parquet:"clock_skew_ms,optional,dict" json:"clock_skew_ms"`
	ClockErrorMS          *int64   `parquet:"clock_error_ms,optional" json:"clock_error_ms"` // see ClockError
	Common
}

// MetaData is the peer's MetaData message; what its version lacks is null.
type MetaData struct {
	SeqNumber         uint64  `parquet:"seq_number" json:"seq_number"`
	Attnets           string  `parquet:"attnets,dict" json:"attnets"`
	Syncnets          *string `parquet:"syncnets,optional,dict" json:"syncnets"`
	CustodyGroupCount *uint64 `parquet:"custody_group_count,optional,dict" json:"custody_group_count"`
}

// Table implements Row.
func (MetadataRow) Table() string { return Metadata }

// Peer implements Row.
func (r MetadataRow) Peer() string { return r.ID }

// ClockErr implements EventRow.
func (r MetadataRow) ClockErr() *int64 { return r.ClockErrorMS }

func (r MetadataRow) key() rowKey {
	return rowKey{peer: r.ID, crawler: r.CrawlerID, at: r.Timestamp, visit: r.VisitID}
}

// FromMetadataReceived is the row of a valid event.
func FromMetadataReceived(e *event.MetadataReceived) MetadataRow {
	return MetadataRow{
		ENR: e.ENR, ID: e.ID, NodeID: text(e.NodeID), Multiaddr: e.Multiaddr, Epoch: uint64(e.Epoch),
		MetaData:          metaDataOf(e.MetaData),
		SubscribedSubnets: List(e.SubscribedSubnets),
		ClientVersion:     e.ClientVersion, VisitID: e.VisitID, Direction: e.Direction, Transport: e.Transport,
		ForkDigest: e.ForkDigest.String(), HeadSlot: uint64(e.HeadSlot), FinalizedEpoch: uint64(e.FinalizedEpoch),
		EarliestAvailableSlot: (*uint64)(e.EarliestAvailableSlot), ColumnSubnets: small(e.ColumnSubnets), SyncSubnets: List(e.SyncSubnets),
		ClockSkewMS: e.ClockSkewMS, Common: commonOf(e.Common),
	}
}

func metaDataOf(m *event.MetaData) MetaData {
	return MetaData{SeqNumber: m.SeqNumber, Attnets: m.Attnets.String(), Syncnets: text(m.Syncnets), CustodyGroupCount: m.CustodyGroupCount}
}

// trusted is Event, or nil when the clock behind the row's times is known to be off.
func (r MetadataRow) trusted() (event.Event, error) {
	if r.ClockErrorMS != nil {
		return nil, nil
	}
	return r.Event()
}

// Event returns the event that the row was made from. It is an error if no valid
// event gives this row.
func (r MetadataRow) Event() (event.Event, error) {
	p := parser{row: r.ID}
	m := p.metaData(r.MetaData)
	e := &event.MetadataReceived{
		Common: r.event(r.ClockSkewMS), ENR: r.ENR, ID: r.ID, NodeID: parsed[eth2.NodeID](&p, r.NodeID), Multiaddr: r.Multiaddr, Epoch: eth2.Epoch(r.Epoch),
		MetaData: &m, SubscribedSubnets: ints(r.SubscribedSubnets),
		ClientVersion: r.ClientVersion, VisitID: r.VisitID, Direction: r.Direction, Transport: r.Transport,
		HeadSlot: eth2.Slot(r.HeadSlot), FinalizedEpoch: eth2.Epoch(r.FinalizedEpoch),
		EarliestAvailableSlot: (*eth2.Slot)(r.EarliestAvailableSlot), SyncSubnets: ints(r.SyncSubnets),
	}
	p.parse(&e.ForkDigest, r.ForkDigest)
	if r.ColumnSubnets != nil {
		n := int(*r.ColumnSubnets)
		e.ColumnSubnets = &n
	}
	return e, p.err
}

func (p *parser) metaData(m MetaData) event.MetaData {
	out := event.MetaData{SeqNumber: m.SeqNumber, Syncnets: parsed[eth2.Syncnets](p, m.Syncnets), CustodyGroupCount: m.CustodyGroupCount}
	p.parse(&out.Attnets, m.Attnets)
	return out
}
