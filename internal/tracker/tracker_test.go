package tracker

import (
	"cmp"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// opened is a tracker whose clock stands at now.
func opened(t testing.TB, dir string, now *time.Time) *Tracker {
	t.Helper()
	tr, err := Open(t.Context(), config(dir))
	if err != nil {
		t.Fatal(err)
	}
	tr.now = func() time.Time { return *now }
	t.Cleanup(func() { tr.db.Close() })
	return tr
}

// killed ends a tracker as the death of its process would.
func (t *Tracker) killed(tb testing.TB) {
	tb.Helper()
	if err := t.db.Close(); err != nil {
		tb.Fatal(err)
	}
}

// plainDay is a day that can be compared.
type plainDay struct {
	Day    int32
	Client eth2.Client
	Data   []byte
}

// state is what events have made of the peers, and the history.
func state(t *testing.T, tr *Tracker) any {
	t.Helper()
	peers, days := map[string]Peer{}, map[string][]plainDay{}
	for id, p := range tr.peers {
		for _, d := range p.days {
			s, err := d.decode()
			if err != nil {
				t.Fatal(err)
			}
			data, _ := s.AppendBinary(nil)
			days[id] = append(days[id], plainDay{d.day, *d.client, data})
		}
		peers[id] = *p
	}
	h, err := readHistory(t.Context(), tr.db, 0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	return []any{peers, days, h.Counts}
}

// sameState ignores what is not of events.
func sameState() gocmp.Options {
	return gocmp.Options{cmpopts.IgnoreUnexported(Peer{}), cmpopts.IgnoreFields(Peer{}, "Estimate"), cmpopts.EquateEmpty()}
}

func (t *Tracker) flush(ctx context.Context, segment uint64) error {
	t.Apply(segment)
	return t.Write(ctx)
}

func flush(t testing.TB, tr *Tracker, segment uint64) {
	t.Helper()
	if err := tr.flush(t.Context(), segment); err != nil {
		t.Fatal(err)
	}
}

// byPeer is the order in which a rebuild reads events.
func byPeer(all []event.Event) []event.Event {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b event.Event) int {
		ca, ia := ofEvent(a)
		cb, ib := ofEvent(b)
		return cmp.Or(cmp.Compare(ia, ib), cmp.Compare(ca.Timestamp, cb.Timestamp))
	})
	return out
}

