package sentry

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
)

// fakeVisitor takes a time for each visit and answers as told.
type fakeVisitor struct {
	takes   time.Duration
	outcome func(id string, visit int) string

	mu       sync.Mutex
	starts   map[string][]time.Time
	underWay int
	most     int
}

func newFakeVisitor(takes time.Duration, outcome func(id string, visit int) string) *fakeVisitor {
	return &fakeVisitor{takes: takes, outcome: outcome, starts: make(map[string][]time.Time)}
}

func (v *fakeVisitor) visitPeer(ctx, _ context.Context, target p2p.Target, _ *enr.Record, _ time.Duration, requestSlot requestSlotFunc) result {
	v.mu.Lock()
	started := time.Now()
	v.starts[target.PeerID] = append(v.starts[target.PeerID], started)
	visit := len(v.starts[target.PeerID])
	v.underWay++
	v.most = max(v.most, v.underWay)
	v.mu.Unlock()
	timer := time.NewTimer(v.takes)
	defer timer.Stop()
	outcome := v.outcome(target.PeerID, visit)
	select {
	case <-timer.C:
	case <-ctx.Done():
		outcome = event.OutcomeCanceled
	}
	v.mu.Lock()
	v.underWay--
	v.mu.Unlock()
	return result{outcome: outcome, started: started, handshaked: outcome == event.OutcomeOK}
}

func (v *fakeVisitor) hostGuest(context.Context, context.Context, *p2p.Session, time.Time) result {
	return result{guest: true}
}

func (v *fakeVisitor) receivePeer(context.Context, context.Context, *p2p.Session, *enr.Record, requestSlotFunc) result {
	return result{}
}

func always(outcome string) func(string, int) string {
	return func(string, int) string { return outcome }
}

func (v *fakeVisitor) visitsOf(id string) []time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.starts[id]
}

// testSchedule runs a schedule in the synctest bubble with the peers p0, p1, ...
type testSchedule struct {
	*schedule
	offers chan offer
	stop   func() // ends run and waits for it
}

func startSchedule(t *testing.T, cfg Config, net network.Network, v visitor, peers int) *testSchedule {
	t.Helper()
	cfg.AllowPrivate = true
	s := &testSchedule{
		schedule: newSchedule(cfg.withDefaults(net.Name), forksOf(net), v, &counters{}),
		offers:   make(chan offer),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.run(ctx, t.Context(), nil, s.offers); close(done) }()
	s.stop = func() { cancel(); <-done }
	for i := range peers {
		s.offer(testRecord(net, fmt.Sprintf("p%d", i), 1, uint16(1000+2*i)))
	}
	return s
}

func (s *testSchedule) offer(r *enr.Record) bool {
	o := offer{record: r, publish: make(chan bool, 1)}
	s.offers <- o
	return <-o.publish
}

func TestEveryReachablePeerIsVisitedEachEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testNetwork(t, time.Now(), 0)
		v := newFakeVisitor(3*time.Second, always(event.OutcomeOK))
		s := startSchedule(t, Config{}, net, v, 100)
		const epochs = 20
		time.Sleep(epochs * net.Clock.EpochDuration())
		s.stop()
		for i := range 100 {
			visits := v.visitsOf(fmt.Sprintf("p%d", i))
			seen := make(map[int]int)
			for n, at := range visits {
				seen[int(net.Clock.EpochAt(at))]++
				if n > 0 && at.Sub(visits[n-1]) < spacing {
					t.Errorf("p%d was redialled after %v", i, at.Sub(visits[n-1]))
				}
			}
			for e := range epochs {
				if seen[e] == 0 || seen[e] > 2 {
					t.Fatalf("p%d has %d visits in epoch %d", i, seen[e], e)
				}
			}
		}
	})
}

