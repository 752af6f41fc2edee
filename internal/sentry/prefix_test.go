package sentry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/prefix"
)

// recordIn is a record of our network at an address.
func recordIn(net_ network.Network, id string, seq uint64, at netip.AddrPort) *enr.Record {
	var r gethenr.Record
	r.SetSeq(seq)
	r.Set(gethenr.IP(net.IP(at.Addr().AsSlice())))
	if at.Addr().Is4() {
		r.Set(gethenr.TCP(at.Port()))
	} else {
		r.Set(gethenr.TCP6(at.Port()))
	}
	r.Set(enr.Eth2Entry(eth2.ENRForkID{ForkDigest: net_.Schedule.Periods[0].Digest, NextForkEpoch: eth2.FarFutureEpoch}))
	return signedAs(&r, id)
}

// address gives the i-th address of a group of hostile nodes, and one for each honest node.
type address func(i int) netip.AddrPort

func addressOf(format string) address {
	return func(i int) netip.AddrPort {
		ip := netip.MustParseAddr(fmt.Sprintf(format, i%250+1))
		return netip.AddrPortFrom(ip, uint16(1000+i))
	}
}

func hostileGroups() map[string]address {
	return map[string]address{
		"one address": func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr("192.31.196.7"), uint16(1000+i))
		},
		"one /24": addressOf("192.31.196.%d"),
		"one /64": addressOf("2a01:4f8::%x"),
		"one /48": addressOf("2a01:4f8:0:%x::1"),
		"on loopback": func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr("127.66.0.1"), uint16(1000+i))
		},
		"NAT64 of one": func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr("64:ff9b::c01f:c407"), uint16(1000+i))
		},
	}
}

func honestAddress(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{193, byte(i >> 8), byte(i), 1}), 9000)
}

// places are the addresses of peers.
type places struct {
	mu sync.Mutex
	at map[string]netip.Addr
}

func newPlaces() *places { return &places{at: map[string]netip.Addr{}} }

func (p *places) place(id string, at netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at[id] = at.Addr()
}

func (p *places) of(id string) netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at[id]
}

// groupVisitor takes long for hostile peers, which answer or not, and a second for others.
type groupVisitor struct {
	*watcher
	*places
	slow    time.Duration
	outcome string

	mu      sync.Mutex
	dials   map[string]int
	running int
	most    int // hostile ones at one time
}

func (v *groupVisitor) visitPeer(ctx, _ context.Context, target p2p.Target, _ *enr.Record, limit time.Duration, _ requestSlotFunc) result {
	r := result{outcome: event.OutcomeOK, started: time.Now(), handshaked: true, from: v.of(target.PeerID)}
	wait := time.Second
	hostile := target.PeerID[0] == 'x'
	v.mu.Lock()
	v.dials[target.PeerID]++
	if hostile {
		v.running++
		v.most = max(v.most, v.running)
		wait = min(v.slow, limit)
		if r.outcome = v.outcome; wait < v.slow {
			r.outcome = event.OutcomeStatus
		}
		r.handshaked = r.outcome == event.OutcomeOK
	}
	v.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		r.outcome, r.handshaked = event.OutcomeCanceled, false
	}
	if hostile {
		v.mu.Lock()
		v.running--
		v.mu.Unlock()
	}
	r.took = wait
	return r
}