// However a crawl's events are cut into segments, however often segments are dropped
// and come again, however often the process dies before, in and after a flush: the
// state is that of a rebuild.
func TestEveryEventOnce(t *testing.T) {
	for seed := range uint64(8) {
		c := newCrawl(seed)
		all := c.events(12, 8, start.Add(time.Hour), 5*time.Hour)
		now := start.Add(48 * time.Hour)
		dir := t.TempDir()
		tr := opened(t, dir, &now)
		var segments [][]event.Event // as the datasets have them
		restart := func() {
			tr.killed(t)
			tr = opened(t, dir, &now)
			first := uint64(0)
			if applied, ok := tr.Applied(); ok {
				first = applied + 1
			}
			for _, e := range byPeer(slices.Concat(segments[first:]...)) {
				tr.Add(e)
			}
			if int(first) < len(segments) {
				flush(t, tr, uint64(len(segments)-1))
			}
		}
		for rest := all; len(rest) > 0; {
			part := rest[:min(len(rest), 1+c.IntN(40))]
			for _, e := range part {
				tr.Add(e)
			}
			switch c.IntN(7) {
			case 0: // the segment could not be written
				tr.Drop()
				continue
			case 1: // killed before it was
				restart()
				continue
			}
			rest = rest[len(part):]
			segments = append(segments, part)
			segment := uint64(len(segments) - 1)
			switch c.IntN(5) {
			case 0: // killed before the flush
				restart()
			case 1: // killed within it
				tr.crash = func() error { return errors.New("killed") }
				if err := tr.flush(t.Context(), segment); err == nil {
					t.Fatal("flushed for all that")
				}
				restart()
			case 2: // it fails, and is written with the next, unless that is killed
				tr.crash = func() error { return errors.New("disk full") }
				if err := tr.flush(t.Context(), segment); err == nil {
					t.Fatal("flushed for all that")
				}
				tr.crash = nil
			case 3: // killed after it
				flush(t, tr, segment)
				restart()
			default:
				flush(t, tr, segment)
			}
			if got, ok := tr.Applied(); !ok || got != segment {
				t.Fatalf("applied %d, %v, want %d", got, ok, segment)
			}
		}
		flush(t, tr, uint64(len(segments)))

		again, err := Create(t.Context(), config(t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		defer again.killed(t)
		for _, e := range byPeer(all) {
			again.Add(e)
		}
		flush(t, again, 7)
		if diff := gocmp.Diff(state(t, again), state(t, tr), sameState()); diff != "" {
			t.Fatalf("seed %d (-rebuilt +live):\n%s", seed, diff)
		}
		if tr.Len() != 12 || tr.Peer(peerID(3)).Observations != 8 {
			t.Fatalf("%d peers, %d observations", tr.Len(), tr.Peer(peerID(3)).Observations)
		}
		tr.killed(t)
	}
}

// What is loaded is what was written, estimates too.
func TestReopen(t *testing.T) {
	dir, now := t.TempDir(), start.Add(30*time.Hour)
	tr := opened(t, dir, &now)
	for _, e := range newCrawl(1).events(20, 6, start.Add(time.Hour), 4*time.Hour) {
		tr.Add(e)
	}
	flush(t, tr, 3)
	want := state(t, tr)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	again := opened(t, dir, &now)
	if diff := gocmp.Diff(want, state(t, again), cmpopts.IgnoreUnexported(Peer{}), cmpopts.EquateEmpty(), cmpopts.EquateApprox(1e-12, 0)); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if p := again.Peer(peerID(0)); p.Estimate == nil || p.Estimate.Mean == 0 || p.Estimate.EpochsWatched == 0 {
		t.Errorf("estimate %+v", p.Estimate)
	}
	if again.learned.At == 0 || len(again.learned.Versions) != 5 {
		t.Errorf("learned %+v", again.learned)
	}
}

func TestOldStatisticsGo(t *testing.T) {
	dir, now := t.TempDir(), start.Add(400*time.Hour)
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	const days = Window + 6
	for d := range days {
		at := start.Add(time.Duration(d) * 24 * time.Hour).Add(time.Hour)
		for _, e := range c.visit(0, at, 1) {
			tr.Add(e)
		}
		flush(t, tr, uint64(d))
	}
	p := tr.Peer(peerID(0))
	if len(p.days) != Window || p.days[0].day != dayOf(start.UnixMilli())+days-Window {
		t.Errorf("%d days from %d", len(p.days), p.days[0].day)
	}
	if p.Observations != days {
		t.Errorf("%d observations, want all %d", p.Observations, days)
	}
	// A peer that was not heard of for long is forgotten, also in the database.
	now = start.Add(days*24*time.Hour + forgetAfter + time.Hour)
	if err := tr.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	tr.killed(t)
	if n := opened(t, dir, &now).Len(); n != 0 {
		t.Errorf("%d peers after %v", n, forgetAfter)
	}
}

// A node that comes back under another id at its address counts once.
func TestOneNodeAnAddress(t *testing.T) {
	dir, now := t.TempDir(), start.Add(10*time.Hour)
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	for i, at := range []time.Duration{1, 2, 3} {
		for _, e := range c.visit(i, start.Add(at*time.Hour), 0) {
			if h, ok := e.(*event.MetadataReceived); ok && i < 2 {
				h.Multiaddr = "/ip6/2001:db8:0::7/tcp/9000"
			}
			tr.Add(e)
		}
	}
	// An inbound connection tells no address.
	for _, e := range c.visit(3, start.Add(4*time.Hour), 0) {
		if h, ok := e.(*event.MetadataReceived); ok {
			h.Direction, h.Multiaddr = event.Inbound, "/ip6/2001:db8::7/tcp/9000"
		}
		tr.Add(e)
	}
	flush(t, tr, 0)
	v, err := Read(t.Context(), dir) // while tr writes
	if err != nil {
		t.Fatal(err)
	}
	nodes, twice := v.Counted()
	var ids []string
	for _, p := range nodes {
		ids = append(ids, p.ID)
	}
	if diff := gocmp.Diff([]string{peerID(1), peerID(2), peerID(3)}, ids); diff != "" || twice != 1 {
		t.Errorf("%d left out, counted (-want +got):\n%s", twice, diff)
	}
	total := v.Totals()
	if total.Nodes != 3 || total.CountedTwice != 1 || len(total.Clients) != 3 {
		t.Errorf("totals %+v", total)
	}
	p := v.Peer(peerID(1))
	if p.Address != "tcp/[2001:db8::7]:9000" {
		t.Errorf("address %q", p.Address)
	}
	if o := v.SameAddress(p); len(o) != 1 || o[0].ID != peerID(0) {
		t.Errorf("same address: %v", o)
	}
}

// An hour's rows come once, with the segment that has them.
func TestHour(t *testing.T) {
	dir, now := t.TempDir(), start.Add(10*time.Hour+5*time.Minute)
	tr := opened(t, dir, &now)
	if rows := tr.Hour(); len(rows) != 0 {
		t.Fatalf("%d rows of nothing", len(rows))
	}
	for _, e := range newCrawl(1).events(30, 4, start.Add(time.Hour), 2*time.Hour) {
		tr.Add(e)
	}
	flush(t, tr, 0)
	if rows := tr.Hour(); len(rows) != 30 || rows[0].Hour != start.Add(10*time.Hour).UnixMilli() {
		t.Fatalf("%d rows", len(rows))
	}
	tr.Drop()
	rows := tr.Hour()
	if len(rows) != 30 {
		t.Fatalf("%d rows after a drop", len(rows))
	}
	if again := tr.Hour(); len(again) != 0 {
		t.Fatalf("%d rows again in the same segment", len(again))
	}
	flush(t, tr, 1)
	tr.killed(t)
	tr = opened(t, dir, &now)
	if again := tr.Hour(); len(again) != 0 {
		t.Fatalf("%d rows again after a restart", len(again))
	}
	h, err := ReadHistory(t.Context(), dir, 0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Totals) != 1 {
		t.Fatalf("%d totals", len(h.Totals))
	}
	sum := 0.0
	for _, r := range rows {
		sum += r.Estimate.Mean
	}
	if got := h.Totals[0]; got.Nodes != 30 || math.Abs(got.Validators-sum) > 1e-6*sum {
		t.Errorf("totals %+v, the rows sum to %g", got, sum)
	}
	handshakes := int64(0)
	for _, c := range h.Counts {
		handshakes += c.Counts[CountHandshakes]
	}
	if handshakes != 120 {
		t.Errorf("%d handshakes counted, want 120", handshakes)
	}
	now = now.Add(time.Hour)
	if rows := tr.Hour(); len(rows) != 30 {
		t.Errorf("%d rows in the next hour", len(rows))
	}
}

// Another number of active validators changes the estimates of all.
func TestActiveValidators(t *testing.T) {
	dir, now := t.TempDir(), start.Add(10*time.Hour)
	tr := opened(t, dir, &now)
	for _, e := range newCrawl(1).events(10, 6, start.Add(time.Hour), 40*time.Minute) {
		tr.Add(e)
	}
	flush(t, tr, 0)
	before := tr.Peer(peerID(0)).Estimate.Mean
	tr.SetActiveValidators(300_000)
	now = now.Add(2 * time.Minute)
	flush(t, tr, 1)
	if after := tr.Peer(peerID(0)).Estimate.Mean; after >= before {
		t.Errorf("estimate %g with fewer active validators, %g before: each aggregates more often", after, before)
	}
	if n := tr.learned.Params.ActiveValidators; n != 300_000 {
		t.Errorf("%d active validators", n)
	}
}

func TestEventsOfOtherNetworksAreLeftOut(t *testing.T) {
	now := start.Add(10 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	e := newCrawl(1).discovered(0, start)
	e.Network = "other"
	tr.Add(e)
	flush(t, tr, 0)
	if tr.Len() != 0 {
		t.Errorf("%d peers", tr.Len())
	}
}

func TestUnusableDatabases(t *testing.T) {
	now := start
	for name, test := range map[string]struct {
		spoil func(t *testing.T, path string)
		want  error
	}{
		"of a later version": {func(t *testing.T, path string) {
			tr := opened(t, filepath.Dir(path), &now)
			if _, err := tr.db.Exec("PRAGMA user_version = 99"); err != nil {
				t.Fatal(err)
			}
		}, ErrNewer},
		"not a database": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, make([]byte, 8192), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("this is a text file of more than a hundred bytes, which is what the head of a database takes at the least, so it is read"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		"a peer is damaged": {func(t *testing.T, path string) {
			tr := opened(t, filepath.Dir(path), &now)
			if _, err := tr.db.Exec("INSERT INTO peers VALUES ('x', 1, '{', x'')"); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		"statistics are damaged": {func(t *testing.T, path string) {
			tr := opened(t, filepath.Dir(path), &now)
			if _, err := tr.db.Exec("INSERT INTO peers VALUES ('x', 1, '{}', x'ff')"); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		"cut in half": {func(t *testing.T, path string) {
			tr := opened(t, filepath.Dir(path), &now)
			for _, e := range newCrawl(1).events(200, 2, start, time.Hour) {
				tr.Add(e)
			}
			flush(t, tr, 0)
			if err := tr.Close(); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, info.Size()/2); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.spoil(t, filepath.Join(dir, File))
			if _, err := Open(t.Context(), config(dir)); !errors.Is(err, test.want) {
				t.Errorf("Open: %v", err)
			}
			if _, err := Read(t.Context(), dir); !errors.Is(err, test.want) {
				t.Errorf("Read: %v", err)
			}
		})
	}
	if _, err := Read(t.Context(), t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("an empty directory: %v", err)
	}
}

// A rebuilt database takes the place of the old one, and keeps the hours before its own.
func TestReplace(t *testing.T) {
	dir, now := t.TempDir(), start.Add(30*time.Hour)
	tr := opened(t, dir, &now)
	all := newCrawl(1).events(5, 4, start.Add(time.Hour), 5*time.Hour)
	for _, e := range all {
		tr.Add(e)
	}
	flush(t, tr, 0)
	tr.Hour()
	flush(t, tr, 1)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := ReadHistory(t.Context(), dir, 0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := Create(t.Context(), config(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all[len(all)/2:] { // retention took the rest
		fresh.Add(e)
	}
	flush(t, fresh, 9)
	for _, step := range []error{fresh.KeepHistory(t.Context()), fresh.Settle(t.Context()), fresh.Replace()} {
		if step != nil {
			t.Fatal(step)
		}
	}
	got, err := ReadHistory(t.Context(), dir, 0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Totals) != 1 || len(got.Counts) != len(want.Counts) || got.Counts[0].Counts[CountHandshakes] != want.Counts[0].Counts[CountHandshakes] {
		t.Errorf("history %+v, want %+v", got, want)
	}
	v, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if *v.Applied != 9 || v.Peer(peerID(0)).Estimate == nil {
		t.Errorf("applied %d, peer %+v", *v.Applied, v.Peer(peerID(0)))
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*.new*")); len(names) > 0 {
		t.Errorf("left %v behind", names)
	}
}

func FuzzParseDays(f *testing.F) {
	f.Add(appendDays(nil, []day{{day: 20000, client: &eth2.Client{Kind: "prysm", Version: "v7"}, data: []byte{1, 2}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		days, err := parseDays(b, map[eth2.Client]*eth2.Client{})
		if err != nil {
			return
		}
		for _, d := range days {
			d.decode()
		}
	})
}
