package sentry

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
)

var genesis = time.Unix(1_700_000_000, 0)

func newTestTable(t testing.TB, max int) (*table, network.Network) {
	t.Helper()
	net := testNetwork(t, genesis, 0)
	return newTable(Config{MaxPeers: max, AllowPrivate: true}.withDefaults(net.Name), forksOf(net)), net
}

func TestRecordIsNewsOnceASeq(t *testing.T) {
	table, net := newTestTable(t, 10)
	for i, step := range []struct {
		seq  uint64
		news bool
	}{{3, true}, {3, false}, {2, false}, {4, true}} {
		if got := table.offer(testRecord(net, "a", step.seq, 1000), genesis); got != step.news {
			t.Errorf("step %d, seq %d: news %v, want %v", i, step.seq, got, step.news)
		}
	}
	plain := testRecord(net, "b", 1, 1000)
	plain.Eth2 = nil
	if table.offer(plain, genesis) || len(table.byID) != 1 {
		t.Error("a record without eth2 entry is in the table")
	}
}

func TestOtherDigestIsNewsButNotDialled(t *testing.T) {
	table, net := newTestTable(t, 10)
	foreign := testRecordAt(eth2.ForkDigest{9}, "a", 1, 1000, 1001)
	if !table.offer(foreign, genesis) {
		t.Error("not published")
	}
	if p, _ := table.nextDue(genesis); p != nil {
		t.Error("a node of another digest is dialled")
	}
	if !table.offer(testRecord(net, "a", 2, 1000), genesis) {
		t.Error("the newer record is not published")
	}
	if p, _ := table.nextDue(genesis); p == nil {
		t.Error("a node that came to our digest is not dialled")
	}
}

func TestFirstFailureIsNotTheLast(t *testing.T) {
	table, net := newTestTable(t, 10)
	now := genesis
	table.offer(testRecord(net, "a", 1, 1000), now)
	var waits []time.Duration
	for range 12 {
		p, _ := table.nextDue(now)
		if p == nil {
			t.Fatalf("gave up after %d failures", len(waits))
		}
		table.endVisit(p, result{outcome: event.OutcomeRefused, started: now}, now)
		_, due := table.nextDue(now)
		waits = append(waits, due.Sub(now))
		now = due
	}
	for i, wait := range waits {
		least := backoffOf(event.OutcomeRefused).after(i + 1)
		if wait < least || wait > least*6/5+1 {
			t.Errorf("wait %d is %v, want %v and up to a fifth more", i, wait, least)
		}
	}
	p, _ := table.nextDue(now)
	table.endVisit(p, result{outcome: event.OutcomeOK, handshaked: true, started: now}, now)
	_, now = table.nextDue(now)
	p, _ = table.nextDue(now)
	table.endVisit(p, result{outcome: event.OutcomeRefused, started: now}, now)
	if _, due := table.nextDue(now); due.Sub(now) > 72*time.Second+1 {
		t.Errorf("after a success the back-off begins at %v", due.Sub(now))
	}
}

func TestInboundVisitsLeaveTheBackoffAlone(t *testing.T) {
	table, net := newTestTable(t, 10)
	now := genesis
	table.offer(testRecord(net, "a", 1, 1000), now)
	p, _ := table.nextDue(now)
	// The peer dials us while we dial it; its visit fails too.
	if again, ok := table.beginVisit("a", now); !ok || again != p {
		t.Fatal("the inbound visit is of another peer")
	}
	table.endVisit(p, result{outcome: event.OutcomeReset, started: now}, now)
	if next, _ := table.nextDue(now.Add(24 * time.Hour)); next != nil {
		t.Error("dialled while a visit is under way")
	}
	table.endVisit(p, result{outcome: event.OutcomeReset, started: now}, now)
	if p.fails != 2 || p.record() == nil {
		t.Errorf("%d failures, record %v", p.fails, p.record())
	}
	if _, due := table.nextDue(now); due.Sub(now) < 4*time.Minute {
		t.Errorf("due in %v after two failures", due.Sub(now))
	}
}

