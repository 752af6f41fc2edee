package dataset

import (
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// Visit is the table of visit_ended events.
const Visit = "visit_events"

func visitTable() table { return eventTableOf(2, VisitRow.trusted) }

// VisitRow is one visit_ended event.
type VisitRow struct {
	VisitID       string  `parquet:"visit_id,delta" json:"visit_id"`
	Part          int32   `parquet:"part" json:"part"` // from 0; above for a watch, which has one for each epoch
	More          bool    `parquet:"more" json:"more"` // a further part of the visit follows
	ID            string  `parquet:"id,dict" json:"id"`
	Multiaddr     *string `parquet:"multiaddr,optional,dict" json:"multiaddr"`
	Direction     string  `parquet:"direction,dict" json:"direction"`
	Transport     *string `parquet:"transport,optional,dict" json:"transport"`
	Started       int64   `parquet:"started,delta" json:"started"` // Unix milliseconds
	Ended         int64   `parquet:"ended,delta" json:"ended"`
	Outcome       string  `parquet:"outcome,dict" json:"outcome"`
	Error         *string `parquet:"error,optional,dict" json:"error"`
	GoodbyeCode   *uint64 `parquet:"goodbye_code,optional,dict" json:"goodbye_code"`
	ClientVersion *string `parquet:"client_version,optional,dict" json:"client_version"`
	HandshakeMS   *int64  `parquet:"handshake_ms,optional" json:"handshake_ms"`
	Watch         *Watch  `parquet:"watch,optional" json:"watch"`
	ClockSkewMS   *int64  `parquet:"clock_skew_ms,optional,dict" json:"clock_skew_ms"`
	ClockErrorMS  *int64  `parquet:"clock_error_ms,optional" json:"clock_error_ms"` // see ClockError
	// CrawlerVersion is the program of the sentry; null in the events of older sentries, and in
	// rows that an earlier consumer stored.
	CrawlerVersion *string `parquet:"crawler_version,optional,dict" json:"crawler_version"`
	EarlierBootEnd *string `parquet:"earlier_boot_end,optional,dict" json:"earlier_boot_end"` // of a boot before the event's; null likewise
	Common
}

// Watch is the subscription log of a watch visit, or of a part of it.
type Watch struct {
	From            int64            `parquet:"from" json:"from"` // Unix milliseconds
	To              int64            `parquet:"to" json:"to"`
	Initial         []int32          `parquet:"initial,list" json:"initial"`
	Since           []int32          `parquet:"since,list,optional" json:"since"`     // ms from joining to From, as long as Initial; 0 where not known; null where all are
	Attnets         *string          `parquet:"attnets,optional,dict" json:"attnets"` // at From; null while those of metadata_received
	Changes         []SubnetChange   `parquet:"changes,list" json:"changes"`
	MetaDataChanges []MetaDataChange `parquet:"metadata_changes,list" json:"metadata_changes"`
}

// SubnetChange is a SUBSCRIBE or an UNSUBSCRIBE, At milliseconds after Watch.From.
type SubnetChange struct {
	At         int64 `parquet:"at" json:"at"`
	Subnet     int32 `parquet:"subnet" json:"subnet"`
	Subscribed bool  `parquet:"subscribed" json:"subscribed"`
}

// MetaDataChange is a MetaData that differs from the one before it.
type MetaDataChange struct {
	At       int64    `parquet:"at" json:"at"`
	MetaData MetaData `parquet:"metadata" json:"metadata"`
}

// Table implements Row.
func (VisitRow) Table() string { return Visit }

// Peer implements Row.
func (r VisitRow) Peer() string { return r.ID }

// ClockErr implements EventRow.
func (r VisitRow) ClockErr() *int64 { return r.ClockErrorMS }

func (r VisitRow) key() rowKey {
	return rowKey{peer: r.ID, crawler: r.CrawlerID, at: r.Timestamp, visit: r.VisitID, number: uint64(r.Part)}
}

// FromVisitEnded is the row of an event.
func FromVisitEnded(e *event.VisitEnded) VisitRow {
	return VisitRow{
		VisitID: e.VisitID, Part: int32(e.Part), More: e.More, ID: e.ID, Multiaddr: notEmpty(e.Multiaddr), Direction: e.Direction, Transport: notEmpty(e.Transport),
		Started: e.Started, Ended: e.Ended, Outcome: e.Outcome, Error: notEmpty(e.Error), GoodbyeCode: e.GoodbyeCode,
		ClientVersion: notEmpty(e.ClientVersion), HandshakeMS: e.HandshakeMS,
		Watch:       watchOf(e.Watch),
		ClockSkewMS: e.ClockSkewMS, CrawlerVersion: notEmpty(e.CrawlerVersion), EarlierBootEnd: notEmpty(e.EarlierBootEnd), Common: commonOf(e.Common),
	}
}

func watchOf(w *event.Watch) *Watch {
	if w == nil {
		return nil
	}
	out := &Watch{From: w.From, To: w.To, Initial: List(w.Initial), Since: List(w.Since), Attnets: text(w.Attnets)}
	for _, c := range w.Changes {
		out.Changes = append(out.Changes, SubnetChange{At: c.At, Subnet: int32(c.Subnet), Subscribed: c.Subscribed})
	}
	for _, m := range w.MetaDataChanges {
		out.MetaDataChanges = append(out.MetaDataChanges, MetaDataChange{At: m.At, MetaData: metaDataOf(&m.MetaData)})
	}
	return out
}

// trusted is Event, or nil when the clock behind the row's times is known to be off.
func (r VisitRow) trusted() (event.Event, error) {
	if r.ClockErrorMS != nil {
		return nil, nil
	}
	return r.Event()
}

// Event returns the event that the row was made from. It is an error if no valid
// event gives this row.
func (r VisitRow) Event() (event.Event, error) {
	p := parser{row: r.ID}
	e := &event.VisitEnded{
		Common: r.event(r.ClockSkewMS), VisitID: r.VisitID, Part: int(r.Part), More: r.More, ID: r.ID, Multiaddr: orEmpty(r.Multiaddr),
		Direction: r.Direction, Transport: orEmpty(r.Transport), Started: r.Started, Ended: r.Ended, Outcome: r.Outcome,
		Error: orEmpty(r.Error), GoodbyeCode: r.GoodbyeCode, ClientVersion: orEmpty(r.ClientVersion), HandshakeMS: r.HandshakeMS,
	}
	e.CrawlerVersion, e.EarlierBootEnd = orEmpty(r.CrawlerVersion), orEmpty(r.EarlierBootEnd)
	if r.Watch != nil {
		e.Watch = p.watch(r.Watch)
	}
	return e, p.err
}

func (p *parser) watch(w *Watch) *event.Watch {
	out := &event.Watch{From: w.From, To: w.To, Initial: ints(w.Initial), Since: ints(w.Since), Attnets: parsed[eth2.Attnets](p, w.Attnets), Changes: make([]event.SubnetChange, len(w.Changes))}
	for i, c := range w.Changes {
		out.Changes[i] = event.SubnetChange{At: c.At, Subnet: int(c.Subnet), Subscribed: c.Subscribed}
	}
	for _, m := range w.MetaDataChanges {
		out.MetaDataChanges = append(out.MetaDataChanges, event.WatchMetaData{At: m.At, MetaData: p.metaData(m.MetaData)})
	}
	return out
}
