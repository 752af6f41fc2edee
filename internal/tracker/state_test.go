package tracker

import (
	"bytes"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What a version showed that failed its tests explains no estimate, neither while the
// peer runs it nor later.
func TestWhyTrustsAsTheEstimateDoes(t *testing.T) {
	dir, now := t.TempDir(), start.Add(20*time.Hour)
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	for i := range 5 {
		for _, e := range c.visit(0, start.Add(time.Duration(1+2*i)*time.Hour), 3) {
			tr.Add(e)
		}
	}
	flush(t, tr, 0)
	v, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	p := *v.Peer(peerID(0))
	assumed := v.Why(&p)
	check := func(when string) {
		t.Helper()
		if why := v.Why(&p); why.On != assumed.On || math.Abs(2*why.Subnets.Mean/assumed.Subnets.Mean-1) > 0.1 {
			t.Errorf("%s, subnets alone at twice the assumed rate: %+v of %d filled cells; at that: %+v", when, why.Subnets, why.On, assumed.Subnets)
		}
	}
	v.Learned.Versions[0].WatchedRatio, v.Learned.Versions[0].WatchedError = 2, 0.01
	v.Learned.Versions[0].SnapshotRatio, v.Learned.Versions[0].SnapshotError = 2, 0.01
	check("the version")
	p.Client.Version = "v9.0.0" // since updated
	check("the version before")
}

// What a reader has does not change with the next segments, the next has.
func TestStateIsImmutable(t *testing.T) {
	now := start.Add(20 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	c := newCrawl(1)
	segment := func(n uint64, visits int) *State {
		for _, e := range c.events(5, visits, start.Add(time.Duration(n+1)*time.Hour), time.Minute) {
			tr.Add(e)
		}
		tr.Hour()
		flush(t, tr, n)
		return tr.State()
	}
	first := segment(0, 2)
	estimate, totals := *first.Peer(peerID(0)).Estimate, first.Totals()
	now = now.Add(time.Hour)
	second := segment(1, 3)
	tr.SetActiveValidators(300_000)
	now = now.Add(time.Hour)
	third := segment(2, 1)

	for i, want := range []struct {
		*State
		segment    uint64
		handshakes uint64
		hours      int
	}{{first, 0, 2, 0}, {second, 1, 5, 1}, {third, 2, 6, 2}} {
		p, sum := want.Peer(peerID(0)), int64(0)
		for _, h := range want.History.Counts {
			sum += h.Counts[CountHandshakes]
		}
		if *want.Applied != want.segment || p.Observations != want.handshakes || len(want.History.Totals) != want.hours || sum != 5*int64(want.handshakes) {
			t.Errorf("state %d: segment %d, %d handshakes of a peer and %d of all, %d totals", i, *want.Applied, p.Observations, sum, len(want.History.Totals))
		}
	}
	if d := gocmp.Diff([]any{estimate, totals}, []any{*first.Peer(peerID(0)).Estimate, first.Totals()}); d != "" {
		t.Error(d)
	}
	if first.Params().ActiveValidators != 950_000 || third.Params().ActiveValidators != 300_000 {
		t.Errorf("active validators %d and %d", first.Params().ActiveValidators, third.Params().ActiveValidators)
	}
}

// Another process reads the same state from the database.
func TestStateOfTheDatabase(t *testing.T) {
	dir, now := t.TempDir(), start.Add(20*time.Hour)
	tr := opened(t, dir, &now)
	for _, e := range newCrawl(1).events(8, 4, start.Add(time.Hour), time.Hour) {
		tr.Add(e)
	}
	flush(t, tr, 0)
	tr.Hour()
	flush(t, tr, 1)
	read, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	opts := gocmp.Options{cmpopts.IgnoreUnexported(State{}, Peer{}), cmpopts.EquateEmpty()}
	if d := gocmp.Diff(tr.State(), read, opts); d != "" {
		t.Errorf("(-published +read):\n%s", d)
	}
	if d := gocmp.Diff(tr.State().peers, read.peers, opts); d != "" {
		t.Errorf("peers (-published +read):\n%s", d)
	}
	p := read.Peer(peerID(1))
	if d := gocmp.Diff([]any{tr.State().Totals(), tr.State().Why(p)}, []any{read.Totals(), read.Why(p)}, cmpopts.EquateApprox(1e-9, 0)); d != "" {
		t.Errorf("computed (-published +read):\n%s", d)
	}
}

// Readers of all kinds while the tracker works, for the race detector.
func TestReadersBesideTheTracker(t *testing.T) {
	now := start.Add(10 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				tr.SetActiveValidators(950_000)
				s := tr.State()
				nodes, _ := s.Counted()
				if s.Totals().Nodes != len(nodes) {
					t.Error("the totals are of other nodes than the list")
				}
				for _, p := range nodes {
					s.Why(p)
					s.SameAddress(p)
					if _, undecodable := s.Days(p); undecodable > 0 {
						t.Errorf("%d days cannot be decoded", undecodable)
					}
				}
			}
		})
	}
	c := newCrawl(1)
	for segment := range uint64(20) {
		for _, e := range c.events(5, 1, now.Add(-time.Hour), 0) {
			tr.Add(e)
		}
		now = now.Add(20 * time.Minute)
		tr.Hour()
		flush(t, tr, segment)
	}
	close(stop)
	readers.Wait()
}