func TestNewAddressIsDueAgainAfterTheSpacing(t *testing.T) {
	table, net := newTestTable(t, 10)
	now := genesis
	table.offer(testRecord(net, "a", 1, 1000), now)
	p, _ := table.nextDue(now)
	for range 5 {
		table.endVisit(p, result{outcome: event.OutcomeUnreachable, started: now}, now)
		_, now = table.nextDue(now)
		p, _ = table.nextDue(now)
	}
	table.endVisit(p, result{outcome: event.OutcomeUnreachable, started: now}, now)

	table.offer(testRecord(net, "a", 2, 1000), now) // same address
	if _, due := table.nextDue(now); due.Sub(now) < time.Hour {
		t.Errorf("a higher seq alone made it due in %v", due.Sub(now))
	}
	table.offer(testRecord(net, "a", 3, 2000), now)
	if _, due := table.nextDue(now); due.Sub(now) != spacing {
		t.Errorf("with a new address it is due in %v, want %v", due.Sub(now), spacing)
	}
	if p, _ = table.nextDue(now.Add(spacing)); p == nil || table.target(p).TCP[0].Port() != 2000 {
		t.Error("the new address is not dialled")
	}
	// The address changes again while the visit to the old one fails.
	table.offer(testRecord(net, "a", 4, 3000), now.Add(spacing))
	table.endVisit(p, result{outcome: event.OutcomeRefused, started: now}, now.Add(spacing))
	if p, _ = table.nextDue(now.Add(2 * spacing)); p == nil || table.target(p).TCP[0].Port() != 3000 {
		t.Error("the address that changed during the visit is not dialled")
	}
}

func TestGoodbyeOutlastsANewAddress(t *testing.T) {
	table, net := newTestTable(t, 10)
	table.offer(testRecord(net, "a", 1, 1000), genesis)
	p, _ := table.nextDue(genesis)
	code := eth2.GoodbyeTooManyPeers
	table.endVisit(p, result{outcome: event.OutcomeGoodbye, handshaked: true, goodbye: &code, started: genesis}, genesis)
	if _, due := table.nextDue(genesis); due.Sub(genesis) < 10*time.Minute {
		t.Errorf("due %v after a goodbye 129", due.Sub(genesis))
	}
	table.offer(testRecord(net, "a", 2, 2000), genesis)
	if _, due := table.nextDue(genesis); due.Sub(genesis) < 10*time.Minute {
		t.Errorf("due %v after a goodbye 129 and a new address", due.Sub(genesis))
	}
}

// Knowing a peer does not shorten the wait that it asked for.
func TestGoodbyeOutlastsAcquaintance(t *testing.T) {
	for code, least := range map[uint64]time.Duration{eth2.GoodbyeTooManyPeers: 10 * time.Minute, 251: 2 * time.Hour, eth2.GoodbyeIrrelevantNetwork: 12 * time.Hour} {
		table, net := newTestTable(t, 10)
		table.offer(testRecord(net, "a", 1, 1000), genesis)
		p, _ := table.nextDue(genesis)
		table.endVisit(p, result{outcome: event.OutcomeOK, handshaked: true, started: genesis}, genesis)
		_, now := table.nextDue(genesis)
		p, _ = table.nextDue(now)
		table.endVisit(p, result{outcome: event.OutcomeGoodbye, goodbye: &code, started: now}, now)
		if _, due := table.nextDue(now); due.Sub(now) < least {
			t.Errorf("goodbye %d: due in %v, want %v", code, due.Sub(now), least)
		}
	}
}

func TestHandshakedPeerIsDueInTheNextInterval(t *testing.T) {
	for _, tt := range []struct {
		name           string
		revisit        int
		started, ended time.Duration // in epochs after genesis, times 1000
		interval       eth2.Epoch
	}{
		{"a census at the interval's start", 1, 0, 10, 1},
		{"a census near the interval's end", 1, 800, 810, 1},
		{"every third epoch", 3, 800, 810, 1},
		{"every third epoch, in its last", 3, 2500, 2510, 1},
		{"a watch to just after a boundary", 1, 500, 4010, 4},
		{"a watch that the peer ended", 1, 500, 2700, 3},
	} {
		net := testNetwork(t, genesis, 0)
		table := newTable(Config{Revisit: tt.revisit, AllowPrivate: true}.withDefaults(net.Name), forksOf(net))
		epoch := net.Clock.EpochDuration()
		for i := range 100 {
			id := fmt.Sprintf("p%d", i)
			started, ended := genesis.Add(tt.started*epoch/1000), genesis.Add(tt.ended*epoch/1000)
			table.offer(testRecord(net, id, 1, uint16(1000+2*i)), started)
			p, _ := table.nextDue(started)
			table.endVisit(p, result{outcome: event.OutcomeOK, handshaked: true, started: started}, ended)
			at := table.byID[id].due
			if table.intervalOf(at) != tt.interval && at.Sub(ended) > spacing*6/5 {
				t.Errorf("%s: due in interval %d, want %d", tt.name, table.intervalOf(at), tt.interval)
			}
			if last := table.intervalStart(tt.interval + 1).Add(-epoch / 10); at.After(last) {
				t.Errorf("%s: due %v before the interval's end, where it may slip", tt.name, table.intervalStart(tt.interval+1).Sub(at))
			}
			if at.Sub(ended) < spacing {
				t.Errorf("%s: due %v after the visit", tt.name, at.Sub(ended))
			}
		}
	}
}