func TestDialersBoundTheVisits(t *testing.T) {
	for _, tt := range []struct{ dialers, connections, want int }{{5, 100, 5}, {50, 7, 7}} {
		synctest.Test(t, func(t *testing.T) {
			net := testNetwork(t, time.Now(), 0)
			v := newFakeVisitor(10*time.Second, always(event.OutcomeOK))
			s := startSchedule(t, Config{Dialers: tt.dialers, MaxConnections: tt.connections}, net, v, 40)
			time.Sleep(5 * time.Minute)
			s.stop()
			if v.most != tt.want {
				t.Errorf("%d visits at once, want %d", v.most, tt.want)
			}
			for i := range 40 {
				if len(v.visitsOf(fmt.Sprintf("p%d", i))) == 0 {
					t.Errorf("p%d was never visited", i)
				}
			}
		})
	}
}

// However many inbound visits there are, they take no slot from dials.
func TestCallersDoNotStopDials(t *testing.T) {
	for _, tt := range []struct{ inbound, dials int }{{0, 5}, {50, 5}, {95, 5}, {98, 2}, {100, 0}} {
		synctest.Test(t, func(t *testing.T) {
			net := testNetwork(t, time.Now(), 0)
			cfg := Config{Dialers: 5, MaxConnections: 100, MaxWatched: -1, AllowPrivate: true}.withDefaults("")
			v := newFakeVisitor(time.Hour, always(event.OutcomeOK))
			s := newSchedule(cfg, forksOf(net), v, &counters{})
			for i := range 20 {
				s.table.offer(testRecord(net, fmt.Sprintf("p%d", i), 1, uint16(1000+2*i)), time.Now())
			}
			s.inbound = tt.inbound
			for range tt.inbound {
				s.running[&running{inbound: true}] = struct{}{}
			}
			ctx, cancel := context.WithCancel(t.Context())
			s.dispatch(ctx, t.Context())
			cancel()
			if s.dials != tt.dials {
				t.Errorf("%d dials beside %d inbound visits, want %d", s.dials, tt.inbound, tt.dials)
			}
			for s.dials > 0 {
				s.finishVisit(<-s.done)
			}
		})
	}
}

func TestFailingPeersAreTriedEverLessButNeverGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testNetwork(t, time.Now(), 0)
		v := newFakeVisitor(time.Second, func(id string, visit int) string {
			if id == "p0" && visit > 6 { // it comes back
				return event.OutcomeOK
			}
			return event.OutcomeDialTimeout
		})
		s := startSchedule(t, Config{}, net, v, 2)
		time.Sleep(48 * time.Hour)
		s.stop()
		dead := v.visitsOf("p1")
		limit := backoffOf(event.OutcomeDialTimeout).limit
		for i := 1; i < len(dead); i++ {
			if gap := dead[i].Sub(dead[i-1]); gap > limit*6/5+2*time.Second {
				t.Errorf("gap of %v between visits %d and %d", gap, i-1, i)
			}
		}
		if n := len(dead); n < 40 || n > 60 {
			t.Errorf("%d visits of a dead peer in two days", n)
		}
		if n := len(v.visitsOf("p0")); n < 400 {
			t.Errorf("%d visits in two days of the peer that came back", n)
		}
	})
}

