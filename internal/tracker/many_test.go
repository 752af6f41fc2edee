package tracker

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// Three sentries that watch the same nodes by turns, and sometimes at the same time, know what one
// knows that saw it all: the same cells, each once, and so the same estimates.
func TestThreeSentriesByTurnsAreOne(t *testing.T) {
	const peers = 10
	one, three := newWatchers(t), newWatchers(t)
	c := newCrawl(3)
	for i := range peers {
		h, v := watchVisit(c, i, start.Add(time.Hour+time.Duration(i)*17*time.Second))
		v.Watch.MetaDataChanges = nil
		from := v.Watch.From
		v.Watch.Changes, v.Watch.To = dutyChanges(c, h.(*event.MetadataReceived), from), from+20*params().Clock.EpochDuration().Milliseconds()
		one.watch(h.(*event.MetadataReceived), v, "a", 0, v.Watch.From, v.Watch.To)
		turn := 0
		for at := from; at < v.Watch.To; turn++ {
			end := min(v.Watch.To, at+300_000+c.Int64N(1_500_000))
			three.watch(h.(*event.MetadataReceived), v, string("abc"[turn%3]), turn, at, end)
			if c.IntN(3) == 0 { // two at the same time
				three.watch(h.(*event.MetadataReceived), v, string("abc"[(turn+1)%3]), 1000+turn, at, end)
			}
			if end == v.Watch.To {
				break
			}
			at = end - 13_000 - c.Int64N(60_000)
		}
	}
	a, b := one.state(t), three.state(t)
	for i := range peers {
		p, q := a.Peer(peerID(i)), b.Peer(peerID(i))
		x, y := a.Why(p), b.Why(q)
		if x.On+x.Off == 0 || x.On != y.On || x.Off != y.Off {
			t.Errorf("%s: %d cells filled and %d empty by turns, %d and %d by one", p.Client.Kind, y.On, y.Off, x.On, x.Off)
		}
		if p.WatchedMS != q.WatchedMS || len(q.Watched) != 1 {
			t.Errorf("%s: watched for %d ms by turns (%v), %d by one", p.Client.Kind, q.WatchedMS, q.Watched, p.WatchedMS)
		}
		if e, o := p.Estimate, q.Estimate; e.Median != o.Median || math.Abs(e.Mean-o.Mean) > 0.05*e.Mean+0.05 {
			t.Errorf("%s: %d validators, mean %.2f, by turns, %d, mean %.2f, by one", p.Client.Kind, o.Median, o.Mean, e.Median, e.Mean)
		}
	}
	if x, y := a.Totals(), b.Totals(); x.Nodes != y.Nodes || math.Abs(x.Validators-y.Validators) > 0.05*x.Validators {
		t.Errorf("%d nodes with %.1f validators by turns, %d with %.1f by one", y.Nodes, y.Validators, x.Nodes, x.Validators)
	}
}

// Sentries with a shard each add up: the totals of all are those of one sentry that has them all.
func TestShardsAddUp(t *testing.T) {
	c := newCrawl(5)
	now := start.Add(40 * time.Hour)
	whole, shards := opened(t, t.TempDir(), &now), opened(t, t.TempDir(), &now)
	parts := [3]*Tracker{opened(t, t.TempDir(), &now), opened(t, t.TempDir(), &now), opened(t, t.TempDir(), &now)}
	var all []event.Event
	for i := range 60 {
		all = append(all, c.discovered(i, start.Add(time.Hour)))
		for visit := range 10 {
			all = append(all, c.visit(i, start.Add(time.Hour+time.Duration(visit*37)*time.Minute+time.Duration(i)*time.Second), c.IntN(3))...)
		}
	}
	for _, e := range byTime(all) {
		whole.Add(e)
		_, id := ofEvent(e)
		var i int
		fmt.Sscan(id[len(id)-4:], &i)
		e = asOf(e, string("abc"[i%3]))
		shards.Add(e)
		parts[i%3].Add(e)
	}
	for _, tr := range append(parts[:], whole, shards) {
		flush(t, tr, 0)
	}
	want, got := whole.State().Totals(), shards.State().Totals()
	if math.Abs(got.Validators-want.Validators) > 1e-9*want.Validators || got.Nodes != want.Nodes || got.Nodes != 60 {
		t.Errorf("%d nodes with %f validators in shards, %d with %f in one", got.Nodes, got.Validators, want.Nodes, want.Validators)
	}
	nodes := 0
	for _, tr := range parts {
		nodes += tr.State().Totals().Nodes
	}
	if nodes != want.Nodes {
		t.Errorf("the shards have %d nodes together, want %d", nodes, want.Nodes)
	}
}

