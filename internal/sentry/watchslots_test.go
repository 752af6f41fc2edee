package sentry

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/prefix"
)

// watcher visits as the sentry does: three seconds of census, and if it gets a slot
// a watch of whole epochs, unless the peer leaves before.
type watcher struct {
	clock  eth2.Clock
	epochs int
	seen   func(id string) handshakeSummary
	leaves func(id string) bool // a second into a watch, with a goodbye 129
	full   func(id string) bool // it says goodbye 129 to a census, before a slot is asked for

	mu          sync.Mutex
	spans       map[string][][2]time.Time // of watches
	first       map[string]time.Time      // start of the first watch
	census      map[string][]time.Time
	watching    int
	most, total int // at one time: watches, visits
	live        int
}

func newWatcher(clock eth2.Clock) *watcher {
	cgc := uint64(8)
	return &watcher{
		clock: clock, epochs: 3,
		seen:   func(string) handshakeSummary { return handshakeSummary{cgc: &cgc} },
		leaves: func(string) bool { return false },
		full:   func(string) bool { return false },
		spans:  make(map[string][][2]time.Time), first: make(map[string]time.Time), census: make(map[string][]time.Time),
	}
}

func (w *watcher) enter(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	w.most, w.total = max(w.most, w.watching), max(w.total, w.live)
}

func (w *watcher) watchingNow() (n int) {
	w.enter(func() { n = w.watching })
	return n
}

func (w *watcher) visit(ctx context.Context, id string, requestSlot requestSlotFunc) result {
	r := result{outcome: event.OutcomeOK, started: time.Now(), handshaked: true}
	w.enter(func() { w.live++; w.census[id] = append(w.census[id], r.started) })
	defer w.enter(func() { w.live-- })
	sleep := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			r.outcome = event.OutcomeCanceled
		}
	}
	sleep(3 * time.Second)
	if w.full(id) {
		code := eth2.GoodbyeTooManyPeers
		r.outcome, r.goodbye = event.OutcomeGoodbye, &code
		return r
	}
	if ctx.Err() != nil || !requestSlot(ctx, w.seen(id)) {
		return r
	}
	from := time.Now()
	w.enter(func() {
		w.watching++
		if w.first[id].IsZero() {
			w.first[id] = from
		}
	})
	if w.leaves(id) {
		sleep(time.Second)
		code := eth2.GoodbyeTooManyPeers
		r.outcome, r.goodbye = event.OutcomeGoodbye, &code
	} else {
		sleep(time.Until(forks{clock: w.clock}.watchEnd(from, w.epochs)))
	}
	r.stayed, r.watched = true, time.Since(from)
	w.enter(func() { w.watching--; w.spans[id] = append(w.spans[id], [2]time.Time{from, time.Now()}) })
	return r
}

func (w *watcher) visitPeer(ctx, _ context.Context, target p2p.Target, _ *enr.Record, _ time.Duration, requestSlot requestSlotFunc) result {
	return w.visit(ctx, target.PeerID, requestSlot)
}

func (w *watcher) hostGuest(context.Context, context.Context, *p2p.Session, time.Time) result {
	return result{guest: true}
}

func (w *watcher) receivePeer(context.Context, context.Context, *p2p.Session, *enr.Record, requestSlotFunc) result {
	return result{}
}

// present reports whether a visit of the peer began in the epoch, or a watch lasted
// for some of it.
func (w *watcher) present(id string, e eth2.Epoch) bool {
	for _, at := range w.census[id] {
		if w.clock.EpochAt(at) == e {
			return true
		}
	}
	for _, span := range w.spans[id] {
		if w.clock.EpochAt(span[0]) <= e && w.clock.EpochAt(span[1].Add(-2*w.clock.SlotDuration)) >= e {
			return true
		}
	}
	return false
}

// epochsOf is how long a peer was watched in all, in epochs.
func (w *watcher) epochsOf(id string) (sum float64) {
	for _, span := range w.spans[id] {
		sum += span[1].Sub(span[0]).Seconds() / w.clock.EpochDuration().Seconds()
	}
	return sum
}