// Slow and dead nodes of one group of addresses delay no census of others (H2, H3).
func TestOneGroupDelaysNobodyElse(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const honest, hostile, dialers, epochs = 100, 300, 16, 8
	for name, at := range hostileGroups() {
		for _, outcome := range []string{event.OutcomeOK, event.OutcomeDialTimeout} {
			synctest.Test(t, func(t *testing.T) {
				net := testNetwork(t, time.Now(), 0)
				v := &groupVisitor{watcher: newWatcher(net.Clock), places: newPlaces(), slow: 27 * time.Second, outcome: outcome, dials: map[string]int{}}
				s := startSchedule(t, Config{Dialers: dialers}, net, v, 0)
				for i := range hostile {
					id := fmt.Sprintf("x%d", i)
					v.place(id, at(i))
					s.offer(recordIn(net, id, 1, at(i)))
				}
				for i := range honest {
					id := fmt.Sprintf("p%d", i)
					v.place(id, honestAddress(i))
					s.offer(recordIn(net, id, 1, honestAddress(i)))
				}
				time.Sleep(2 * net.Clock.EpochDuration())
				v.mu.Lock()
				clear(v.dials)
				v.most = v.running
				v.mu.Unlock()
				time.Sleep(epochs * net.Clock.EpochDuration())
				s.stop()
				for i := range honest {
					if n := v.dials[fmt.Sprintf("p%d", i)]; n < epochs-1 {
						t.Fatalf("%s, %s: p%d was visited %d times in %d epochs", name, outcome, i, n, epochs)
					}
				}
				if v.most > dialers/2+dialBudget.Net {
					t.Errorf("%s, %s: %d of %d dialers were used for one group", name, outcome, v.most, dialers)
				}
				if s.table.queue.running.Len() != 0 || s.table.queue.spare != 0 {
					t.Errorf("%s, %s: %d groups and %d dialers are booked after the end", name, outcome, s.table.queue.running.Len(), s.table.queue.spare)
				}
			})
		}
	}
}

// Many honest nodes at one address are all visited in each epoch while there is room.
func TestLargeOperatorIsVisited(t *testing.T) {
	for name, at := range hostileGroups() {
		synctest.Test(t, func(t *testing.T) {
			net := testNetwork(t, time.Now(), 0)
			v := newFakeVisitor(time.Second, always(event.OutcomeOK))
			s := startSchedule(t, Config{}, net, v, 0)
			const nodes, epochs = 200, 5
			for i := range nodes {
				s.offer(recordIn(net, fmt.Sprintf("p%d", i), 1, at(i)))
			}
			time.Sleep(epochs * net.Clock.EpochDuration())
			s.stop()
			for i := range nodes {
				if n := len(v.visitsOf(fmt.Sprintf("p%d", i))); n < epochs-1 {
					t.Fatalf("%s: p%d was visited %d times in %d epochs", name, i, n, epochs)
				}
			}
		})
	}
}

// However many ids and ports claim an address, it is dialled a bounded number of times (H5).
func TestDialsOfAVictimAreBounded(t *testing.T) {
	for name, at := range hostileGroups() {
		synctest.Test(t, func(t *testing.T) {
			net := testNetwork(t, time.Now(), 0)
			v := newFakeVisitor(4*time.Second, always(event.OutcomeRefused))
			s := startSchedule(t, Config{}, net, v, 0)
			for i := range 2000 {
				s.offer(recordIn(net, fmt.Sprintf("x%d", i), 1, at(i)))
			}
			const hours = 4
			time.Sleep(hours * time.Hour)
			s.stop()
			dials := 0
			for _, visits := range v.starts {
				dials += len(visits)
			}
			most := failureBudget.Net
			if host := at(0).Addr(); host == at(1).Addr() || name == "one /64" {
				most = failureBudget.Host
			}
			if dials > (hours+1)*most {
				t.Errorf("%s: %d dials in %d hours, want at most %d", name, dials, hours, (hours+1)*most)
			}
		})
	}
}

// A record that changes its port over and over ends the backoff twice, and then once an
// hour.
func TestAddressesThatChangeDoNotEndTheBackoff(t *testing.T) {
	table, net := newTestTable(t, 10)
	now, dials := genesis, 0
	const hours = 10
	for seq := uint64(1); now.Before(genesis.Add(hours * time.Hour)); seq++ {
		table.offer(testRecord(net, "a", seq, uint16(1000+seq%1000*2)), now)
		if p, _ := table.nextDue(now); p != nil {
			dials++
			table.endVisit(p, result{outcome: event.OutcomeUnreachable, started: now}, now)
		}
		now = now.Add(30 * time.Second)
	}
	// In each hour one dial for the new address, and the backoff's 5, 10, 20 minutes.
	if dials > 5*hours {
		t.Errorf("%d dials in %d hours", dials, hours)
	}
}

