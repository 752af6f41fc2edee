package tracker

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
)

// watchOn is a watch that goes on: the handshake, and a part for each of so many epochs.
func (c *crawl) watchOn(i int, at time.Time, epochs int) []event.Event {
	all := c.visit(i, at, 1)
	whole := all[1].(*event.VisitEnded)
	out := all[:1]
	for part := range epochs {
		e, w := *whole, *whole.Watch
		w.From += int64(part) * params().Clock.EpochDuration().Milliseconds()
		w.To = w.From + params().Clock.EpochDuration().Milliseconds()
		w.Changes, w.MetaDataChanges = nil, nil
		e.Part, e.More, e.Watch, e.Ended, e.Timestamp = part, true, &w, w.To, w.To
		out = append(out, &e)
	}
	return out
}

// Nodes that a sentry has watched without a break for longer than a day are tried, reached and
// watched by it, though their handshakes are older and no visit has ended: also where it is the only
// sentry.
func TestLongWatchIsReached(t *testing.T) {
	const hours = 30
	for _, sentries := range []string{"one", "two"} {
		c := &crowd{crawl: newCrawl(9)}
		for i := range 5 {
			for _, e := range c.watchOn(i, start.Add(time.Duration(i)*time.Second), int(hours*time.Hour/params().Clock.EpochDuration())) {
				c.events = append(c.events, asOf(e, "watcher"))
			}
		}
		if sentries == "two" {
			for i := range 5 {
				v := c.visit(i, start.Add((hours-1)*time.Hour), 0)[1].(*event.VisitEnded)
				v.Outcome = event.OutcomeDialTimeout
				c.events = append(c.events, asOf(v, "other"))
			}
		}
		tr := c.tracker(t, new(bytes.Buffer))
		list, nodes := tr.State().Sentries()
		f := list[len(list)-1]
		if f.ID != "watcher" || f.Tried != 5 || f.Reached != 5 || f.Watched != 5 || f.Alone != 5 {
			t.Errorf("%s: %+v", sentries, f)
		}
		want := map[string]NodeViews{"one": {ByOne: 5}, "two": {BySome: 5}}[sentries]
		if nodes != want {
			t.Errorf("%s: %+v, want %+v", sentries, nodes, want)
		}
		if sentries == "two" && (list[0].Shared != 5 || list[0].Missed != 5 || list[0].Watched != 0 || *list[0].ReachedShare != 0) {
			t.Errorf("the other: %+v", list[0])
		}
		for _, v := range tr.State().SeenBy(tr.State().Peer(peerID(1))) {
			if v.Reached == nil || *v.Reached != (v.Sentry == "watcher") {
				t.Errorf("%s: %+v", sentries, v)
			}
		}
	}
}