func TestCensusVisitsAreSpreadOverTheInterval(t *testing.T) {
	table, net := newTestTable(t, 10_000)
	var tenths [10]int
	const peers = 4000
	for i := range peers {
		p, _ := table.beginVisit(fmt.Sprintf("16Uiu2HAm%d", i), genesis)
		at := table.nextCensus(p, genesis, genesis.Add(time.Second))
		tenths[10*at.Sub(net.Clock.EpochStart(1))/net.Clock.EpochDuration()]++
	}
	for i, n := range tenths {
		if i < 8 && (n < peers/20 || n > peers/6) || i == 9 && n > 0 {
			t.Errorf("%d of %d visits in tenth %d of the interval: %v", n, peers, i, tenths)
		}
	}
}

func TestAddressIsNotRedialledUnderAnotherIdentity(t *testing.T) {
	table, net := newTestTable(t, 10)
	table.offer(testRecord(net, "a", 1, 1000), genesis)
	p, _ := table.nextDue(genesis)
	table.endVisit(p, result{outcome: event.OutcomeRefused, started: genesis}, genesis)
	now := genesis.Add(time.Second)
	table.offer(testRecord(net, "b", 1, 1000), now)
	if p, due := table.nextDue(now); p != nil || due != genesis.Add(spacing) {
		t.Errorf("due %v after the last dial of the address", due.Sub(genesis))
	}
	table.forgetDialled(genesis.Add(time.Hour))
	if len(table.dialled) != 0 {
		t.Errorf("%d addresses are never forgotten", len(table.dialled))
	}
}

func TestScaledWaits(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	net.Clock.SlotDuration = 2 * time.Second
	table := newTable(Config{AllowPrivate: true}.withDefaults(""), forksOf(net))
	table.offer(testRecord(net, "a", 1, 1000), genesis)
	p, _ := table.nextDue(genesis)
	table.endVisit(p, result{outcome: event.OutcomeRefused, started: genesis}, genesis)
	if _, due := table.nextDue(genesis); due.Sub(genesis) < 10*time.Second || due.Sub(genesis) > 12*time.Second+1 {
		t.Errorf("with 2 s slots a minute became %v, want 10 s to 12 s", due.Sub(genesis))
	}
}

func TestTableIsBoundAndKeepsTheReachable(t *testing.T) {
	table, net := newTestTable(t, 50)
	for i := range 10 {
		id := fmt.Sprintf("good%d", i)
		table.offer(testRecord(net, id, 1, uint16(1000+i)), genesis)
		p, ok := table.beginVisit(id, genesis)
		if !ok {
			t.Fatal("no room")
		}
		table.endVisit(p, result{outcome: event.OutcomeOK, handshaked: true, started: genesis}, genesis)
	}
	visiting, _ := table.beginVisit("busy", genesis)
	for i := range 500 {
		table.offer(testRecord(net, fmt.Sprintf("r%d", i), 1, uint16(2000+i)), genesis.Add(time.Duration(i)*time.Second))
		table.beginVisit(fmt.Sprintf("in%d", i), genesis)
		table.endVisit(table.byID[fmt.Sprintf("in%d", i)], result{outcome: event.OutcomeReset, started: genesis}, genesis)
	}
	if len(table.byID) > 50 {
		t.Errorf("%d peers, limit 50", len(table.byID))
	}
	if table.byID["busy"] != visiting {
		t.Error("a peer under visit was evicted")
	}
	for i := range 10 {
		if table.byID[fmt.Sprintf("good%d", i)] == nil {
			t.Errorf("reachable peer %d was evicted", i)
		}
	}
	for _, p := range slices.Concat(table.queue.proven, table.queue.unknown) {
		if table.byID[p.id] != p {
			t.Errorf("evicted peer %s is queued", p.id)
		}
	}
	if table.reachable != 10 {
		t.Errorf("%d reachable, want 10", table.reachable)
	}
}

