package dataset

import (
	"encoding"
	"fmt"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// Events of rows are what the rows were made of: From... of the result is the row
// again. An error is of a row that no valid event makes.

// Event is the event of a row.
func (r DiscoveryRow) Event() (*event.PeerDiscovered, error) {
	e := &event.PeerDiscovered{
		Common: r.event(), ENR: r.ENR, ID: r.ID, Seq: r.Seq,
		IP: orEmpty(r.IP), IP6: orEmpty(r.IP6), Port: orZero(r.Port), UDP: orZero(r.UDP), QUIC: orZero(r.QUIC),
		NextForkEpoch: numberOf[eth2.Epoch](r.NextForkEpoch), CustodyGroupCount: copied(r.CustodyGroupCount),
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

// Event is the event of a row.
func (r MetadataRow) Event() (*event.MetadataReceived, error) {
	p := parser{row: r.ID}
	m := p.metaData(r.MetaData)
	e := &event.MetadataReceived{
		Common: r.event(), ENR: r.ENR, ID: r.ID, NodeID: parsed[eth2.NodeID](&p, r.NodeID), Multiaddr: r.Multiaddr, Epoch: eth2.Epoch(r.Epoch),
		MetaData: &m, SubscribedSubnets: ints(r.SubscribedSubnets),
		ClientVersion: r.ClientVersion, VisitID: r.VisitID, Direction: r.Direction, Transport: r.Transport,
		HeadSlot: eth2.Slot(r.HeadSlot), FinalizedEpoch: eth2.Epoch(r.FinalizedEpoch),
		EarliestAvailableSlot: numberOf[eth2.Slot](r.EarliestAvailableSlot), SyncSubnets: ints(r.SyncSubnets),
	}
	p.parse(&e.ForkDigest, r.ForkDigest)
	if r.ColumnSubnets != nil {
		n := int(*r.ColumnSubnets)
		e.ColumnSubnets = &n
	}
	return e, p.err
}

// Event is the event of a row.
func (r VisitRow) Event() (*event.VisitEnded, error) {
	p := parser{row: r.ID}
	e := &event.VisitEnded{
		Common: r.event(), VisitID: r.VisitID, Part: int(r.Part), More: r.More, ID: r.ID, Multiaddr: orEmpty(r.Multiaddr),
		Direction: r.Direction, Transport: orEmpty(r.Transport), Started: r.Started, Ended: r.Ended, Outcome: r.Outcome,
		Error: orEmpty(r.Error), GoodbyeCode: copied(r.GoodbyeCode), ClientVersion: orEmpty(r.ClientVersion), HandshakeMS: copied(r.HandshakeMS),
	}
	if r.Watch != nil {
		e.Watch = p.watch(r.Watch)
	}
	return e, p.err
}

func (c Common) event() event.Common {
	return event.Common{Network: c.Network, CrawlerID: c.CrawlerID, CrawlerLocation: c.CrawlerLocation, Timestamp: c.Timestamp}
}

// parser reads a row's hex columns and keeps the first error.
type parser struct {
	row string
	err error
}

func (p *parser) parse(into encoding.TextUnmarshaler, text string) {
	if err := into.UnmarshalText([]byte(text)); err != nil && p.err == nil {
		p.err = fmt.Errorf("row of %s: %w", p.row, err)
	}
}

// parsed is nil for null.
func parsed[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](p *parser, text *string) *T {
	if text == nil {
		return nil
	}
	v := new(T)
	p.parse(P(v), *text)
	return v
}

func (p *parser) metaData(m MetaData) event.MetaData {
	out := event.MetaData{SeqNumber: m.SeqNumber, Syncnets: parsed[eth2.Syncnets](p, m.Syncnets), CustodyGroupCount: copied(m.CustodyGroupCount)}
	p.parse(&out.Attnets, m.Attnets)
	return out
}

func (p *parser) watch(w *Watch) *event.Watch {
	out := &event.Watch{From: w.From, To: w.To, Initial: ints(w.Initial), Changes: make([]event.SubnetChange, len(w.Changes))}
	for i, c := range w.Changes {
		out.Changes[i] = event.SubnetChange{At: c.At, Subnet: int(c.Subnet), Subscribed: c.Subscribed}
	}
	for _, m := range w.MetaDataChanges {
		out.MetaDataChanges = append(out.MetaDataChanges, event.WatchMetaData{At: m.At, MetaData: p.metaData(m.MetaData)})
	}
	return out
}

// ints is the inverse of List.
func ints(list []int32) []int {
	if list == nil {
		return nil
	}
	out := make([]int, len(list))
	for i, n := range list {
		out[i] = int(n)
	}
	return out
}

func numberOf[T ~uint64](v *uint64) *T {
	if v == nil {
		return nil
	}
	n := T(*v)
	return &n
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orZero(port *int32) uint16 {
	if port == nil {
		return 0
	}
	return uint16(*port)
}
