package sentry

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
)

func joined(at int64, subnet int) event.SubnetChange {
	return event.SubnetChange{At: at, Subnet: subnet, Subscribed: true}
}

func left(at int64, subnet int) event.SubnetChange {
	return event.SubnetChange{At: at, Subnet: subnet}
}

func on(digest eth2.ForkDigest, subnets ...int) (list []p2p.Subscription) {
	for _, s := range subnets {
		list = append(list, p2p.Subscription{Subscribe: true, Topic: eth2.AttestationTopic(digest, s).String()})
	}
	return list
}

func off(digest eth2.ForkDigest, subnets ...int) []p2p.Subscription {
	list := on(digest, subnets...)
	for i := range list {
		list[i].Subscribe = false
	}
	return list
}

// joinParts is the whole log of parts, which must follow one another.
func joinParts(t testing.TB, parts []*event.Watch) *event.Watch {
	t.Helper()
	whole := &event.Watch{From: parts[0].From, Initial: parts[0].Initial, Changes: []event.SubnetChange{}, MetaDataChanges: []event.WatchMetaData{}}
	joined := map[int]int64{} // when the subnets were joined that are on; 0 where not known
	for _, s := range parts[0].Initial {
		joined[s] = 0
	}
	for i, p := range parts {
		if i > 0 && p.From != whole.To {
			t.Errorf("part %d from %d, the one before ended at %d", i, p.From, whole.To)
		}
		since, known := make([]int, 0, len(joined)), false
		for _, s := range slices.Sorted(maps.Keys(joined)) {
			ms := 0
			if joined[s] != 0 {
				ms, known = int(p.From-joined[s]), true
			}
			since = append(since, ms)
		}
		if !known {
			since = nil
		}
		if initial := slices.Sorted(maps.Keys(joined)); !slices.Equal(p.Initial, initial) || !slices.Equal(p.Since, since) {
			t.Errorf("part %d begins with %v since %v, want %v since %v", i, p.Initial, p.Since, initial, since)
		}
		var attnets *eth2.Attnets
		if n := len(whole.MetaDataChanges); n > 0 {
			attnets = &whole.MetaDataChanges[n-1].Attnets
		}
		if diff := cmp.Diff(attnets, p.Attnets); diff != "" {
			t.Errorf("part %d: attnets (-want +got):\n%s", i, diff)
		}
		for _, c := range p.Changes {
			if delete(joined, c.Subnet); c.Subscribed {
				joined[c.Subnet] = p.From + c.At
			}
			c.At += p.From - whole.From
			whole.Changes = append(whole.Changes, c)
		}
		for _, m := range p.MetaDataChanges {
			m.At += p.From - whole.From
			whole.MetaDataChanges = append(whole.MetaDataChanges, m)
		}
		whole.To = p.To
	}
	return whole
}

// endOf ends a log, and joins its parts.
func endOf(t *testing.T, log *subnetLog, now time.Time) *event.Watch {
	t.Helper()
	last := log.end(now)
	var parts []*event.Watch
	for _, p := range append(log.takeParts(), last) {
		parts = append(parts, p.watch())
	}
	return joinParts(t, parts)
}

func TestSubnetLog(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	digest := net.Schedule.Periods[0].Digest
	from := genesis.Add(time.Hour)
	log := newSubnetLog(forksOf(net), from)
	log.add(from.Add(time.Millisecond), on(digest, 7)) // before begin, after the set
	log.begin(append(on(digest, 3, 63, 0), on(eth2.ForkDigest{9}, 5)...))
	log.add(from.Add(1500*time.Millisecond), off(digest, 63))
	log.add(from.Add(1600*time.Millisecond), append(on(digest, 63), off(digest, 63)...)) // no change in the end
	log.add(from.Add(1700*time.Millisecond), on(eth2.ForkDigest{9}, 8))
	log.add(from.Add(1800*time.Millisecond), []p2p.Subscription{
		{Subscribe: true, Topic: "beacon_attestation_1"}, {Subscribe: true, Topic: ""},
		{Subscribe: true, Topic: strings.Replace(eth2.AttestationTopic(digest, 1).String(), "_1", "_64", 1)},
		{Subscribe: true, Topic: eth2.SyncCommitteeTopic(digest, 1).String()},
	})
	log.add(from.Add(2*time.Second), append(on(digest, 9, 8), off(digest, 3)...))
	log.add(from.Add(time.Second), off(digest, 9)) // a clock that went back
	log.addMetaData(from.Add(3*time.Second), &eth2.MetaData{SeqNumber: 6})
	last := log.end(from.Add(10 * time.Second))
	want := &event.Watch{
		From: from.UnixMilli(), To: from.UnixMilli() + 10_000, Initial: []int{0, 3, 63},
		Changes:         []event.SubnetChange{joined(1, 7), left(1500, 63), left(2000, 3), joined(2000, 8), joined(2000, 9), left(2000, 9)},
		MetaDataChanges: []event.WatchMetaData{{At: 3000, MetaData: event.MetaData{SeqNumber: 6}}},
	}
	if diff := cmp.Diff(want, last.watch()); diff != "" {
		t.Errorf("watch (-want +got):\n%s", diff)
	}
	if parts := log.takeParts(); len(parts) != 0 || log.err() != nil {
		t.Errorf("%d parts, error %v", len(parts), log.err())
	}
}