// Whoever we spoke with within a day is looked for once an interval, others ever less;
// and the waits stand of a wrong network and of another identity at the address.
func TestLostPeerIsLookedForEachWindow(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const met = 3 // visits before it is gone
	for _, outcome := range []string{
		event.OutcomeRefused, event.OutcomeDialTimeout, event.OutcomeUnreachable, event.OutcomeReset, event.OutcomeWrongNetwork,
	} {
		for _, revisit := range []int{1, 3} {
			synctest.Test(t, func(t *testing.T) {
				net := testNetwork(t, time.Now(), 0)
				v := newFakeVisitor(time.Second, func(id string, visit int) string {
					if id == "p0" && visit <= met {
						return event.OutcomeOK
					}
					return outcome
				})
				s := startSchedule(t, Config{Revisit: revisit}, net, v, 2)
				time.Sleep(40 * time.Hour)
				s.stop()
				const took = 2 * time.Second // a visit, and rounding
				interval := time.Duration(revisit) * net.Clock.EpochDuration()
				visits := v.visitsOf("p0")
				spoke := visits[met-1]
				longest := map[bool]time.Duration{} // by whether it is within a day
				for i := met + 1; i < len(visits); i++ {
					gap := visits[i].Sub(visits[i-1])
					if gap < spacing {
						t.Errorf("%s: dialled again after %v", outcome, gap)
					}
					known := visits[i-1].Add(took).Before(spoke.Add(recentContact))
					longest[known] = max(longest[known], gap)
				}
				limit := backoffOf(outcome).limit
				apart := outcome == event.OutcomeWrongNetwork || outcome == event.OutcomeUnreachable
				switch {
				case apart:
					if longest[true] < limit {
						t.Errorf("%s: the longest wait is %v", outcome, longest[true])
					}
				case longest[true] > interval*6/5+took:
					t.Errorf("%s, revisit %d: looked for after %v", outcome, revisit, longest[true])
				case longest[false] < limit:
					t.Errorf("%s, revisit %d: after a day still dialled every %v", outcome, revisit, longest[false])
				}
				if n, stranger := len(visits), len(v.visitsOf("p1")); !apart && 3*stranger >= 2*n {
					t.Errorf("%s: %d visits of a stranger, %d of who we know", outcome, stranger, n)
				}
			})
		}
	}
}

func TestNoPeerIsDialledAroundAFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testNetwork(t, time.Now(), 2)
		v := newFakeVisitor(time.Second, always(event.OutcomeOK))
		s := startSchedule(t, Config{}, net, v, 0)
		fork, half := net.Clock.EpochStart(2), net.Clock.SlotDuration/2
		time.Sleep(time.Until(fork) - half + time.Millisecond)
		for i := range 10 {
			port := uint16(1000 + 2*i)
			r := testRecordAt(net.Schedule.Periods[1].Digest, fmt.Sprintf("p%d", i), 1, port, port+1) // announces the next
			s.offer(r)
		}
		time.Sleep(net.Clock.SlotDuration * 2)
		s.stop()
		for i := range 10 {
			visits := v.visitsOf(fmt.Sprintf("p%d", i))
			if len(visits) == 0 || visits[0].Before(fork.Add(half)) {
				t.Errorf("p%d: visits %v, fork at %v", i, visits, fork)
			}
		}
	})
}

func TestStopCancelsVisitsAndWaitsForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testNetwork(t, time.Now(), 0)
		v := newFakeVisitor(time.Hour, always(event.OutcomeOK))
		s := startSchedule(t, Config{}, net, v, 10)
		synctest.Wait()
		if v.underWay != 10 {
			t.Errorf("%d visits under way", v.underWay)
		}
		began := time.Now()
		s.stop()
		if v.underWay != 0 || len(s.running) != 0 {
			t.Errorf("%d visits survived", v.underWay)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the stop took %v", took)
		}
		for i := range 10 {
			if n := len(v.visitsOf(fmt.Sprintf("p%d", i))); n != 1 {
				t.Errorf("p%d: %d visits", i, n)
			}
		}
	})
}

func TestHigherSeqIsNewsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testNetwork(t, time.Now(), 0)
		v := newFakeVisitor(time.Second, always(event.OutcomeOK))
		s := startSchedule(t, Config{}, net, v, 1)
		if s.offer(testRecord(net, "p0", 1, 1000)) {
			t.Error("the same record is published")
		}
		if !s.offer(testRecord(net, "p0", 2, 5000)) {
			t.Error("a higher seq is not published")
		}
		time.Sleep(2 * spacing)
		s.stop()
		if n := len(v.visitsOf("p0")); n != 2 {
			t.Errorf("%d visits, want one of each address", n)
		}
	})
}
