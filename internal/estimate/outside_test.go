package estimate

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// Sentries that watch a node by turns, or at the same time, show the cells that one shows which
// saw it all, each once: wherever in an epoch they begin and end, as long as the next begins a
// slot before the last one ends.
func TestWatchesByTurnsAreOneWatch(t *testing.T) {
	p := mainnetParams()
	for _, c := range []eth2.Client{lighthouse, prysm, teku, lodestar, nimbus, stranger} {
		for seed := range uint64(30) {
			random := rand.New(rand.NewPCG(seed, 7))
			from, to := slotTime(p, 1000, 0)-1000, slotTime(p, 1006, 0)-1000
			whole := randomDuties(p, c, random, from, to)
			one, turns := NewStatistics(c), NewStatistics(c)
			one.AddWatch(p, whole)
			var covered, times []Span
			watch := func(at, end int64) {
				for epoch := range stretchOf(whole, at, end).Epochs(p) {
					for piece := range epoch.Outside(p, covered) {
						turns.AddWatch(p, piece)
					}
				}
				covered, _ = JoinSpans(covered, Span{at, end})
			}
			for at, end := from, int64(0); end < to; at = max(from, end-12_000-random.Int64N(60_000)) {
				end = min(to, at+100_000+random.Int64N(700_000))
				for range 1 + random.IntN(2) { // somebody else may watch, too
					times = append(times, Span{at, end})
				}
			}
			if seed%2 == 1 { // one's events come late, as after an outage
				random.Shuffle(len(times), func(i, j int) { times[i], times[j] = times[j], times[i] })
			}
			for _, s := range times {
				watch(s[0], s[1])
			}
			disjoint(t, turns)
			if got, want := cellsOf(turns, c), cellsOf(one, c); got != want {
				t.Errorf("%s, seed %d: %v cells filled and empty by turns, %v by one", c.Kind, seed, got, want)
			}
			if len(covered) != 1 || covered[0] != (Span{from, to}) {
				t.Errorf("%s, seed %d: watched %v", c.Kind, seed, covered)
			}
			if got, want := turns.fullness.fullEpochs, one.fullness.fullEpochs; got > want {
				t.Errorf("%s, seed %d: %d full epochs by turns, %d by one", c.Kind, seed, got, want)
			}
			// A change in the slot of a hand-over may be in both pieces.
			if got, want := turns.behaviour.Subscribed, one.behaviour.Subscribed; float64(got) > 1.05*float64(want)+2 {
				t.Errorf("%s, seed %d: %d subscriptions by turns, %d by one", c.Kind, seed, got, want)
			}
		}
	}
}

// randomDuties is a watch of a node that follows its client's window for random duties.
func randomDuties(p Params, c eth2.Client, random *rand.Rand, from, to int64) WatchLog {
	w := candidatesOf(c)[0].window
	var on, off [subnets][]int64
	first, last := slotTime(p, 998, 0), slotTime(p, 1009, 0)
	for at := first; at < last; at += 12_000 {
		if random.IntN(4) > 0 {
			continue
		}
		subnet := random.IntN(62)
		begin := at - int64(w.lead)*12_000
		if w.policy != slotsAhead {
			epoch := int64(384_000)
			begin = (at-12_000-p.Clock.Genesis.UnixMilli())/epoch*epoch + p.Clock.Genesis.UnixMilli()
			if w.policy == epochAhead {
				begin = (at-p.Clock.Genesis.UnixMilli())/epoch*epoch + p.Clock.Genesis.UnixMilli() - epoch
			}
		}
		on[subnet], off[subnet] = append(on[subnet], begin+300), append(off[subnet], at+12_300)
	}
	log := logOf(first, last)
	for subnet := range on {
		slices.Sort(on[subnet])
		for i := 0; i < len(on[subnet]); {
			begin, end := on[subnet][i], off[subnet][i]
			for i++; i < len(on[subnet]) && on[subnet][i] <= end; i++ {
				end = max(end, off[subnet][i])
			}
			log.Changes = append(log.Changes, event.SubnetChange{At: begin - first, Subnet: subnet, Subscribed: true}, event.SubnetChange{At: end - first, Subnet: subnet})
		}
	}
	return stretchOf(log, from, to)
}

// stretchOf is what a watch of a part of a log's time sees.
func stretchOf(w WatchLog, from, to int64) WatchLog {
	c := newCutter(w)
	if from > w.From {
		c.cut(w.From, from, w.To)
	}
	out := c.cut(from, to, w.To)
	out.Since = nil
	return out
}

func cellsOf(s *Statistics, c eth2.Client) [2]uint64 {
	e := NewEvidence(c, Custody{})
	e.Add(s, c)
	on, off := e.Cells()
	return [2]uint64{on, off}
}

// Spans stay disjoint, in order and bounded, and the time that each adds counts once.
func TestJoinSpans(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 8))
		var list []Span
		sum := int64(0)
		for range 25 {
			from := 1_000_000 + random.Int64N(5000)
			before := slices.Clone(list)
			next, added := JoinSpans(list, Span{from, from + random.Int64N(300)})
			if !slices.Equal(list, before) {
				t.Fatal("the list was changed")
			}
			list, sum = next, sum+added
		}
		covered := int64(0)
		for i, s := range list {
			covered += s[1] - s[0]
			if s[1] <= s[0] || i > 0 && s[0] <= list[i-1][1] {
				t.Fatalf("seed %d: %v", seed, list)
			}
		}
		if gaps := covered - sum; gaps < 0 || gaps > int64(len(list))+25 {
			t.Errorf("seed %d: %d ms covered, %d added", seed, covered, sum)
		}
	}
	var many []Span
	for i := range int64(100) {
		many, _ = JoinSpans(many, Span{10 * i, 10*i + 5})
	}
	if len(many) != maxSpans || many[0][0] != 10*(100-maxSpans) {
		t.Errorf("%d spans from %d on", len(many), many[0][0])
	}
	if old, _ := JoinSpans(many, Span{spansAge * 2, spansAge*2 + 1}); len(old) != 1 {
		t.Errorf("%d spans, want the newest alone", len(old))
	}
}
