package tracker

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// cutAt are the parts of a watch that is cut at times, Unix milliseconds ascending within
// it, as a sentry publishes them.
func cutAt(v *event.VisitEnded, times []int64) (parts []*event.VisitEnded) {
	on, joined := map[int]bool{}, map[int]int64{}
	for _, s := range v.Watch.Initial {
		on[s] = true
	}
	var attnets *eth2.Attnets
	from := v.Watch.From
	for i, to := range append(slices.Clone(times), v.Watch.To) {
		last := i == len(times)
		w := &event.Watch{From: from, To: to, Attnets: attnets}
		for s := range 64 {
			if on[s] {
				w.Initial = append(w.Initial, s)
				w.Since = append(w.Since, 0)
				if at := joined[s]; at != 0 {
					w.Since[len(w.Since)-1] = int(from - at)
				}
			}
		}
		for _, c := range v.Watch.Changes {
			at := v.Watch.From + c.At
			if at < from || at >= to && !last {
				continue
			}
			c.At = at - from
			w.Changes = append(w.Changes, c)
			on[c.Subnet], joined[c.Subnet] = c.Subscribed, at
		}
		for _, m := range v.Watch.MetaDataChanges {
			at := v.Watch.From + m.At
			if at < from || at >= to && !last {
				continue
			}
			m.At = at - from
			w.MetaDataChanges = append(w.MetaDataChanges, m)
			attnets = &m.Attnets
		}
		part := *v
		part.Part, part.Watch = i, w
		if !last {
			part.More, part.Timestamp, part.Ended, part.Outcome = true, to+1, to+1, event.OutcomeOK
		}
		parts = append(parts, &part)
		from = to
	}
	return parts
}

// watchVisit is a visit with a watch that begins anywhere in an epoch and ends anywhere.
func watchVisit(c *crawl, i int, at time.Time) (handshake event.Event, v *event.VisitEnded) {
	events := c.visit(i, at, 1+c.IntN(5))
	v = events[1].(*event.VisitEnded)
	w := v.Watch
	w.To += c.Int64N(400_000)
	v.Ended, v.Timestamp = w.To, w.To
	w.MetaDataChanges = nil
	for ms := c.Int64N(900_000); ms < w.To-w.From; ms += c.Int64N(900_000) {
		syncnets, cgc := eth2.Syncnets(c.IntN(16)), uint64(4+c.IntN(20))
		w.MetaDataChanges = append(w.MetaDataChanges, event.WatchMetaData{At: ms, MetaData: event.MetaData{
			SeqNumber: uint64(ms), Attnets: eth2.NewAttnets([]int{c.IntN(64), c.IntN(64)}), Syncnets: &syncnets, CustodyGroupCount: &cgc}})
	}
	// Subscriptions of any length, over cuts too, and changes at the very cuts.
	w.Changes = nil
	for range 150 {
		ms, subnet := c.Int64N(w.To-w.From), c.IntN(64)
		if cuts := cutsOf(v); c.IntN(8) == 0 && len(cuts) > 0 {
			ms = cuts[c.IntN(len(cuts))] - w.From
		}
		w.Changes = append(w.Changes, event.SubnetChange{At: ms, Subnet: subnet, Subscribed: true})
		if end := ms + c.Int64N(500_000); end <= w.To-w.From {
			w.Changes = append(w.Changes, event.SubnetChange{At: end, Subnet: subnet})
		}
	}
	slices.SortStableFunc(w.Changes, func(a, b event.SubnetChange) int { return int(a.At - b.At) })
	on := map[int]bool{}
	for _, s := range w.Initial {
		on[s] = true
	}
	w.Changes = slices.DeleteFunc(w.Changes, func(c event.SubnetChange) bool { // as a sentry logs: each is a change
		same := on[c.Subnet] == c.Subscribed
		on[c.Subnet] = c.Subscribed
		return same
	})
	return events[0], v
}

// cutsOf are all times at which a sentry cuts the watch.
func cutsOf(v *event.VisitEnded) (times []int64) {
	clock := params().Clock
	for e := clock.EpochAt(time.UnixMilli(v.Watch.From)); ; e++ {
		at := estimate.EpochCut(clock, e).UnixMilli()
		if at >= v.Watch.To {
			return times
		}
		if at > v.Watch.From {
			times = append(times, at)
		}
	}
}

