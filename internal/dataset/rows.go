package dataset

import (
	"fmt"

	"github.com/chainbound/valtrack/internal/event"
)

// Rows share no memory with their events but for strings, which nobody can change.

// FromPeerDiscovered is the row of an event.
func FromPeerDiscovered(e *event.PeerDiscovered) DiscoveryRow {
	return DiscoveryRow{
		ENR: e.ENR, ID: e.ID, NodeID: e.NodeID.String(), Seq: e.Seq,
		IP: notEmpty(e.IP), IP6: notEmpty(e.IP6),
		Port: notZero(e.Port), UDP: notZero(e.UDP), QUIC: notZero(e.QUIC),
		ForkDigest: text(e.ForkDigest), NextForkVersion: text(e.NextForkVersion), NextForkEpoch: number(e.NextForkEpoch),
		Attnets: text(e.Attnets), Syncnets: text(e.Syncnets),
		CustodyGroupCount: number(e.CustodyGroupCount), NFD: text(e.NFD),
		Common: commonOf(e.Common),
	}
}

// FromMetadataReceived is the row of a valid event.
func FromMetadataReceived(e *event.MetadataReceived) MetadataRow {
	return MetadataRow{
		ENR: e.ENR, ID: e.ID, NodeID: text(e.NodeID), Multiaddr: e.Multiaddr, Epoch: uint64(e.Epoch),
		MetaData:          metaDataOf(e.MetaData),
		SubscribedSubnets: List(e.SubscribedSubnets),
		ClientVersion:     e.ClientVersion, VisitID: e.VisitID, Direction: e.Direction, Transport: e.Transport,
		ForkDigest: e.ForkDigest.String(), HeadSlot: uint64(e.HeadSlot), FinalizedEpoch: uint64(e.FinalizedEpoch),
		EarliestAvailableSlot: number(e.EarliestAvailableSlot), ColumnSubnets: small(e.ColumnSubnets), SyncSubnets: List(e.SyncSubnets),
		Common: commonOf(e.Common),
	}
}

// FromVisitEnded is the row of an event.
func FromVisitEnded(e *event.VisitEnded) VisitRow {
	return VisitRow{
		VisitID: e.VisitID, Part: int32(e.Part), More: e.More, ID: e.ID, Multiaddr: notEmpty(e.Multiaddr), Direction: e.Direction, Transport: notEmpty(e.Transport),
		Started: e.Started, Ended: e.Ended, Outcome: e.Outcome, Error: notEmpty(e.Error), GoodbyeCode: number(e.GoodbyeCode),
		ClientVersion: notEmpty(e.ClientVersion), HandshakeMS: copied(e.HandshakeMS),
		Watch:  watchOf(e.Watch),
		Common: commonOf(e.Common),
	}
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
		Common: r.Common,
	}
}

// List converts subnets to a column's list; nil stays nil, which is null.
func List(subnets []int) []int32 {
	if subnets == nil {
		return nil
	}
	out := make([]int32, len(subnets))
	for i, s := range subnets {
		out[i] = int32(s)
	}
	return out
}

func metaDataOf(m *event.MetaData) MetaData {
	return MetaData{SeqNumber: m.SeqNumber, Attnets: m.Attnets.String(), Syncnets: text(m.Syncnets), CustodyGroupCount: number(m.CustodyGroupCount)}
}

func watchOf(w *event.Watch) *Watch {
	if w == nil {
		return nil
	}
	out := &Watch{From: w.From, To: w.To, Initial: List(w.Initial)}
	for _, c := range w.Changes {
		out.Changes = append(out.Changes, SubnetChange{At: c.At, Subnet: int32(c.Subnet), Subscribed: c.Subscribed})
	}
	for _, m := range w.MetaDataChanges {
		out.MetaDataChanges = append(out.MetaDataChanges, MetaDataChange{At: m.At, MetaData: metaDataOf(&m.MetaData)})
	}
	return out
}

func text[T fmt.Stringer](v *T) *string {
	if v == nil {
		return nil
	}
	s := (*v).String()
	return &s
}

func number[T ~uint64](v *T) *uint64 {
	if v == nil {
		return nil
	}
	n := uint64(*v)
	return &n
}

// copied keeps a row apart from its event, whose memory may be used again.
func copied[T any](v *T) *T {
	if v == nil {
		return nil
	}
	c := *v
	return &c
}

func small(v *int) *int32 {
	if v == nil {
		return nil
	}
	n := int32(*v)
	return &n
}

func notEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func notZero(port uint16) *int32 {
	if port == 0 {
		return nil
	}
	n := int32(port)
	return &n
}