// A log claims nothing for the time after its stream has ended.
func TestSubnetLogEndsWithItsStream(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	digest := net.Schedule.Periods[0].Digest
	from := genesis.Add(time.Hour)
	ended := from.Add(2 * time.Second)
	for _, begun := range []bool{true, false} {
		log := newSubnetLog(forksOf(net), from)
		if begun {
			log.begin(on(digest, 3))
		}
		log.add(from.Add(time.Second), on(digest, 4))
		log.add(ended, nil)
		if !begun {
			log.begin(on(digest, 3))
		}
		log.add(from.Add(3*time.Second), off(digest, 3))
		log.addMetaData(from.Add(4*time.Second), &eth2.MetaData{SeqNumber: 6})
		last := log.end(from.Add(net.Clock.EpochDuration() * 2))
		want := &event.Watch{
			From: from.UnixMilli(), To: ended.UnixMilli(), Initial: []int{3},
			Changes: []event.SubnetChange{joined(1000, 4)}, MetaDataChanges: []event.WatchMetaData{},
		}
		if diff := cmp.Diff(want, last.watch()); diff != "" {
			t.Errorf("watch, begun %v (-want +got):\n%s", begun, diff)
		}
		select {
		case <-log.ready:
		default:
			t.Error("nobody is woken")
		}
		if !errors.Is(log.err(), errStreamEnded) {
			t.Errorf("error %v", log.err())
		}
	}
}

func TestSubnetLogOverAFork(t *testing.T) {
	net := testNetwork(t, genesis, 10)
	before, after := net.Schedule.Periods[0].Digest, net.Schedule.Periods[1].Digest
	start := net.Clock.EpochStart
	from := start(6).Add(time.Minute)
	log := newSubnetLog(forksOf(net), from)
	log.begin(append(on(before, 1, 2), on(after, 5)...)) // the next digest does not count yet
	log.add(start(8), on(after, 1, 2))                   // counts since epoch 7, when nothing came
	log.add(start(9), on(before, 30))                    // on both: logged once
	log.add(start(9).Add(time.Second), on(after, 30))
	log.add(start(10).Add(time.Second), off(before, 1, 2)) // the old digest goes: no change
	log.add(start(11), off(after, 5))
	last := endOf(t, log, start(13)) // 30 on the old digest has ceased to count: still on the new
	ms := func(at time.Time) int64 { return at.Sub(from).Milliseconds() }
	want := &event.Watch{
		From: from.UnixMilli(), To: start(13).UnixMilli(), Initial: []int{1, 2},
		Changes:         []event.SubnetChange{joined(ms(start(7)), 5), joined(ms(start(9)), 30), left(ms(start(11)), 5)},
		MetaDataChanges: []event.WatchMetaData{},
	}
	if diff := cmp.Diff(want, last); diff != "" {
		t.Errorf("watch (-want +got):\n%s", diff)
	}
	// Who stays on the old digest alone is off when that ceases to count, also when
	// nothing is logged for epochs.
	for _, end := range []eth2.Epoch{12, 15} {
		log = newSubnetLog(forksOf(net), start(10))
		log.begin(on(before, 4))
		last = endOf(t, log, start(end).Add(time.Minute))
		if diff := cmp.Diff([]event.SubnetChange{left(2*net.Clock.EpochDuration().Milliseconds(), 4)}, last.Changes); diff != "" {
			t.Errorf("changes until epoch %d (-want +got):\n%s", end, diff)
		}
	}
}