// A node that is watched without a break for longer than a day counts for as long as that goes on, and
// for a day after; one that was only met before does not.
func TestLongWatchCounts(t *testing.T) {
	const hours = 30
	dir, now := t.TempDir(), start.Add(hours*time.Hour)
	tr, c := opened(t, dir, &now), newCrawl(1)
	add := func(all []event.Event) {
		for _, e := range all {
			tr.Add(e)
		}
	}
	add(c.watchOn(0, start, int(hours*time.Hour/params().Clock.EpochDuration())))
	add(c.watchOn(1, start, 2)) // whose watch, like the next one's handshake, is over
	add(c.visit(2, start, 0))
	flush(t, tr, 0)
	segment := uint64(0)
	check := func(what string, want ...int) {
		t.Helper()
		segment++
		flush(t, tr, segment)
		var ids []string
		for _, i := range want {
			ids = append(ids, peerID(i))
		}
		read, err := Read(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*State{tr.State(), read} {
			var got, learned []string
			for _, p := range recent(s.peers) {
				learned = append(learned, p.ID)
			}
			nodes, _ := s.Counted()
			for _, p := range nodes {
				got = append(got, p.ID)
			}
			if !slices.Equal(got, ids) || !slices.Equal(learned, ids) || s.Totals().Nodes != len(ids) {
				t.Errorf("%s: %d nodes, %q counted, %q learned from", what, s.Totals().Nodes, got, learned)
			}
		}
	}
	check("the newest of all is the end of a watch", 0)
	if at := tr.State().Totals().Hour; at < start.Add((hours-1)*time.Hour).UnixMilli() {
		t.Errorf("the totals are of %v", time.UnixMilli(at))
	}
	now = now.Add(time.Hour)
	if rows := tr.Hour(); len(rows) != 1 || rows[0].ID != peerID(0) {
		t.Errorf("%d rows of the hour", len(rows))
	}
	add(c.visit(3, start.Add((hours+23)*time.Hour), 0))
	check("a day after the watch", 0, 3)
	add(c.visit(3, start.Add((hours+25)*time.Hour), 0))
	check("more than a day after the watch", 3)
}

// Another sentry of this program is no node: it is in no number of the comparison.
func TestValtrackSentriesAreNotCompared(t *testing.T) {
	c := &crowd{crawl: newCrawl(9)}
	c.agents = []string{lighthouse, "valtrack/v0.1.0"}
	c.hour("a", 1, func(i int) bool { return i < 10 }, nil)
	c.hour("b", 1, func(i int) bool { return i < 10 }, nil)
	list, nodes := c.tracker(t, new(bytes.Buffer)).State().Sentries()
	if want := (NodeViews{ByAll: 5, Sentries: 5}); nodes != want || list[0].Tried != 5 || list[0].Reached != 5 || list[0].Shared != 5 {
		t.Errorf("%+v, %+v", nodes, list[0])
	}
}

// Who sees a node, and what it was told, is compared where the handshakes are of one time; a sentry
// that never tried it is named, too. How long handshakes take is compared node by node.
func TestSeenBy(t *testing.T) {
	c := &crowd{crawl: newCrawl(9)}
	slow := func(ms int64, subnets ...int) func(int, event.Event) event.Event {
		return func(_ int, e event.Event) event.Event {
			switch e := e.(type) {
			case *event.VisitEnded:
				e.HandshakeMS = &ms
			case *event.MetadataReceived:
				if e.SubscribedSubnets = subnets; len(subnets) == 0 {
					e.SubscribedSubnets = []int{}
				}
			}
			return e
		}
	}
	c.hour("a", 1, every, slow(100, 1, 63))
	c.hour("b", 1, every, slow(300, 1, 63))
	c.hour("c", 1, every, slow(120, 1, 62))
	c.hour("late", 3, func(i int) bool { return i != 2 }, slow(50))
	state := c.tracker(t, new(bytes.Buffer)).State()
	var got []string
	for _, i := range []int{1, 2} {
		for _, v := range state.SeenBy(state.Peer(peerID(i))) {
			got = append(got, fmt.Sprintf("%d %s %s %s", i, v.Sentry, told(v.Reached), told(v.Differs)))
		}
	}
	if diff := gocmp.Diff([]string{
		"1 a true true", "1 b true true", "1 c true true", "1 late true -",
		"2 a true true", "2 b true true", "2 c true true", "2 late - -",
	}, got); diff != "" {
		t.Error(diff)
	}
	list, _ := state.Sentries()
	var differences []int64
	for _, f := range list {
		differences = append(differences, *f.HandshakeDifferenceMS)
	}
	// Of 50, 100, 120, 300 the median of the others is 120, 100, 100, 120 (of three: the middle one).
	if diff := gocmp.Diff([]int64{100 - 120, 300 - 100, 120 - 100, 50 - 120}, differences); diff != "" {
		t.Error(diff)
	}
}

func told(b *bool) string {
	if b == nil {
		return "-"
	}
	return fmt.Sprint(*b)
}

// Events are counted by the id in their keys, which a --crawler-id does not change: the state knows
// whose it is, also after a restart and a rebuild, and moves it to who uses it now.
func TestKeysOfASentry(t *testing.T) {
	c := newCrawl(1)
	now := start.Add(2 * time.Hour)
	dir := t.TempDir()
	tr := opened(t, dir, &now)
	add := func(tr *Tracker, sentry, key string, minute int) {
		for _, e := range c.visit(1, start.Add(time.Duration(minute)*time.Minute), 0) {
			tr.Add(asOf(e, sentry))
			tr.Named(sentry, key)
		}
	}
	add(tr, "fra", "KEY1", 1)
	add(tr, "sgp", "sgp", 2)
	flush(t, tr, 1)
	before := tr.State()
	if got := before.SentryOf("KEY1") + " " + before.SentryOf("sgp") + " " + before.SentryOf("unknown"); got != "fra sgp unknown" {
		t.Error(got)
	}
	add(tr, "new", "KEY1", 3) // renamed
	for i := range 2 * maxSentryKeys {
		add(tr, "sgp", fmt.Sprintf("S%02d", i), 4+i)
	}
	add(tr, "sgp", "", 30)
	flush(t, tr, 2)
	tr.killed(t)
	check := func(what string, s *State) {
		t.Helper()
		if s.SentryOf("KEY1") != "new" || s.SentryOf("S15") != "sgp" || len(s.sentries["fra"].Keys) != 0 || len(s.sentries["sgp"].Keys) != maxSentryKeys {
			t.Errorf("%s: %+v", what, s.sentries)
		}
	}
	read, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	check("restart", read)
	if !slices.Equal(before.sentries["fra"].Keys, []string{"KEY1"}) {
		t.Error("a State has changed")
	}
	again, err := Create(t.Context(), config(dir))
	if err != nil {
		t.Fatal(err)
	}
	again.now = func() time.Time { return now }
	for _, sentry := range []string{"fra", "new", "sgp"} { // without keys, as the datasets have events
		add(again, sentry, "", 60)
	}
	flush(t, again, 2)
	if err := again.KeepHistory(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := again.Replace(); err != nil {
		t.Fatal(err)
	}
	if read, err = Read(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	check("rebuild", read)
}

// Events that are read back from the datasets are not validated again: numbers that are no subnets
// leave a node's subnets unknown.
func TestSeenByWithoutSubnets(t *testing.T) {
	c := &crowd{crawl: newCrawl(3)}
	for _, who := range []string{"a", "b"} {
		c.hour(who, 1, every, func(_ int, e event.Event) event.Event {
			if e, ok := e.(*event.MetadataReceived); ok {
				e.SubscribedSubnets = []int{-1, 1, 64}
			}
			return e
		})
	}
	state := c.tracker(t, new(bytes.Buffer)).State()
	for _, v := range state.SeenBy(state.Peer(peerID(1))) {
		if v.Reached == nil || !*v.Reached || v.Differs != nil {
			t.Errorf("%+v", v)
		}
	}
}