// A peer whose record has no address, or has lost it, is not dialled, however often and when
// its record changes, and is dialled again once it has one. Losing it ends no backoff.
func TestPeersWithoutAnAddressAreNotDialled(t *testing.T) {
	for _, every := range []int{2, 3, 4, 5} { // which record lacks the address
		table, net := newTestTable(t, 10)
		now, dials := genesis, 0
		for seq := uint64(1); seq < 600; seq++ {
			before := 0
			if p := table.byID["a"]; p != nil {
				before = int(p.fails)
			}
			record := testRecord(net, "a", seq, uint16(1000+seq*2))
			if int(seq)%every == 0 {
				record = testRecordAt(net.Schedule.Periods[0].Digest, "a", seq, 0, 0)
			}
			table.offer(record, now)
			if lost := int(seq)%every == 0; lost && int(table.byID["a"].fails) != before {
				t.Fatalf("record %d without an address: %d failures became %d", seq, before, table.byID["a"].fails)
			}
			for range 2 { // at once, and before the next record
				if p, _ := table.nextDue(now); p != nil {
					if dials++; !hasAddress(table.target(p)) {
						t.Fatalf("dialled without an address, after record %d of which each %dth has none", seq, every)
					}
					table.endVisit(p, result{outcome: event.OutcomeUnreachable, started: now}, now)
				}
				now = now.Add(29 * time.Second)
			}
		}
		table.offer(testRecord(net, "a", 600, 999), now)
		p, _ := table.nextDue(now.Add(24 * time.Hour))
		if dials == 0 || p == nil {
			t.Errorf("every %d: %d dials, and then %v", every, dials, p)
		}
	}
}

// The identities of one group get few of the watch slots (H4).
func TestWatchSlotsAreSharedByGroups(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for name, at := range hostileGroups() {
		synctest.Test(t, func(t *testing.T) {
			net := testNetwork(t, time.Now(), 0)
			v := groupWatcher{newWatcher(net.Clock), newPlaces()}
			const honest, hostile, slots, epochs = 100, 120, 40, 60
			s := startSchedule(t, Config{MaxWatched: slots, MaxConnections: 120, Dialers: 32}, net, v, 0)
			for i := range hostile {
				id := fmt.Sprintf("x%d", i)
				v.place(id, at(i))
				s.offer(recordIn(net, id, 1, at(i)))
			}
			for i := range honest {
				id := fmt.Sprintf("p%d", i)
				v.place(id, honestAddress(i))
				s.offer(recordIn(net, id, 1, honestAddress(i)))
			}
			time.Sleep(epochs * net.Clock.EpochDuration())
			s.stop()
			good, bad := 0.0, 0.0
			for i := range hostile {
				bad += v.epochsOf(fmt.Sprintf("x%d", i))
			}
			for i := range honest {
				good += v.epochsOf(fmt.Sprintf("p%d", i))
			}
			if share := good / (good + bad); share < 0.9 {
				t.Errorf("%s: the honest share of watched time is %.2f", name, share)
			}
			if good+bad < 0.9*slots*epochs {
				t.Errorf("%s: watched for %.0f epochs in all, of %d", name, good+bad, slots*epochs)
			}
			if s.slots.groups.Len() != 0 {
				t.Errorf("%s: %d groups have slots after the end", name, s.slots.groups.Len())
			}
		})
	}
}

// groupWatcher is a watcher whose peers are at addresses.
type groupWatcher struct {
	*watcher
	*places
}

func (w groupWatcher) visitPeer(ctx, handover context.Context, target p2p.Target, record *enr.Record, limit time.Duration, requestSlot requestSlotFunc) result {
	r := w.watcher.visitPeer(ctx, handover, target, record, limit, func(ctx context.Context, seen handshakeSummary) bool {
		seen.from = w.of(target.PeerID)
		return requestSlot(ctx, seen)
	})
	r.from = w.of(target.PeerID)
	return r
}