func TestEveryPeerHasItsTurnAndItsCensus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testNetwork(t, time.Now(), 0)
		w := newWatcher(net.Clock)
		const peers, slots, epochs = 200, 20, 120
		s := startSchedule(t, Config{MaxWatched: slots, MaxConnections: 60, Dialers: 16}, net, w, peers)
		time.Sleep(epochs * net.Clock.EpochDuration())
		s.stop()
		if w.most != slots || w.total > 60 {
			t.Errorf("%d watches and %d visits at once, want %d and at most 60", w.most, w.total, slots)
		}
		low, high, sum := math.Inf(1), 0.0, 0.0
		for i := range peers {
			id := fmt.Sprintf("p%d", i)
			got := w.epochsOf(id)
			low, high, sum = min(low, got), max(high, got), sum+got
			for e := range eth2.Epoch(epochs - 1) {
				if !w.present(id, e) {
					t.Errorf("%s was neither visited nor watched in epoch %d", id, e)
				}
			}
		}
		if low == 0 || high > 2*low+4 {
			t.Errorf("epochs watched: %.1f to %.1f, want them alike", low, high)
		}
		if used := sum / (slots * epochs); used < 0.85 {
			t.Errorf("the slots were used for %.0f %% of the time", 100*used)
		}
		if s.slots.inUse != 0 || s.dials != 0 || len(s.running) != 0 {
			t.Errorf("after the end %d watches, %d dials, %d visits are booked", s.slots.inUse, s.dials, len(s.running))
		}
	})
}

func TestTurnsGoToThoseOfWhomLeastIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testNetwork(t, time.Now(), 0)
		w := newWatcher(net.Clock)
		four, eight := uint64(4), uint64(8)
		without := func(id string) bool { return len(id)%2 == 0 } // p10 to p99 have no validators
		w.seen = func(id string) handshakeSummary {
			if without(id) {
				return handshakeSummary{client: eth2.ClientTeku, cgc: &eight}
			}
			return handshakeSummary{client: eth2.ClientTeku, cgc: &four}
		}
		s := startSchedule(t, Config{MaxWatched: 10, MaxConnections: 100, Dialers: 16}, net, w, 200)
		time.Sleep(150 * net.Clock.EpochDuration())
		for i := 200; i < 205; i++ { // late, and never watched before
			s.offer(testRecord(net, fmt.Sprintf("p%d", i), 1, uint16(1000+2*i)))
		}
		late := time.Now()
		time.Sleep(20 * net.Clock.EpochDuration())
		s.stop()
		var sum, count [2]float64
		for i := range 200 {
			kind := 0
			if without(fmt.Sprintf("p%d", i)) {
				kind = 1
			}
			sum[kind] += w.epochsOf(fmt.Sprintf("p%d", i))
			count[kind]++
		}
		if few, many := sum[0]/count[0], sum[1]/count[1]; few == 0 || many < 2*few {
			t.Errorf("epochs watched a peer: %.1f where there may be validators, %.1f where not", many, few)
		}
		for i := 200; i < 205; i++ {
			at := w.first[fmt.Sprintf("p%d", i)]
			if at.IsZero() || at.Sub(late) > 8*net.Clock.EpochDuration() {
				t.Errorf("p%d came late and was first watched after %v", i, at.Sub(late))
			}
		}
	})
}

func TestPeersThatLeaveAtOnceDoNotHogTheTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testNetwork(t, time.Now(), 0)
		w := newWatcher(net.Clock)
		w.leaves = func(id string) bool { return len(id) == 2 } // p0 to p9
		s := startSchedule(t, Config{MaxWatched: 5, MaxConnections: 50}, net, w, 50)
		time.Sleep(200 * net.Clock.EpochDuration())
		s.stop()
		for i := range 50 {
			id := fmt.Sprintf("p%d", i)
			switch visits := w.census[id]; {
			case i < 10:
				if len(w.spans[id]) == 0 {
					t.Errorf("%s never had a slot", id)
				}
				for _, span := range w.spans[id] {
					for _, at := range visits {
						if at.After(span[1]) && at.Sub(span[1]) < 10*time.Minute {
							t.Errorf("%s was dialled %v after its goodbye 129", id, at.Sub(span[1]))
						}
					}
				}
				if p := s.table.byID[id]; p.fails != 0 || !p.reachable {
					t.Errorf("%s counts as failing: %d, reachable %v", id, p.fails, p.reachable)
				}
			case w.epochsOf(id) < 6:
				t.Errorf("%s was watched for %.1f epochs only", id, w.epochsOf(id))
			}
		}
	})
}