// A log is cut when the first changes of an epoch can come, and not before it is known that
// the peer was connected then; a change at the cut is the next part's.
func TestLogIsCutByEpochs(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	digest := net.Schedule.Periods[0].Digest
	cut := func(e eth2.Epoch) time.Time { return net.Clock.EpochStart(e).Add(-time.Second) }
	from := cut(10).Add(100*time.Second + 123456*time.Nanosecond)
	log := newSubnetLog(forksOf(net), from)
	log.begin(on(digest, 7))
	log.add(from, on(digest, 8))
	log.add(cut(11).Add(-5*time.Second), on(digest, 3))
	if parts := log.takeParts(); len(parts) != 0 {
		t.Errorf("%d parts before the end of the epoch", len(parts))
	}
	log.add(cut(11), on(digest, 4))
	log.addMetaData(cut(11).Add(time.Second), &eth2.MetaData{SeqNumber: 6, Attnets: eth2.NewAttnets([]int{9})})
	log.confirm(cut(12).Add(-time.Millisecond))
	log.add(cut(12).Add(time.Minute), off(digest, 3))
	log.confirm(cut(13))
	parts := log.takeParts()
	var got []*event.Watch
	for _, p := range append(parts, log.end(cut(13).Add(time.Minute))) {
		got = append(got, p.watch())
	}
	at := func(e eth2.Epoch) int64 { return cut(e).UnixMilli() }
	attnets, none := eth2.NewAttnets([]int{9}), []event.WatchMetaData{}
	want := []*event.Watch{
		{From: at(10) + 100_000, To: at(11), Initial: []int{7}, Changes: []event.SubnetChange{joined(0, 8), joined(279_000, 3)}, MetaDataChanges: none},
		{From: at(11), To: at(12), Initial: []int{3, 7, 8}, Since: []int{5000, 0, 284_000}, Changes: []event.SubnetChange{joined(0, 4)},
			MetaDataChanges: []event.WatchMetaData{{At: 1000, MetaData: event.MetaData{SeqNumber: 6, Attnets: attnets}}}},
		{From: at(12), To: at(13), Initial: []int{3, 4, 7, 8}, Since: []int{389_000, 384_000, 0, 668_000}, Attnets: &attnets,
			Changes: []event.SubnetChange{left(60_000, 3)}, MetaDataChanges: none},
		{From: at(13), To: at(13) + 60_000, Initial: []int{4, 7, 8}, Since: []int{768_000, 0, 1_052_000}, Attnets: &attnets,
			Changes: []event.SubnetChange{}, MetaDataChanges: none},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

// Parts follow one another without a gap, and together hold every change.
func TestLongLogIsSplit(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	digest := net.Schedule.Periods[0].Digest
	log := newSubnetLog(forksOf(net), genesis)
	log.begin(on(digest, 1))
	at, total := genesis, 0
	var parts []logPart
	for log.epoch < 3 { // a change of two subnets every 100 ms: 7680 changes an epoch
		at = at.Add(100 * time.Millisecond)
		list := on(digest, 2, 3)
		if total%4 != 0 {
			list = off(digest, 2, 3)
		}
		log.add(at, list)
		total += 2
		parts = append(parts, log.takeParts()...)
	}
	if err := log.err(); err != nil {
		t.Fatalf("an honest, busy peer: %v", err)
	}
	last := log.end(at)
	parts = append(append(parts, log.takeParts()...), last)
	if len(parts) < 4 {
		t.Fatalf("%d parts of %d changes", len(parts), total)
	}
	set, sum, then := uint64(2), 0, genesis
	for i, p := range parts {
		if !p.from.Equal(then) || p.initial != set {
			t.Errorf("part %d from %v with %b, want %v with %b", i, p.from, p.initial, then, set)
		}
		for _, c := range p.changes {
			set ^= 1 << c.subnet
			if set>>c.subnet&1 == 1 != c.on {
				t.Fatalf("part %d has a change that is none: %+v", i, c)
			}
		}
		sum, then = sum+len(p.changes), p.to
		e := &event.VisitEnded{
			Common:  event.Common{Network: "n", CrawlerID: "c", Timestamp: genesis.UnixMilli()},
			VisitID: "v", ID: "p", Direction: event.Inbound, Part: i, More: i < len(parts)-1,
			Started: genesis.UnixMilli(), Ended: p.to.UnixMilli(), Outcome: event.OutcomeOK, Watch: p.watch(),
		}
		b, err := event.Encode(e)
		if err == nil {
			_, err = event.Decode(e.Subject(), b)
		}
		if err != nil || len(b) > event.MaxSize/8 {
			t.Errorf("part %d of %d bytes: %v", i, len(b), err)
		}
	}
	if sum != total {
		t.Errorf("%d changes in the parts, want %d", sum, total)
	}
}

func TestFloodEndsTheLogAndKeepsWhatItHas(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	digest := net.Schedule.Periods[0].Digest
	for name, take := range map[string]bool{"published": true, "not published": false} {
		log := newSubnetLog(forksOf(net), genesis)
		log.begin(nil)
		var parts []logPart
		for i := range 200_000 {
			list := on(digest, i/2%64)
			if i%2 == 1 {
				list = off(digest, i/2%64)
			}
			log.add(genesis.Add(time.Duration(i)*time.Millisecond), list)
			if take {
				parts = append(parts, log.takeParts()...)
			}
		}
		if !errors.Is(log.err(), errFlood) {
			t.Errorf("%s: no overflow", name)
		}
		parts = append(parts, log.takeParts()...)
		last := log.end(genesis.Add(time.Hour))
		if want := maxPartChanges; len(parts) != maxParts || len(last.changes) != want {
			t.Errorf("%s: %d parts, %d changes in the last", name, len(parts), len(last.changes))
		}
		covered := (maxParts+1)*maxPartChanges - 1
		if want := genesis.Add(time.Duration(covered) * time.Millisecond); !last.to.Equal(want) {
			t.Errorf("%s: the log says it covers until %v, the last change is at %v", name, last.to.Sub(genesis), want.Sub(genesis))
		}
		select {
		case <-log.ready:
		default:
			t.Errorf("%s: nobody is notified", name)
		}
	}
}
