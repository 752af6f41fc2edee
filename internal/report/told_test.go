package report

import (
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

// What was told last counts, whoever told it: a handshake, a watch, or a record that the
// node has signed since.
func TestToldLast(t *testing.T) {
	at := func(ms int64) dataset.Common { return dataset.Common{Network: "n", Timestamp: ms} }
	record := func(ms int64, seq, cgc uint64) any {
		return dataset.DiscoveryRow{ID: "a", Seq: seq, CustodyGroupCount: &cgc, Attnets: ptr("0x0400000000000000"), Common: at(ms)}
	}
	handshake := func(ms int64, cgc *uint64) any {
		return dataset.ValidatorRow{ID: "a", CustodyGroupCount: cgc, LongLivedSubnets: []int32{0}, Common: at(ms)}
	}
	watch := func(from, to, change int64, cgc uint64, more bool) any {
		return dataset.VisitRow{ID: "a", Outcome: "ok", More: more, Started: from, Ended: to, Common: at(to), Watch: &dataset.Watch{From: from, To: to,
			MetaDataChanges: []dataset.MetaDataChange{{At: change, MetaData: dataset.MetaData{Attnets: "0x0200000000000000", CustodyGroupCount: &cgc}}}}}
	}
	for _, c := range []struct {
		name   string
		rows   []any
		cgc    *uint64
		by     string
		subnet int32
		last   int64
	}{
		{"handshake", []any{handshake(100, ptr[uint64](4))}, ptr[uint64](4), toldByHandshake, 0, 100},
		{"watch after it", []any{handshake(100, ptr[uint64](4)), watch(110, 900, 50, 53, false)}, ptr[uint64](53), toldByWatch, 1, 900},
		{"a part of a watch that goes on", []any{handshake(100, ptr[uint64](4)), watch(110, 900, 50, 53, true)}, ptr[uint64](53), toldByWatch, 1, 900},
		{"handshake after the watch", []any{handshake(1000, ptr[uint64](8)), watch(110, 900, 50, 53, false)}, ptr[uint64](8), toldByHandshake, 0, 1000},
		{"newer record", []any{record(50, 1, 4), record(200, 2, 53), handshake(100, ptr[uint64](4))}, ptr[uint64](53), toldByRecord, 2, 200},
		{"a lower seq, of a node that was set up again", []any{record(50, 57, 4), handshake(100, ptr[uint64](4)), record(200, 1, 53)}, ptr[uint64](53), toldByRecord, 2, 200},
		{"record of before, found later", []any{record(200, 1, 4), handshake(100, ptr[uint64](53))}, ptr[uint64](53), toldByHandshake, 0, 200},
		{"the same record again, of another sentry", []any{record(50, 1, 4), record(200, 1, 4), handshake(100, ptr[uint64](53))}, ptr[uint64](53), toldByHandshake, 0, 200},
		{"MetaData without a count", []any{record(50, 1, 9), handshake(100, nil)}, ptr[uint64](9), toldByRecord, 0, 100},
		{"nobody", []any{handshake(100, nil)}, nil, "", 0, 100},
	} {
		r := reportOf(t, dataset.Range{}, c.rows...)
		n := r.nodes["a"]
		if (n.CustodyGroupCount == nil) != (c.cgc == nil) || c.cgc != nil && *n.CustodyGroupCount != *c.cgc || n.CustodyToldBy != c.by {
			t.Errorf("%s: custody group count %v told by %q, want %v by %q", c.name, n.CustodyGroupCount, n.CustodyToldBy, c.cgc, c.by)
		}
		if len(n.LongLivedSubnets) != 1 || n.LongLivedSubnets[0] != c.subnet {
			t.Errorf("%s: long-lived subnets %v, want %d", c.name, n.LongLivedSubnets, c.subnet)
		}
		if n.LastSeen != c.last {
			t.Errorf("%s: last heard at %d, want %d", c.name, n.LastSeen, c.last)
		}
	}
}

// reportOf is the report of rows, which are read table by table.
func reportOf(t *testing.T, in dataset.Range, rows ...any) *Report {
	t.Helper()
	r := newReport()
	r.restrict(in)
	for table := range 3 {
		for _, row := range rows {
			var err error
			switch row := row.(type) {
			case dataset.DiscoveryRow:
				if table == 0 {
					err = r.addDiscovery(row)
				}
			case dataset.ValidatorRow:
				if table == 1 {
					err = r.addHandshake(row)
				}
			case dataset.VisitRow:
				if table == 2 {
					err = r.addVisit(row)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}