// Full nodes and such without a gossip hello are visited, and never ask for a slot.
// They must not keep the slots empty.
func TestPeersThatNeverAskKeepNoPlaces(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, never := range []int{30, 60} {
		synctest.Test(t, func(t *testing.T) {
			net := testNetwork(t, time.Now(), 0)
			w := newWatcher(net.Clock)
			const peers, slots, epochs = 200, 20, 120
			mute := make(map[string]bool)
			for i := range never {
				mute[fmt.Sprintf("p%d", i*peers/never)] = true
			}
			w.full = func(id string) bool { return mute[id] }
			s := startSchedule(t, Config{MaxWatched: slots, MaxConnections: 60, Dialers: 16}, net, w, peers)
			time.Sleep(epochs * net.Clock.EpochDuration())
			s.stop()
			half := net.Clock.EpochStart(epochs / 2)
			var used time.Duration
			for _, spans := range w.spans {
				for _, span := range spans {
					used += max(0, span[1].Sub(latest(span[0], half)))
				}
			}
			if share := float64(used) / float64(slots*epochs/2*net.Clock.EpochDuration()); share < 0.9 {
				t.Errorf("%d of %d peers never ask: the slots were used for %.0f %% of the second half", never, peers, 100*share)
			}
		})
	}
}

// Too few connections for the watches are said at startup, whether --max-watched is given or not.
func TestTooFewConnectionsForTheWatches(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{MaxConnections: 8}, "max_watched=750 watched=2 max_connections=8 max_connections_needed=904"},
		{Config{MaxConnections: 8, MaxWatched: 3}, "max_watched=3 watched=2 max_connections=8 "},
		{Config{MaxConnections: 8, MaxWatched: 2}, ""},
		{Config{MaxConnections: 8, MaxWatched: -1}, ""},
		{Config{}, ""},
	} {
		var log bytes.Buffer
		newSentry(tt.cfg, NewLocal(testNetwork(t, genesis, 0)), nil, nil, nil, slog.New(slog.NewTextHandler(&log, nil)))
		if text := log.String(); tt.want == "" && text != "" || !strings.Contains(text, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.cfg, text, tt.want)
		}
	}
}

func TestWatchesLeaveRoomForTheRest(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want int
	}{
		{Config{}, 750},
		{Config{MaxWatched: 5000}, 1000 - 64 - 100},
		{Config{MaxConnections: 100}, 100 - 64 - 10},
		{Config{MaxConnections: 20}, 20 - 15 - 2},
		{Config{MaxConnections: 1}, 1},
		{Config{MaxWatched: -1}, 0},
		{Config{MaxConnections: 200, MaxWatched: 50}, 50},
	} {
		if got := tt.cfg.withDefaults("").MaxWatched; got != tt.want {
			t.Errorf("%+v: %d watches, want %d", tt.cfg, got, tt.want)
		}
	}
	for _, tt := range []struct{ dialers, watched int }{{64, 750}, {64, 5000}, {1, 1}, {7, 12345}} {
		cfg := Config{Dialers: tt.dialers, MaxWatched: tt.watched}
		cfg.MaxConnections = cfg.ConnectionsFor(tt.watched)
		less := cfg
		less.MaxConnections--
		if got := cfg.Watched(); got != tt.watched {
			t.Errorf("%d connections: %d watches, want %d", cfg.MaxConnections, got, tt.watched)
		}
		if got := less.Watched(); got >= tt.watched && tt.watched > 100 {
			t.Errorf("%d connections have room for %d watches", less.MaxConnections, got)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		net := testNetwork(t, time.Now(), 0)
		w := newWatcher(net.Clock)
		s := startSchedule(t, Config{MaxWatched: 1000, MaxConnections: 40, Dialers: 8}, net, w, 300)
		time.Sleep(10 * net.Clock.EpochDuration())
		s.stop()
		if w.total > 36 || w.most != 28 {
			t.Errorf("%d visits and %d watches at once, want at most 36 and 28: some slots are for inbound peers", w.total, w.most)
		}
		for i := range 300 {
			if len(w.census[fmt.Sprintf("p%d", i)]) < 3 {
				t.Errorf("p%d: visits at %v", i, w.census[fmt.Sprintf("p%d", i)])
			}
		}
	})
}