// partsOf folds events, those of each segment and then the estimates, and returns what
// they have made of the peers.
func partsOf(t *testing.T, segments [][]event.Event) any {
	t.Helper()
	now := start.Add(100 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	for i, events := range segments {
		for _, e := range events {
			if err := e.Validate(); err != nil {
				t.Fatal(err)
			}
			tr.Add(e)
		}
		flush(t, tr, uint64(i))
	}
	if err := tr.Recompute(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := state(t, tr).([]any)
	return []any{all[0], all[1]}
}

func samePeers() gocmp.Options {
	return gocmp.Options{cmpopts.IgnoreUnexported(Peer{}), cmpopts.IgnoreFields(Peer{}, "Open", "CustodyHistory"), cmpopts.EquateEmpty()}
}

// However a watch is cut at the ends of epochs, in whatever order its parts come, in how
// many segments, and however often one comes again: estimates, and all they are made
// of, are exactly those of the whole watch.
func TestPartsOfAWatchAreTheWatch(t *testing.T) {
	for seed := range uint64(20) {
		c := newCrawl(seed)
		var whole, one, many [][]event.Event
		at := start.Add(time.Hour)
		for range 4 { // the third and the fourth go over midnight
			whole, one = append(whole, nil), append(one, nil)
			for i := range c.agents {
				handshake, v := watchVisit(c, i, at.Add(time.Duration(c.IntN(400))*time.Second))
				last := len(whole) - 1
				whole[last] = append(whole[last], handshake, v)
				one[last] = append(one[last], handshake)
				many = append(many, []event.Event{handshake})
				for _, p := range disordered(c.Rand, cutAt(v, someOf(c.Rand, cutsOf(v)))) {
					one[last] = append(one[last], p)
					many = append(many, []event.Event{p})
				}
			}
			at = at.Add(7*time.Hour + 20*time.Minute)
		}
		want := partsOf(t, whole)
		for name, segments := range map[string][][]event.Event{"in one segment": one, "in many": many} {
			if diff := gocmp.Diff(want, partsOf(t, segments), samePeers()); diff != "" {
				t.Fatalf("seed %d, %s (-whole +parts):\n%s", seed, name, diff)
			}
		}
	}
}

// Where parts are lost, the others count as the watches do that they add up to.
func TestLostPartsLeaveTheOthers(t *testing.T) {
	for seed := range uint64(20) {
		c := newCrawl(100 + seed)
		var want, got []event.Event
		for i := range c.agents {
			handshake, v := watchVisit(c, i, start.Add(time.Hour))
			want, got = append(want, handshake), append(got, handshake)
			cuts := cutsOf(v)
			parts := cutAt(v, cuts)
			lost := c.IntN(len(parts))
			var around []int64 // cuts of a watch that is whole but for the lost part
			if lost > 0 {
				around = append(around, cuts[lost-1])
			}
			if lost < len(cuts) {
				around = append(around, cuts[lost])
			}
			for _, p := range cutAt(v, around) {
				if p.Watch.From != parts[lost].Watch.From {
					want = append(want, p)
				}
			}
			for _, p := range disordered(c.Rand, slices.Delete(parts, lost, lost+1)) {
				got = append(got, p)
			}
		}
		if diff := gocmp.Diff(partsOf(t, [][]event.Event{want}), partsOf(t, [][]event.Event{got}), samePeers()); diff != "" {
			t.Fatalf("seed %d (-what is left +parts):\n%s", seed, diff)
		}
	}
}

func someOf(r *rand.Rand, cuts []int64) []int64 {
	return slices.DeleteFunc(cuts, func(int64) bool { return r.IntN(4) == 0 })
}

// disordered are the parts in any order, some of them twice.
func disordered(r *rand.Rand, parts []*event.VisitEnded) []*event.VisitEnded {
	for _, p := range slices.Clone(parts) {
		if r.IntN(3) == 0 {
			parts = append(parts, p)
		}
	}
	r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	return parts
}

func TestPartWindow(t *testing.T) {
	for _, c := range []struct {
		parts []int
		want  []bool
	}{
		{[]int{0, 0, 1, 0, 1, 2}, []bool{true, false, true, false, false, true}},
		{[]int{3, 1, 3, 2, 0, 0}, []bool{true, true, false, true, true, false}},
		{[]int{63, 0, 64, 0, 1, 1000, 999, 64, 937, 936}, []bool{true, true, true, false, true, true, true, false, true, false}},
		{[]int{1<<31 - 1, 1<<31 - 1, 0}, []bool{true, false, false}},
	} {
		w := partWindow{}
		for i, part := range c.parts {
			if got := w.add(part); got != c.want[i] {
				t.Errorf("%v: part %d: %v", c.parts, part, got)
			}
		}
	}
}