// Slots that nobody else needs are for everybody.
func TestOneGroupMayHaveAllFreeSlots(t *testing.T) {
	for name, at := range hostileGroups() {
		synctest.Test(t, func(t *testing.T) {
			net := testNetwork(t, time.Now(), 0)
			v := groupWatcher{newWatcher(net.Clock), newPlaces()}
			const nodes = 30
			s := startSchedule(t, Config{MaxWatched: 40, MaxConnections: 100, Dialers: 32}, net, v, 0)
			for i := range nodes {
				id := fmt.Sprintf("p%d", i)
				v.place(id, at(i))
				s.offer(recordIn(net, id, 1, at(i)))
			}
			time.Sleep(2 * net.Clock.EpochDuration())
			if n := v.watchingNow(); n < nodes*9/10 {
				t.Errorf("%s: %d of %d are watched", name, n, nodes)
			}
			s.stop()
		})
	}
}

// Only peers that completed a handshake count for the fork alarm, one per network (H10).
func TestAlarmCountsAddressesThatAnswered(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	now := net.Clock.EpochStart(100)
	id, _ := net.Schedule.ForkID(100)
	for _, tt := range []struct {
		name   string
		spoke  bool
		at     address
		alarms bool
	}{
		{"records only", false, honestAddress, false},
		{"one address", true, hostileGroups()["one address"], false},
		{"one /24", true, hostileGroups()["one /24"], false},
		{"one /48", true, hostileGroups()["one /48"], false},
		{"many networks", true, func(i int) netip.AddrPort { return honestAddress(1000 + i) }, true},
	} {
		g := newGate(Config{log: discardLog()}, forksOf(net))
		meet := func(i int, name string, at netip.Addr, nfd eth2.ForkDigest, spoke bool) {
			r := &enr.Record{NodeID: eth2.NodeID{byte(i), name[0]}, PeerID: name, Eth2: &id, NFD: &nfd}
			p := &peer{dialable: true}
			if spoke {
				p.lastHandshake, p.at = now.Add(-time.Minute), prefix.Of(at)
			}
			g.admitsRecord(r, p, now)
		}
		for i := range 80 {
			meet(i, "p", honestAddress(i).Addr(), eth2.ForkDigest{}, true)
		}
		for i := range 60 {
			meet(i, "x", tt.at(i).Addr(), eth2.ForkDigest{0xde, 0xad, 0xbe, 0xef}, tt.spoke)
		}
		g.alarm.check(now)
		if g.alarm.raised != tt.alarms {
			t.Errorf("%s: alarm %v, want %v", tt.name, g.alarm.raised, tt.alarms)
		}
	}
}