// The history of a State is that of the last hours, also when it was loaded.
func TestHistoryIsBounded(t *testing.T) {
	dir, now := t.TempDir(), start
	tr := opened(t, dir, &now)
	c, totals := counts{}, []Totals{}
	const more = 10
	for i := range int64(HistoryHours + more) {
		hour := start.UnixMilli() + i*time.Hour.Milliseconds()
		c[hour] = map[string]int64{CountRecords: i, CountWatches: 1}
		totals = append(totals, Totals{Hour: hour, DuplicateIDs: uint64(i)})
	}
	tr.addHistory(c, totals)
	flush(t, tr, 0)
	read, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*State{"published": tr.State(), "read": read} {
		h := s.History
		if len(h.Totals) != HistoryHours || h.Totals[0].DuplicateIDs != more || len(h.Counts) != HistoryHours || h.Counts[0].Counts[CountRecords] != more {
			t.Errorf("%s: %d totals, %d counts, the first %+v, %+v", name, len(h.Totals), len(h.Counts), h.Totals[0], h.Counts[0])
		}
	}
	h, err := ReadHistory(t.Context(), dir, 0, math.MaxInt64)
	if err != nil || len(h.Totals) != HistoryHours+more || len(h.Counts) != HistoryHours+more {
		t.Errorf("%d totals, %d counts in the database, %v", len(h.Totals), len(h.Counts), err)
	}
}

// Days that cannot be decoded are dropped, counted and logged once, and the day goes on.
func TestUndecodableDays(t *testing.T) {
	dir, now := t.TempDir(), start.Add(60*time.Hour)
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	visit := func(tr *Tracker, i int, hours time.Duration) {
		for _, e := range c.visit(i, start.Add(hours*time.Hour), 1) {
			tr.Add(e)
		}
	}
	for i := range 3 {
		visit(tr, i, 1) // a day that will be sealed
		visit(tr, i, 50)
	}
	flush(t, tr, 0)
	for i, p := range []*Peer{tr.peers[peerID(0)], tr.peers[peerID(1)]} {
		days := []day{p.days[0], p.days[1]}
		days[i].data = []byte{99} // an encoding that nobody knows
		if _, err := tr.store.db.Exec("UPDATE peers SET days = ? WHERE id = ?", appendDays(nil, days), p.ID); err != nil {
			t.Fatal(err)
		}
	}
	tr.killed(t)

	tr = opened(t, dir, &now)
	var log bytes.Buffer
	tr.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	visit(tr, 1, 51) // on the damaged day: found when it is added to
	flush(t, tr, 1)  // the other when the estimates are recomputed
	now = now.Add(time.Hour)
	tr.Hour()
	flush(t, tr, 2)
	read, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := tr.State().LostDays(), read.LostDays(); a != 2 || b != 2 {
		t.Errorf("%d days lost, %d in the database, want 2", a, b)
	}
	for i, want := range []int{1, 2, 2} {
		if days, undecodable := read.Days(read.Peer(peerID(i))); undecodable > 0 || len(days) != want {
			t.Errorf("peer %d has %d days, %d that cannot be decoded; want %d", i, len(days), undecodable, want)
		}
	}
	if text := log.String(); strings.Count(text, "could not be decoded") != 1 || !strings.Contains(text, "days=2") {
		t.Errorf("log: %s", text)
	}
}
