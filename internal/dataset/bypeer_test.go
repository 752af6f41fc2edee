package dataset

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/event"
)

// hexRows are the test rows' bit fields as events have them: those of the other tests are
// no whole ones.
func hexRows() ([]DiscoveryRow, []MetadataRow, []VisitRow) {
	const attnets, node = "0x0300000000000080", "0x00000000000000000000000000000000000000000000000000000000000000aa"
	d, m, v := discoveryRows(), metadataRows(), visitRows()
	for i := range d {
		d[i].NodeID = node
		if d[i].Port != nil && *d[i].Port == 0 { // which no event has
			d[i].Port = nil
		}
		for _, s := range []**string{&d[i].Attnets, &d[i].Syncnets, &d[i].ForkDigest, &d[i].NextForkVersion, &d[i].NFD} {
			if *s != nil {
				*s = ptr("0x01020304")
			}
		}
		if d[i].Attnets != nil {
			d[i].Attnets = ptr(attnets)
		}
		if d[i].Syncnets != nil {
			d[i].Syncnets = ptr("0x0f")
		}
	}
	for i := range m {
		m[i].ForkDigest, m[i].MetaData.Attnets = "0x01020304", attnets
		if m[i].NodeID != nil {
			m[i].NodeID = ptr(node)
		}
		if m[i].MetaData.Syncnets != nil {
			m[i].MetaData.Syncnets = ptr("0x03")
		}
	}
	for i := range v {
		if v[i].Watch != nil {
			for j := range v[i].Watch.MetaDataChanges {
				v[i].Watch.MetaDataChanges[j].MetaData.Attnets = attnets
			}
		}
	}
	return d, m, v
}

// A row's event makes the row again.
func TestEventsOfRows(t *testing.T) {
	same := cmpopts.EquateEmpty()
	ds, ms, vs := hexRows()
	for _, row := range ds {
		e, err := row.Event()
		if err != nil {
			t.Fatal(err)
		}
		if d := gocmp.Diff(row, FromPeerDiscovered(e.(*event.PeerDiscovered)), same); d != "" {
			t.Error(d)
		}
	}
	for _, row := range ms {
		e, err := row.Event()
		if err != nil {
			t.Fatal(err)
		}
		if d := gocmp.Diff(row, FromMetadataReceived(e.(*event.MetadataReceived))); d != "" {
			t.Error(d)
		}
	}
	for _, row := range vs {
		e, err := row.Event()
		if err != nil {
			t.Fatal(err)
		}
		if d := gocmp.Diff(row, FromVisitEnded(e.(*event.VisitEnded)), same); d != "" {
			t.Error(d)
		}
	}
	if _, err := (DiscoveryRow{NodeID: "0xaa"}).Event(); err == nil {
		t.Error("a node id of one byte makes an event")
	}
}

// Events come peer by peer and in time, whatever parts they are in, and from the
// segment on that was asked for.
func TestEventsAfter(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	w := openAt(t, dir, c)
	defer w.Close()
	segment := func(times ...int64) {
		t.Helper()
		ds, ms, vs := hexRows()
		for _, at := range times {
			for _, id := range []string{"b", "a"} {
				d, m, v := ds[0], ms[0], vs[1]
				d.ID, m.ID, v.ID = id, id, id
				d.Timestamp, m.Timestamp, v.Timestamp = at, at+1, at+1
				if err := errors.Join(Append(w, d), errors.Join(Append(w, m), Append(w, validatorRows()[0])), Append(w, v)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Commit(nil); err != nil {
			t.Fatal(err)
		}
	}
	after := func(first uint64) (got []string, err error) {
		err = EventsAfter(t.Context(), dir, first, func(e event.Event) error {
			switch e := e.(type) {
			case *event.PeerDiscovered:
				got = append(got, fmt.Sprintf("%s %d record", e.ID, e.Timestamp))
			case *event.MetadataReceived:
				got = append(got, fmt.Sprintf("%s %d shake", e.ID, e.Timestamp))
			case *event.VisitEnded:
				got = append(got, fmt.Sprintf("%s %d visit", e.ID, e.Timestamp))
			}
			return nil
		})
		return got, err
	}
	var all []string
	for _, id := range []string{"a", "b"} {
		for at := 10; at <= 60; at += 10 {
			all = append(all, fmt.Sprintf("%s %d record", id, at), fmt.Sprintf("%s %d shake", id, at+1), fmt.Sprintf("%s %d visit", id, at+1))
		}
	}
	segment(40, 10) // 1
	segment(30)     // 2
	segment(20, 50) // 3
	c.advance(time.Hour)
	compact(t, w)
	segment(60) // 4
	got, err := after(0)
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(all, got); d != "" || !slices.IsSortedFunc(got, func(a, b string) int { return cmp.Compare(a[:4], b[:4]) }) {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got, err := after(4); err != nil || len(got) != 6 || got[0] != "a 60 record" {
		t.Errorf("after 4: %v, %v", got, err)
	}
	if got, err := after(5); err != nil || len(got) != 0 {
		t.Errorf("after the last: %v, %v", got, err)
	}
	if got, err := after(2); !errors.Is(err, ErrSplit) {
		t.Errorf("after 2, which is merged: %v, %v", got, err)
	}
	stop := errors.New("stop")
	if err := EventsAfter(t.Context(), dir, 0, func(event.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of each: %v", err)
	}
}