func TestInboundPeersAreLetInForWhatTheyBring(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	cfg := Config{AllowPrivate: true, MaxConnections: 100, Dialers: 20, MaxWatched: 60}.withDefaults("")
	epoch := net.Clock.EpochDuration()
	now := net.Clock.EpochStart(5).Add(epoch / 2)
	seen := func(ago time.Duration) func(*schedule) {
		return func(s *schedule) {
			p, _ := s.table.beginVisit("p", now.Add(-ago))
			s.table.endVisit(p, result{outcome: event.OutcomeOK, handshaked: true, started: now.Add(-ago)}, now.Add(-ago))
		}
	}
	missed := func(ago time.Duration) func(*schedule) {
		return func(s *schedule) {
			p, _ := s.table.beginVisit("p", now.Add(-ago))
			s.table.endVisit(p, result{outcome: event.OutcomeDialTimeout, started: now.Add(-ago)}, now.Add(-ago))
		}
	}
	for _, tt := range []struct {
		name          string
		known         func(*schedule)
		inbound, live int
		want          admission
	}{
		{"unknown", nil, 0, 0, visitIt},
		{"unknown, while dials and watches fill the rest", nil, 19, 99, visitIt},
		{"unknown, and every inbound slot is taken", nil, 20, 30, refuse},
		{"unknown, and every slot is taken", nil, 5, 100, refuse},
		{"visited in the epoch before", seen(epoch * 3 / 4), 19, 99, visitIt},
		{"visited in this epoch", seen(epoch / 4), 0, 50, beGuest},
		{"visited in this epoch, many inbound", seen(epoch / 4), 10, 50, refuse},
		{"visited just now", seen(10 * time.Second), 0, 0, beGuest},
		{"dialled just now without an answer", missed(10 * time.Second), 19, 99, visitIt},
		{"met in the epoch before, dialled without an answer in this one", func(s *schedule) {
			seen(epoch * 3 / 4)(s)
			missed(epoch / 4)(s)
		}, 19, 99, visitIt},
	} {
		s := newSchedule(cfg, forksOf(net), nil, &counters{})
		if tt.known != nil {
			tt.known(s)
		}
		s.inbound = tt.inbound
		for range tt.live {
			s.running[new(running)] = struct{}{}
		}
		if got := s.admit("p", netip.Addr{}, now); got != tt.want {
			t.Errorf("%s: admission %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestCallersFromOneAddressHaveFewPlaces(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	for _, tt := range []struct {
		name        string
		there, from string
		want        bool
	}{
		{"the same address", "192.31.196.7", "192.31.196.7", false},
		{"the next address", "192.31.196.7", "192.31.196.8", true},
		{"the same network of IPv6", "2a01:4f8::1", "2a01:4f8::2", false},
		{"another network of IPv6", "2a01:4f8::1", "2a01:4f8:0:1::1", true},
		{"loopback", "127.0.0.1", "127.0.0.1", true},
		{"a private address", "10.0.0.1", "10.0.0.1", true},
		{"an address that a carrier shares", "100.64.0.1", "100.64.0.1", true},
	} {
		s := newSchedule(Config{}.withDefaults(""), forksOf(net), nil, &counters{})
		from := netip.MustParseAddr(tt.from)
		for range inboundPerAddress {
			if s.admit("p", from, genesis) != visitIt {
				t.Errorf("%s: turned away while there are slots", tt.name)
			}
			s.sources.Add(prefix.Of(netip.MustParseAddr(tt.there)))
		}
		if got := s.admit("p", from, genesis) == visitIt; got != tt.want {
			t.Errorf("%s: admitted %v beside %d inbound, want %v", tt.name, got, inboundPerAddress, tt.want)
		}
		for range inboundPerAddress {
			s.sources.Remove(prefix.Of(netip.MustParseAddr(tt.there)))
		}
		if s.sources.Len() != 0 {
			t.Errorf("%s: %v are booked after the last call", tt.name, s.sources)
		}
	}
}