// After a fork that we do not have no handshake completes. The alarm does not end because
// there is nobody left to ask, but when most nodes have our digest (H10).
func TestAlarmStaysWhileNobodyAnswers(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	now := net.Clock.EpochStart(100)
	id, _ := net.Schedule.ForkID(100)
	moved := eth2.ENRForkID{ForkDigest: eth2.ForkDigest{0xde, 0xad, 0xbe, 0xef}, NextForkVersion: id.NextForkVersion, NextForkEpoch: eth2.FarFutureEpoch}
	var log bytes.Buffer
	g := newGate(Config{log: slog.New(slog.NewTextHandler(&log, nil))}, forksOf(net))
	peers := make([]*peer, 100)
	for i := range peers {
		peers[i] = &peer{dialable: true, lastHandshake: now, at: prefix.Of(honestAddress(i).Addr())}
	}
	seen := func(peers []*peer, fork eth2.ENRForkID) {
		for _, p := range peers {
			g.admitsRecord(&enr.Record{PeerID: "p", Eth2: &fork}, p, now)
			p.dialable = fork == id
		}
	}
	// pass lets hours pass, in which the peers give a record in each of the first few.
	pass := func(hours, records int, peers []*peer, fork eth2.ENRForkID) (share float64) {
		for h := range hours {
			if h < records {
				seen(peers, fork)
			}
			for range 6 {
				now = now.Add(10 * time.Minute)
				share = g.alarm.check(now).unknown
			}
			if !g.alarm.raised {
				t.Fatalf("the alarm ended after %d hours: %s", h, &log)
			}
		}
		return share
	}
	seen(peers, moved)
	if share := g.alarm.check(now).unknown; !g.alarm.raised || share != 1 {
		t.Fatalf("alarm %v, share %v", g.alarm.raised, share)
	}
	if share := pass(30, 0, nil, moved); share != 1 { // no records at all
		t.Errorf("share %v when nobody is asked", share)
	}
	log.Reset()
	if share := pass(30, 30, peers, moved); share != 1 { // records of peers that answered days ago
		t.Errorf("share %v when all have moved", share)
	}
	if !strings.Contains(log.String(), "most likely the network has forked") {
		t.Errorf("not seen in the records of earlier peers: %s", &log)
	}
	log.Reset()
	pass(2, 2, peers[:alarmLeast-1], id) // too few
	if !strings.Contains(log.String(), "the fork alarm stays") || strings.Contains(log.String(), "share=") {
		t.Errorf("%s: want to read that the alarm stays, and no share", &log)
	}
	seen(peers[:60], id)
	if share := g.alarm.check(now.Add(time.Minute)).unknown; g.alarm.raised || share != 0 || !strings.Contains(log.String(), "match our schedule again") {
		t.Errorf("most have our digest: alarm %v, share %v: %s", g.alarm.raised, share, &log)
	}
}

// scarceHost is short of something.
type scarceHost struct{}

func (scarceHost) Dial(context.Context, p2p.Target) (*p2p.Session, error) {
	return nil, fmt.Errorf("dial: %w", errors.Join(p2p.ErrShortage, errors.New("of files")))
}

// A shortage of ours is no visit: no event, no failure of the peer, and a metric (H1).
func TestShortageIsNoVisit(t *testing.T) {
	net := testNetwork(t, time.Now(), 0)
	events := newPublished()
	s := newSentry(Config{CrawlerID: "c", AllowPrivate: true}, NewLocal(net), scarceHost{}, newTestFinder(), events, discardLog())
	table, _ := newTestTable(t, 10)
	r := testRecord(net, "a", 1, 1000)
	table.offer(r, genesis)
	p, _ := table.nextDue(genesis)
	got := s.visitPeer(t.Context(), t.Context(), table.target(p), r, visitTimeout, func(context.Context, handshakeSummary) bool { return false })
	table.endVisit(p, got, genesis)
	if len(events.events) != 0 || p.fails != 0 || s.Stats().Shortages != 1 || len(s.Stats().Outcomes) != 0 {
		t.Errorf("%d events, %d failures, %+v", len(events.events), p.fails, s.Stats())
	}
	if wait := p.due.Sub(genesis); wait > spacing {
		t.Errorf("dialled again after %v", wait)
	}
}

// Who took long has less time the next time, when others wait (H2).
func TestSlowPeersHaveLessTimeWhenOthersWait(t *testing.T) {
	table, net := newTestTable(t, 10)
	table.offer(testRecord(net, "slow", 1, 1000), genesis)
	p, _ := table.nextDue(genesis)
	if got := table.visitLimit(p, genesis); got != visitTimeout {
		t.Errorf("a stranger has %v", got)
	}
	table.endVisit(p, result{outcome: event.OutcomeOK, handshaked: true, started: genesis, took: slowCensus + time.Second}, genesis)
	later := genesis.Add(2 * net.Clock.EpochDuration())
	if p, _ = table.nextDue(later); p == nil || table.visitLimit(p, later) != visitTimeout {
		t.Fatal("it has less time though nobody waits, or is not due")
	}
	table.offer(testRecord(net, "other", 1, 2000), later)
	if got := table.visitLimit(p, later); got != slowCensus {
		t.Errorf("it has %v while another waits, want %v", got, slowCensus)
	}
}
