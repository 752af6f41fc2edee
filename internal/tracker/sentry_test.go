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

// crowd makes the events of sentries that visit the same nodes each hour.
type crowd struct {
	*crawl
	events []event.Event
}

// hour is what a sentry does in an hour: it visits the nodes that which lists, and watches every
// fourth of them. change may change an event, or return nil for none.
func (c *crowd) hour(sentry string, hour int, which func(i int) bool, change func(i int, e event.Event) event.Event) {
	for i := range 120 {
		if !which(i) {
			continue
		}
		at := start.Add(time.Duration(hour)*time.Hour + time.Duration(i)*time.Second)
		for _, e := range c.visit(i, at, (i+hour)%4/3) {
			e = asOf(e, sentry)
			if v, ok := e.(*event.VisitEnded); ok {
				v.HandshakeMS = new(int64(len(sentry)) * 10)
			}
			if change != nil {
				e = change(i, e)
			}
			if e != nil {
				c.events = append(c.events, e)
			}
		}
	}
}

func (c *crowd) tracker(t *testing.T, log *bytes.Buffer) *Tracker {
	now := start.Add(30 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	tr.cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	for _, e := range byTime(c.events) {
		tr.Add(e)
	}
	flush(t, tr, 0)
	return tr
}

func every(int) bool { return true }

// A fault of one of three sentries is found by comparing it with the others: it is named in the
// figures, in the log and in the metric, and nothing is said of the others.
func TestFaultsOfOneSentry(t *testing.T) {
	unreached := func(_ int, e event.Event) event.Event {
		v, ok := e.(*event.VisitEnded)
		if !ok {
			return nil
		}
		v.Outcome, v.Watch, v.HandshakeMS = event.OutcomeDialTimeout, nil, nil
		return v
	}
	skewed := func(ms int64) func(int, event.Event) event.Event {
		return func(_ int, e event.Event) event.Event {
			switch e := e.(type) {
			case *event.MetadataReceived:
				e.ClockSkewMS = &ms
			case *event.VisitEnded:
				e.ClockSkewMS = &ms
			}
			return e
		}
	}
	noHellos := func(_ int, e event.Event) event.Event {
		if h, ok := e.(*event.MetadataReceived); ok {
			h.SubscribedSubnets = nil
		}
		return e
	}
	for _, c := range []struct {
		name    string
		which   func(i int) bool
		change  func(i int, e event.Event) event.Event
		hours   int // 0 for all
		nodes   int // 0 for all
		want    string
		inWords string
	}{
		{name: "healthy", which: every},
		{name: "a third, as a shard", which: func(i int) bool { return i%3 == 0 }},
		{"cut off from most", every, func(i int, e event.Event) event.Event {
			if i%10 == 0 {
				return e
			}
			return unreached(i, e)
		}, 0, 0, FaultFewReached, "did not reach 108 of 120 nodes"},
		{name: "finds few", which: func(i int) bool { return i%12 == 0 }, want: FaultFewFound, inWords: "tried 10 nodes, others 120"},
		{name: "finds few of few", which: func(i int) bool { return i < 3 }, nodes: 28, want: FaultFewFound, inWords: "tried 3 nodes, others 28"},
		{name: "too few of few", which: func(i int) bool { return i < 5 }, nodes: 28},
		{name: "a third of few, as a shard", which: func(i int) bool { return i%3 == 0 }, nodes: 21},
		{name: "few nodes without hellos", which: func(i int) bool { return i < 19 }, nodes: 28, change: noHellos},
		{name: "watches of few nodes", which: every, change: func(i int, e event.Event) event.Event {
			if v, ok := e.(*event.VisitEnded); ok {
				v.Watch = nil
				if i < 2 {
					v.Watch = &event.Watch{From: v.Started, To: v.Started + 50*time.Minute.Milliseconds(), Initial: []int{}}
					v.Ended, v.Timestamp = v.Watch.To, v.Watch.To
				}
			}
			return e
		}},
		{name: "clock ahead", which: every, change: skewed(3200), want: FaultClock, inWords: "3.2s ahead of the broker's"},
		{name: "clock behind", which: every, change: skewed(-2500), want: FaultClock, inWords: "2.5s behind the broker's"},
		{name: "clock good enough", which: every, change: skewed(400)},
		{name: "stopped", which: every, hours: 3, want: FaultSilent, inWords: "no event for"},
		{name: "no hellos", which: every, change: noHellos, want: FaultNoAttestations, inWords: "0 % of its handshakes have the node's subscriptions"},
		{name: "watches see no changes", which: every, change: func(_ int, e event.Event) event.Event {
			if v, ok := e.(*event.VisitEnded); ok && v.Watch != nil {
				v.Watch.Changes = nil
			}
			return e
		}, want: FaultNoAttestations, inWords: "0.00 changes of subnets for each hour"},
	} {
		t.Run(c.name, func(t *testing.T) {
			crowd := &crowd{crawl: newCrawl(9)}
			for hour := range 8 {
				there := func(i int) bool { return c.nodes == 0 || i < c.nodes }
				crowd.hour("a", hour, there, nil)
				crowd.hour("b", hour, there, nil)
				if c.hours == 0 || hour < c.hours {
					crowd.hour("odd", hour, c.which, c.change)
				}
			}
			var log bytes.Buffer
			tr := crowd.tracker(t, &log)
			list, _ := tr.State().Sentries()
			if len(list) != 3 {
				t.Fatalf("%d sentries", len(list))
			}
			for _, s := range list {
				var names []string
				for _, f := range s.Faults {
					names = append(names, f.Fault)
				}
				want := ""
				if s.ID == "odd" {
					want = c.want
				}
				if strings.Join(names, ",") != want {
					t.Errorf("%s: %v, want %q", s.ID, s.Faults, want)
				}
				if want != "" && (len(s.Faults) != 1 || !strings.Contains(s.Faults[0].Text, c.inWords)) {
					t.Errorf("%s: %v, want %q", s.ID, s.Faults, c.inWords)
				}
				if n := perSentry(tr.State(), func(f SentryFigures) int { return len(f.Faults) })[s.ID]; n != len(names) {
					t.Errorf("metric %d", n)
				}
			}
			tr.logSentries()
			lines := strings.Count(log.String(), "worse than the others")
			if c.want == "" && lines > 0 || c.want != "" && (lines != 1 || !strings.Contains(log.String(), "sentry=odd") || !strings.Contains(log.String(), "faults="+c.want)) {
				t.Errorf("log %s", log.String())
			}
		})
	}
}

// Where all sentries differ from the broker alike its clock is to be set.
func TestClockOfTheBroker(t *testing.T) {
	c := &crowd{crawl: newCrawl(9)}
	for _, sentry := range []string{"a", "b", "c"} {
		c.hour(sentry, 1, every, func(_ int, e event.Event) event.Event {
			if h, ok := e.(*event.MetadataReceived); ok {
				h.ClockSkewMS = new(int64(-4000))
			}
			return e
		})
	}
	list, _ := c.tracker(t, new(bytes.Buffer)).State().Sentries()
	for _, s := range list {
		if len(s.Faults) != 1 || !strings.Contains(s.Faults[0].Text, "set the broker's") {
			t.Errorf("%s: %v", s.ID, s.Faults)
		}
	}
}

// Who sees a node, and who does not, is known by sentry and in sum, and survives a restart.
func TestNodesByPlace(t *testing.T) {
	c := &crowd{crawl: newCrawl(9)}
	c.hour("here", 0, func(i int) bool { return i == 119 }, nil)
	c.hour("far", 1, every, func(i int, e event.Event) event.Event {
		v, ok := e.(*event.VisitEnded)
		if i%4 > 0 {
			return e
		}
		if !ok {
			return nil
		}
		v.Outcome, v.HandshakeMS, v.Watch = event.OutcomeDialTimeout, nil, nil
		return v
	})
	c.hour("here", 2, func(i int) bool { return i < 100 }, nil)
	tr := c.tracker(t, new(bytes.Buffer))
	p := tr.State().Peer(peerID(4))
	if len(p.Views) != 2 || p.Views[0].Sentry != "far" || p.Views[0].Handshake != 0 || p.Views[0].Outcome != event.OutcomeDialTimeout ||
		p.Views[1].Outcome != event.OutcomeOK || p.Views[1].Handshake == 0 || *p.Views[1].HandshakeMS != 40 || p.Views[1].Subnets == nil {
		t.Errorf("%+v", p.Views)
	}
	list, nodes := tr.State().Sentries()
	want := NodeViews{ByAll: 76, BySome: 25, ByOne: 14, ByNone: 5}
	if nodes != want {
		t.Errorf("%+v, want %+v", nodes, want)
	}
	if far := list[0]; far.Tried != 120 || far.Reached != 90 || far.Alone != 14 || far.Shared != 101 || far.Missed != 25 || *far.HandshakeMS != 30 || far.Location != "here" {
		t.Errorf("%+v", far)
	}
	dir := tr.cfg.Dir
	tr.killed(t)
	again, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	loaded, _ := again.Sentries()
	if diff := gocmp.Diff(list, loaded); diff != "" {
		t.Error(diff)
	}
}

// Publishers choose ids: only so many sentries are told apart, and only so many views are kept
// of a node; those that are there stay.
func TestSentriesAreBounded(t *testing.T) {
	c := newCrawl(1)
	now := start.Add(10 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	for i := range 3 * maxSentries {
		for _, e := range c.visit(1, start.Add(time.Hour+time.Duration(i)*time.Second), 0) {
			tr.Add(asOf(e, fmt.Sprintf("s%03d", i)))
		}
		if i%10 == 0 {
			flush(t, tr, uint64(i))
		}
	}
	flush(t, tr, 1000)
	list, _ := tr.State().Sentries()
	views := tr.State().Peer(peerID(1)).Views
	if len(list) != maxSentries || list[0].ID != "s000" || len(views) != maxViews {
		t.Errorf("%d sentries from %s on, %d views", len(list), list[0].ID, len(views))
	}
	if !slices.IsSortedFunc(views, func(a, b View) int { return strings.Compare(a.Sentry, b.Sentry) }) {
		t.Errorf("views %v", views)
	}
	// A week later they are forgotten, and a new one has room.
	now = start.Add(10 * 24 * time.Hour)
	for _, e := range c.visit(1, now, 0) {
		tr.Add(asOf(e, "s001"))
	}
	tr.learn()
	for _, e := range c.visit(1, now, 0) {
		tr.Add(asOf(e, "new"))
	}
	flush(t, tr, 1001)
	list, _ = tr.State().Sentries()
	if len(list) != 2 || list[0].ID != "new" || list[1].ID != "s001" {
		t.Errorf("%d sentries, the first %+v", len(list), list[0])
	}
}

// One sentry alone has no views in the peers, and is known all the same. When a second one comes,
// what the first knows is kept.
func TestTheOnlySentry(t *testing.T) {
	c := &crowd{crawl: newCrawl(9)}
	c.hour("one", 1, every, nil)
	tr := c.tracker(t, new(bytes.Buffer))
	tr.Add(refused(500, start.Add(2*time.Hour)))
	flush(t, tr, 1)
	list, nodes := tr.State().Sentries()
	if len(tr.State().Peer(peerID(1)).Views) != 0 || len(list) != 2 { // refused is by the sentry c
		t.Fatalf("%d sentries", len(list))
	}
	if list[1].ID != "one" || list[1].Tried != 120 || list[1].Reached != 120 || list[1].Alone != 120 || nodes.ByOne != 120 {
		t.Errorf("%+v, %+v", list[1], nodes)
	}
	for _, e := range c.visit(1, start.Add(3*time.Hour), 0) {
		tr.Add(asOf(e, "two"))
	}
	flush(t, tr, 2)
	views := tr.State().Peer(peerID(1)).Views
	if len(views) != 2 || views[0].Sentry != "one" || views[0].Handshake == 0 || views[1].Sentry != "two" || views[1].Handshake <= views[0].Handshake {
		t.Errorf("%+v", views)
	}
}

// A sentry's counts are of its newest hours, in whatever order they come.
func TestSentryHoursAreBounded(t *testing.T) {
	var s Sentry
	for _, hour := range []int64{50, 49, 20, 30, 50} {
		for i := range int64(30) {
			if h := s.hour(hour + i); h != nil {
				h.Handshakes++
			}
		}
	}
	if len(s.Hours) != sentryHours || s.Hours[sentryHours-1].Hour != 79 || !slices.IsSortedFunc(s.Hours, func(a, b SentryHour) int { return int(a.Hour - b.Hour) }) {
		t.Errorf("%+v", s.Hours)
	}
}

// When all sentries but one are forgotten, the views that the one has go on, and those of nodes
// that only a forgotten one has seen get its view.
func TestViewsGoOnWithTheLastSentry(t *testing.T) {
	c := newCrawl(3)
	now := start.Add(10 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	visit := func(node int, at time.Time, sentry string) {
		for _, e := range c.visit(node, at, 0) {
			tr.Add(asOf(e, sentry))
		}
	}
	visit(1, start.Add(time.Hour), "a")
	visit(1, start.Add(2*time.Hour), "gone")
	visit(2, start.Add(2*time.Hour), "gone")
	visit(2, start.Add(3*time.Hour), "other")
	flush(t, tr, 1)
	later := start.Add(10 * 24 * time.Hour)
	now = later.Add(2 * time.Hour)
	visit(3, later, "a")
	flush(t, tr, 2)
	tr.learn()
	if len(tr.sentries) != 1 {
		t.Fatalf("%d sentries", len(tr.sentries))
	}
	for node := range 3 {
		visit(node+1, later.Add(time.Hour), "a")
	}
	flush(t, tr, 3)
	for node := range 3 {
		p := tr.State().Peer(peerID(node + 1))
		views := p.viewed("a")
		i := slices.IndexFunc(views, func(v View) bool { return v.Sentry == "a" })
		if i < 0 || views[i].Handshake != p.LastHandshake || views[i].Visit != p.LastVisit {
			t.Errorf("node %d, last visited at %d: %+v", node+1, p.LastVisit, views)
		}
	}
	if _, nodes := tr.State().Sentries(); nodes != (NodeViews{ByOne: 3}) {
		t.Errorf("%+v", nodes)
	}
}

// A database that is rebuilt from data that are long past has their last week's sentries, in
// whatever order the peers are read and however many sentries there were before.
func TestRebuildOfOldDataHasItsSentries(t *testing.T) {
	for _, c := range []struct {
		name   string
		former int // sentries of one peer each, a day apart
		last   int // sentries of the last day, that visit all peers
		want   int // sentries that are kept, among them those of the last day
	}{
		{"one", 0, 1, 1},
		{"two", 0, 2, 2},
		{"two, after few", 10, 2, 2 + 6},
		{"three, after more than can be told apart", 2 * maxSentries, 3, 3 + 6},
		{"as many as can be told apart, after as many", maxSentries, maxSentries - 6, maxSentries},
		{"too many", 0, maxSentries + 3, maxSentries},
	} {
		t.Run(c.name, func(t *testing.T) {
			crawl := newCrawl(3)
			end := start.Add(time.Duration(c.former+1) * 24 * time.Hour)
			now := end.Add(40 * 24 * time.Hour)
			tr := opened(t, t.TempDir(), &now)
			for node := range 6 { // peer by peer, as CatchUp reads
				for i := range c.former {
					if i%3 == node%3 {
						for _, e := range crawl.visit(node, start.Add(time.Duration(i)*24*time.Hour+12*time.Hour), 0) {
							tr.Add(asOf(e, fmt.Sprintf("former%03d", i)))
						}
					}
				}
				for i := range c.last {
					for _, e := range crawl.visit(node, end.Add(time.Duration(i)*time.Second), 0) {
						tr.Add(asOf(e, fmt.Sprintf("last%02d", i)))
					}
				}
			}
			flush(t, tr, 1)
			tr.learn()
			flush(t, tr, 2)
			list, _ := tr.State().Sentries()
			last := slices.DeleteFunc(slices.Clone(list), func(s SentryFigures) bool { return !strings.HasPrefix(s.ID, "last") })
			if len(list) != c.want || len(last) != min(c.last, maxSentries) {
				t.Errorf("%d sentries, want %d, of the last day %d", len(list), c.want, len(last))
			}
		})
	}
}

// A segment that is dropped has displaced no sentry.
func TestDroppedSegmentDisplacesNoSentry(t *testing.T) {
	c := newCrawl(1)
	now := start.Add(20 * 24 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	add := func(at time.Time, sentry string) {
		for _, e := range c.visit(1, at, 0) {
			tr.Add(asOf(e, sentry))
		}
	}
	for i := range maxSentries {
		add(start.Add(time.Duration(i)*time.Second), fmt.Sprintf("s%03d", i))
	}
	flush(t, tr, 1)
	ids := func() (ids []string) {
		for id := range tr.sentries {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		return ids
	}
	before := ids()
	add(now.Add(-time.Hour), "new")
	tr.Drop()
	flush(t, tr, 2)
	if diff := gocmp.Diff(before, ids()); diff != "" {
		t.Error(diff)
	}
	add(now.Add(-time.Hour), "new")
	add(now.Add(-time.Hour), "s000") // displaced, and back at once
	tr.refreshed = now
	flush(t, tr, 3)
	if after := ids(); len(after) > maxSentries || !slices.Contains(after, "new") || !slices.Contains(after, "s000") {
		t.Errorf("%d sentries: %v", len(after), after)
	}
}

// Ended visits with a watch stay open until others displace them: few of one sentry, more of
// several, and few again when one is left.
func TestOpenVisitsAreFew(t *testing.T) {
	c := newCrawl(1)
	now := start.Add(24 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	at := start
	open := func(sentries ...string) int {
		for range 2 * maxOpenShared {
			at = at.Add(10 * time.Minute)
			for _, sentry := range sentries {
				for _, e := range c.visit(1, at, 1) {
					tr.Add(asOf(e, sentry))
				}
			}
		}
		now = at.Add(time.Hour)
		flush(t, tr, uint64(at.Unix()))
		tr.learn()
		return len(tr.peers[peerID(1)].Open)
	}
	if n := open("a"); n != maxOpenVisits {
		t.Errorf("%d open visits of one sentry, want %d", n, maxOpenVisits)
	}
	if n := open("a", "b"); n != maxOpenShared {
		t.Errorf("%d open visits of two sentries, want %d", n, maxOpenShared)
	}
	at = at.Add(8 * 24 * time.Hour)
	open("a") // b is forgotten after these
	if n := open("a"); n != maxOpenVisits {
		t.Errorf("%d open visits of the sentry that is left, want %d", n, maxOpenVisits)
	}
}