// watchers collects the events of sentries.
type watchers struct{ events []event.Event }

func newWatchers(*testing.T) *watchers { return &watchers{} }

// watch has a sentry visit and watch a node for a part of what there is to see.
func (w *watchers) watch(h *event.MetadataReceived, all *event.VisitEnded, sentry string, turn int, from, to int64) {
	on := map[int]bool{}
	for _, s := range all.Watch.Initial {
		on[s] = true
	}
	watch := *all.Watch
	watch.From, watch.To, watch.Initial, watch.Changes = from, to, nil, nil
	for _, c := range all.Watch.Changes {
		at := all.Watch.From + c.At
		switch {
		case at < from:
			on[c.Subnet] = c.Subscribed
		case at <= to:
			c.At = at - from
			watch.Changes = append(watch.Changes, c)
		}
	}
	for s := range 64 {
		if on[s] {
			watch.Initial = append(watch.Initial, s)
		}
	}
	visit, hello := *all, *h
	visit.VisitID = fmt.Sprintf("%s-1-%s-%d", sentry, all.ID[len(all.ID)-4:], turn)
	visit.Watch, visit.Started, visit.Ended, visit.Timestamp, visit.CrawlerID = &watch, from-300, to, to, sentry
	hello.VisitID, hello.CrawlerID, hello.Timestamp, hello.SubscribedSubnets = visit.VisitID, sentry, from-300, watch.Initial
	w.events = append(w.events, &hello)
	for _, p := range cutAt(&visit, cutsOf(&visit)) {
		w.events = append(w.events, p)
	}
}

func (w *watchers) state(t *testing.T) *State {
	now := start.Add(8 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	for segment, rest := uint64(0), byTime(w.events); len(rest) > 0; segment++ {
		n := min(len(rest), 50)
		for _, e := range rest[:n] {
			tr.Add(e)
		}
		flush(t, tr, segment)
		rest = rest[n:]
	}
	if err := tr.Recompute(t.Context()); err != nil {
		t.Fatal(err)
	}
	return tr.State()
}

// dutyChanges are 20 epochs of subscriptions as the node's client makes them.
func dutyChanges(c *crawl, h *event.MetadataReceived, from int64) (changes []event.SubnetChange) {
	epoch := params().Clock.EpochDuration().Milliseconds()
	first := start.UnixMilli() + (from-start.UnixMilli())/epoch*epoch
	long := h.MetaData.Attnets.Subnets()
	next := [64]int64{}
	for at := first; at < first+22*epoch; at += 12_000 {
		subnet := c.IntN(64)
		if c.IntN(5) > 0 || slices.Contains(long, subnet) || slices.Contains(h.SubscribedSubnets, subnet) {
			continue
		}
		begin := at - 12_000 // Lighthouse
		switch eth2.ParseAgent(h.ClientVersion).Kind {
		case eth2.ClientPrysm:
			begin = first + (at-12_000-first)/epoch*epoch
		case eth2.ClientTeku:
			begin = first + (at-first)/epoch*epoch - epoch
		case eth2.ClientNimbus:
			begin = at - 36_000
		}
		if begin += 400; begin <= max(from, next[subnet]) {
			continue
		}
		next[subnet] = at + 12_400
		changes = append(changes, event.SubnetChange{At: begin - from, Subnet: subnet, Subscribed: true}, event.SubnetChange{At: next[subnet] - from, Subnet: subnet})
	}
	slices.SortStableFunc(changes, func(a, b event.SubnetChange) int { return int(a.At - b.At) })
	return slices.DeleteFunc(changes, func(c event.SubnetChange) bool { return c.At > 20*epoch })
}

// asOf is an event of another sentry.
func asOf(e event.Event, sentry string) event.Event {
	switch e := e.(type) {
	case *event.PeerDiscovered:
		c := *e
		c.CrawlerID = sentry
		return &c
	case *event.MetadataReceived:
		c := *e
		c.CrawlerID = sentry
		return &c
	case *event.VisitEnded:
		c := *e
		c.CrawlerID = sentry
		return &c
	}
	return e
}