func TestFullTableOfVisitsTakesNoMore(t *testing.T) {
	table, net := newTestTable(t, 2)
	table.beginVisit("a", genesis)
	table.beginVisit("b", genesis)
	if _, ok := table.beginVisit("c", genesis); ok {
		t.Error("a third peer found room among two")
	}
	if table.offer(testRecord(net, "d", 1, 1000), genesis) {
		t.Error("a record found room among two visits")
	}
}

func TestTargets(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	r := testRecord(net, "a", 1, 1000)
	r.TCP = 0 // no /tcp/0
	if got := targetOf(r, true); len(got.TCP) != 0 || len(got.QUIC) != 1 {
		t.Errorf("target %+v", got)
	}
	if got := targetOf(r, false); len(got.TCP)+len(got.QUIC) != 0 {
		t.Errorf("loopback in %+v", got)
	}
	r.IP4, r.IP6, r.QUIC6 = netip.MustParseAddr("100.64.1.1"), netip.MustParseAddr("64:ff9b::10.0.0.1"), 9002
	if got := targetOf(r, false); len(got.TCP)+len(got.QUIC) != 0 {
		t.Errorf("special-purpose addresses in %+v", got)
	}
	r.IP4, r.IP6 = netip.MustParseAddr("192.31.196.1"), netip.MustParseAddr("2a01:4f8::1")
	r.TCP, r.QUIC, r.QUIC6 = 9000, 9001, 9002
	got := targetOf(r, false)
	want := [2][]netip.AddrPort{
		{netip.MustParseAddrPort("192.31.196.1:9001"), netip.MustParseAddrPort("[2a01:4f8::1]:9002")},
		{netip.MustParseAddrPort("192.31.196.1:9000"), netip.MustParseAddrPort("[2a01:4f8::1]:9000")},
	}
	opt := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(want, [2][]netip.AddrPort{got.QUIC, got.TCP}, opt); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	for _, tt := range []struct{ transport, want string }{
		{event.QUIC, "/ip4/192.31.196.1/udp/9001/quic-v1"}, {event.TCP, "/ip4/192.31.196.1/tcp/9000"},
	} {
		if got := recordMultiaddr(r, tt.transport); got != tt.want {
			t.Errorf("multiaddr %s, want %s", got, tt.want)
		}
	}
	table, _ := newTestTable(t, 10)
	none := testRecordAt(net.Schedule.Periods[0].Digest, "b", 1, 0, 0)
	table.offer(none, genesis)
	if p, due := table.nextDue(genesis); p != nil || !due.IsZero() {
		t.Error("a node without a port is dialled")
	}
}

func TestDisagreementAroundAForkIsRetriedSoon(t *testing.T) {
	net := testNetwork(t, genesis, 10)
	two := uint64(2)
	for _, tt := range []struct {
		name  string
		epoch eth2.Epoch
		code  *uint64
		soon  bool
	}{
		{"long before", 5, nil, false},
		{"just before", 9, nil, true},
		{"just after", 10, nil, true},
		{"just after, it says irrelevant network", 10, &two, true},
		{"long after", 13, nil, false},
		{"long after, it says irrelevant network", 13, &two, false},
	} {
		table := newTable(Config{AllowPrivate: true}.withDefaults(""), forksOf(net))
		now := net.Clock.EpochStart(tt.epoch).Add(time.Minute)
		table.offer(testRecordAt(net.Schedule.At(tt.epoch).Digest, "a", 1, 1000, 1001), now)
		p, _ := table.nextDue(now)
		table.endVisit(p, result{outcome: event.OutcomeWrongNetwork, started: now, goodbye: tt.code}, now)
		if wait := p.due.Sub(now); (wait < 10*time.Minute) != tt.soon {
			t.Errorf("%s: due in %v", tt.name, wait)
		}
	}
}

// A record's digest grows old when its node does not renew it, or discv5 does not
// hear of it.
func TestReachablePeerOutlivesItsRecordsDigest(t *testing.T) {
	net := testNetwork(t, genesis, 10)
	table := newTable(Config{AllowPrivate: true}.withDefaults(""), forksOf(net))
	visit := func(id string, at time.Time) {
		p, ok := table.beginVisit(id, at)
		if !ok {
			t.Fatal("no room")
		}
		table.endVisit(p, result{outcome: event.OutcomeOK, handshaked: true, started: at}, at)
	}
	before := net.Clock.EpochStart(9)
	for i, id := range []string{"never met", "met before the fork", "met after it"} {
		table.offer(testRecord(net, id, 1, uint16(1000+2*i)), before)
	}
	visit("met before the fork", before)
	visit("met after it", net.Clock.EpochStart(10).Add(time.Hour/4))
	late := net.Clock.EpochStart(14)
	got := make(map[string]bool)
	for p, _ := table.nextDue(late); p != nil; p, _ = table.nextDue(late) {
		got[p.id] = true
	}
	if diff := cmp.Diff(map[string]bool{"met after it": true}, got); diff != "" {
		t.Errorf("dialled four epochs after the fork (-want +got):\n%s", diff)
	}
	table.offer(testRecord(net, "met after it", 2, 3000), late) // a new address, the old digest still
	if !table.byID["met after it"].dialable {
		t.Error("a newer record with the old digest lost a peer that speaks the new one")
	}
}

