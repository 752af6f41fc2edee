package tracker

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
)

// refused is the end of a dial that failed: it moves LastVisit, but not LastSeen.
func refused(i int, at time.Time) *event.VisitEnded {
	return &event.VisitEnded{Common: common(at), VisitID: fmt.Sprintf("r-1-%d", i), ID: peerID(i), Direction: event.Outbound,
		Started: at.UnixMilli(), Ended: at.UnixMilli(), Outcome: event.OutcomeRefused}
}

// damage replaces the data of a peer's day.
func (t *Tracker) damage(i, day int, data func([]byte) []byte) {
	p := *t.peers[peerID(i)]
	p.days = slices.Clone(p.days)
	p.days[day].data = data(bytes.Clone(p.days[day].data))
	t.peers[p.ID] = &p
}

// Days that an hour drops while the open segment has events of their peers are dropped,
// counted and logged once: whether the segment does not touch them, adds to them, or
// finds the damage itself.
func TestLostDaysStayLost(t *testing.T) {
	now := start.Add(60 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	c := newCrawl(1)
	visit := func(i int, hours time.Duration) {
		for _, e := range c.visit(i, start.Add(hours*time.Hour), 1) {
			tr.Add(e)
		}
	}
	for i := range 5 {
		visit(i, 1)
		visit(i, 50)
	}
	flush(t, tr, 0)
	unknown := func([]byte) []byte { return []byte{99} }
	badRuns := func(b []byte) []byte { b[len(b)-1] |= 0x80; return b } // found only when the runs are decoded
	tr.damage(0, 0, unknown)
	tr.damage(1, 1, badRuns)
	tr.damage(2, 1, unknown)
	tr.damage(3, 0, unknown) // will be out of the window of the draft
	var log bytes.Buffer
	tr.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	now = now.Add(time.Hour)
	for i := range 5 {
		visit(i, 51)
	}
	visit(3, (Window+1)*24)
	for segment := range uint64(3) {
		tr.Hour()
		flush(t, tr, 1+segment)
		for i, want := range []uint32{1, 1, 1, 1, 0} {
			p := tr.State().Peer(peerID(i))
			if bad := len(p.days) - len(decodable(p.days)); p.LostDays != want || bad > 0 {
				t.Errorf("hour %d: peer %d lost %d days, want %d, and has %d that cannot be decoded", segment, i, p.LostDays, want, bad)
			}
		}
		now = now.Add(time.Hour)
		for i := range 5 {
			visit(i, 52+time.Duration(segment))
		}
	}
	if text := log.String(); strings.Count(text, "could not be decoded") != 1 || !strings.Contains(text, "days=4") {
		t.Errorf("log: %s", text)
	}
}

// An hour recomputes an estimate, forgets addresses and peers. The open segment, which has
// events of them, does not bring them back.
func TestOpenSegmentUndoesNothing(t *testing.T) {
	now := start.Add(2 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	c := newCrawl(1)
	visit := func(i int, at time.Time) {
		for _, e := range c.visit(i, at, 0) {
			tr.Add(e)
		}
	}
	const current, gone, returned, failed, moved = 0, 1, 2, 3, 4
	for i := range 5 {
		tr.Add(c.discovered(i, start.Add(time.Hour)))
		visit(i, start.Add(time.Hour))
	}
	flush(t, tr, 0)

	// 89 days later nothing was learned since.
	now = start.Add(forgetAfter - time.Hour)
	visit(current, now.Add(-time.Hour))
	tr.refreshed = now
	flush(t, tr, 1)

	// The open segment, 90 days and an hour after the first.
	now = start.Add(forgetAfter + 2*time.Hour)
	visit(current, now.Add(-time.Minute))
	late := c.discovered(gone, start.Add(time.Hour+time.Minute))
	late.Seq = 0 // an older record
	tr.Add(late)
	visit(returned, now.Add(-time.Minute))
	tr.Add(refused(failed, now.Add(-time.Minute)))
	for _, e := range c.visit(moved, now.Add(-time.Minute), 0) {
		if h, ok := e.(*event.MetadataReceived); ok {
			h.Multiaddr = "/ip4/192.0.2.3/tcp/9000"
		}
		tr.Add(e)
	}
	rows := tr.Hour()
	if len(rows) == 0 {
		t.Fatal("no rows of the hour")
	}
	tr.refreshed = now // nothing is learned after the segment
	flush(t, tr, 2)

	s := tr.State()
	if p := s.Peer(peerID(current)); p.Observations != 3 || p.Estimate != rows[0].Estimate {
		t.Errorf("%d observations, estimate %+v, the hour's is %+v", p.Observations, p.Estimate, rows[0].Estimate)
	}
	if p := s.Peer(peerID(gone)); p != nil {
		t.Errorf("a peer that was not seen for 90 days: %+v", p)
	}
	if p := s.Peer(peerID(returned)); p == nil || p.Observations != 2 || p.Address == "" || len(p.Endpoints) != 1 {
		t.Errorf("a peer that returned: %+v", p)
	}
	if p := s.Peer(peerID(failed)); p == nil || p.Observations != 1 || p.Outcomes[slices.Index(event.Outcomes(), event.OutcomeRefused)] != 1 {
		t.Errorf("a peer that was dialled: %+v", p)
	} else if p.Address != "" || p.Multiaddr != "" || len(p.Endpoints) > 0 || p.Record.ENR != "" || p.Record.IP != "" {
		t.Errorf("addresses that were last confirmed 90 days ago: %+v", p)
	}
	if p := s.Peer(peerID(moved)); p == nil || p.Observations != 2 || len(p.Endpoints) != 1 || p.Address != "tcp/192.0.2.3:9000" {
		t.Errorf("a peer that has moved: %+v", p)
	}
}

// Above the bound the peers that are forgotten are those that the open segment does not
// make newer, and its events do not bring them back.
func TestEvictedBesideADraft(t *testing.T) {
	now := start.Add(10 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	c := newCrawl(1)
	for i := range 6 {
		for _, e := range c.visit(i, start.Add(time.Duration(i)*time.Hour), 0) {
			tr.Add(e)
		}
	}
	flush(t, tr, 0)
	now = now.Add(time.Hour)
	tr.Add(refused(0, start.Add(9*time.Hour))) // not seen
	for _, e := range c.visit(1, start.Add(9*time.Hour), 0) {
		tr.Add(e)
	}
	tr.maxPeers = 4
	var rows, ids []string
	for _, row := range tr.Hour() {
		rows = append(rows, row.ID)
	}
	flush(t, tr, 1)
	for i := range 6 {
		if tr.State().Peer(peerID(i)) != nil {
			ids = append(ids, peerID(i))
		}
	}
	want := []string{peerID(1), peerID(3), peerID(4), peerID(5)}
	if d := gocmp.Diff([][]string{want, want}, [][]string{rows, ids}); d != "" {
		t.Errorf("the hour's rows, and the peers after the segment (-want +got):\n%s", d)
	}
}