// Who called once and is not dialled, or has moved to another network, is reachable
// for some intervals and no longer.
func TestWhoIsGoneIsNotReachable(t *testing.T) {
	for _, revisit := range []int{1, 3} {
		net := testNetwork(t, genesis, 0)
		table := newTable(Config{Revisit: revisit, AllowPrivate: true}.withDefaults(""), forksOf(net))
		meet := func(id string, at time.Time) {
			p, ok := table.beginVisit(id, at)
			if !ok {
				t.Fatal("no room")
			}
			p.watched.weight = 1
			table.endVisit(p, result{outcome: event.OutcomeOK, handshaked: true, started: at}, at)
		}
		interval := time.Duration(revisit) * net.Clock.EpochDuration()
		table.offer(testRecord(net, "moved", 1, 1000), genesis)
		for _, id := range []string{"inbound", "moved", "friend", "watched"} {
			meet(id, genesis)
		}
		table.offer(testRecordAt(eth2.ForkDigest{9}, "moved", 2, 1000, 1001), genesis)
		table.beginVisit("watched", genesis.Add(interval)) // and it lasts
		now := genesis
		for range 2 * reachableIntervals {
			table.expire(now)
			if now.Sub(genesis) < reachableIntervals*interval && table.reachable != 4 {
				t.Errorf("revisit %d: %d reachable after %v", revisit, table.reachable, now.Sub(genesis))
			}
			now = now.Add(interval)
			meet("friend", now)
		}
		table.expire(now)
		for id, want := range map[string]int{"inbound": rankForeign, "moved": rankForeign, "friend": rankReachable, "watched": rankReachable} {
			if got := table.byID[id].rank(); got != want {
				t.Errorf("revisit %d: %s has rank %d, want %d", revisit, id, got, want)
			}
		}
		if table.reachable != 2 || len(new(watchSlots).needs(table)) != 2 {
			t.Errorf("revisit %d: %d reachable, %d with needs, want 2", revisit, table.reachable, len(new(watchSlots).needs(table)))
		}
	}
}

// What was reachable before a restart has time to be visited again.
func TestStoredPeersAreNotExpiredAtTheStart(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	n := testNetwork(t, now.Add(-time.Hour), 0)
	before := storedTable(t, dir, n, discardLog(), now)
	before.offer(signedRecord(t, n, 1, 1000), now)
	p, _ := before.nextDue(now)
	before.endVisit(p, result{outcome: event.OutcomeOK, handshaked: true, started: now}, now)
	write(t, before, now)
	later := now.Add(24 * time.Hour)
	after := storedTable(t, dir, n, discardLog(), later)
	after.expire(later.Add(time.Minute))
	if after.reachable != 1 {
		t.Error("a peer was given up before its first visit")
	}
	after.expire(later.Add((reachableIntervals + 1) * n.Clock.EpochDuration()))
	if after.reachable != 0 {
		t.Error("a peer that was not met again is reachable")
	}
}

// A peer that counts from 1 again is believed when it says so itself, and only then.
func TestAPeersOwnRecordWins(t *testing.T) {
	table, net := newTestTable(t, 10)
	offer := func(seq uint64, port uint16, own bool) bool {
		r := testRecord(net, "a", seq, port)
		r.Own = own
		return table.offer(r, genesis)
	}
	for _, step := range []struct {
		seq           uint64
		own, accepted bool
	}{{57, false, true}, {1, false, false}, {1, true, true}, {1, true, false}, {2, false, true}, {1, true, true}} {
		if got := offer(step.seq, uint16(1000+step.seq), step.own); got != step.accepted {
			t.Errorf("seq %d, the peer's own %v: accepted %v, want %v", step.seq, step.own, got, step.accepted)
		}
	}
	if p := table.byID["a"]; p == nil || p.seq != 1 {
		t.Errorf("peer %+v, want seq 1", p)
	}
}
