package estimate

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

var (
	lighthouse = eth2.ParseAgent("Lighthouse/v8.0.1-ced49dd/x86_64-linux")
	prysm      = eth2.ParseAgent("Prysm/v7.0.0/abc")
	teku       = eth2.ParseAgent("teku/teku/v25.9.0/linux-x86_64")
	lodestar   = eth2.ParseAgent("lodestar/v1.44.0/abc")
	nimbus     = eth2.ParseAgent("nimbus")
	stranger   = eth2.ParseAgent("rust-libp2p/0.54")
)

// epochAt is an epoch's start, and slotAt a slot's of it, in Unix milliseconds.
func slotTime(p Params, epoch, slot int) int64 {
	return p.Clock.EpochStart(eth2.Epoch(epoch)).UnixMilli() + int64(slot)*p.Clock.SlotDuration.Milliseconds()
}

// logOf makes a watch from one time to another with subscriptions {from, to, subnet}.
func logOf(from, to int64, spans ...[3]int64) WatchLog {
	w := WatchLog{From: from, To: to, LongLived: eth2.NewAttnets([]int{62, 63}), Initial: []int{62, 63}}
	for _, s := range spans {
		switch {
		case s[0] <= from:
			w.Initial = append(w.Initial, int(s[2]))
		default:
			w.Changes = append(w.Changes, event.SubnetChange{At: s[0] - from, Subnet: int(s[2]), Subscribed: true})
		}
		if s[1] <= to {
			w.Changes = append(w.Changes, event.SubnetChange{At: s[1] - from, Subnet: int(s[2])})
		}
	}
	return w
}

func TestWatchOfAShortWindow(t *testing.T) {
	p := mainnetParams()
	at := func(slot int) int64 { return slotTime(p, 1000, slot) + 300 }
	// A duty in slot 5 on subnet 7; two on subnet 8, in slots 10 and 11, which look like
	// one; one in slot 20 whose SUBSCRIBE comes before its slot.
	w := logOf(slotTime(p, 1000, 0)-2000, slotTime(p, 1001, 0)+3000,
		[3]int64{at(4), at(6), 7}, [3]int64{at(9), at(12), 8}, [3]int64{at(19) - 900, at(21), 9})
	s := NewStatistics(lighthouse)
	s.AddWatch(p, w)
	first, last, ok := s.Span()
	if !ok || first != 32_001 || last != 32_032 {
		t.Fatalf("duty slots %d to %d, want 32001 to 32032", first, last)
	}
	e := NewEvidence(lighthouse, Custody{})
	e.Add(s, lighthouse)
	// Of 32 slots and 62 subnets, those that were on already say nothing: 2, 3 and 2.
	if on, off := e.Cells(); on != 3 || off != 32*62-3-7 {
		t.Errorf("%d cells filled and %d empty, want 3 and %d", on, off, 32*62-10)
	}
	h := s.Behaviour()
	if h.Subscribed != 3 || h.Lifetimes[2] != 2 || h.Lifetimes[3] != 1 {
		t.Errorf("behaviour %+v", h)
	}
}

func TestWatchOfPrysm(t *testing.T) {
	p := mainnetParams()
	at := func(slot int) int64 { return slotTime(p, 1000, slot) + 700 }
	// Subnet 1 is the first slot's duty, subscribed in the epoch before; 2 to 4 at the
	// start, 4 for the next epoch's first slot; then the next epoch's.
	w := logOf(slotTime(p, 1000, 0)-2000, slotTime(p, 1002, 0)+3000,
		[3]int64{0, at(1), 1}, [3]int64{at(0), at(2), 2}, [3]int64{at(0), at(18), 3},
		[3]int64{at(0), at(33), 4}, [3]int64{at(32), at(40), 5})
	s := NewStatistics(prysm)
	s.AddWatch(p, w)
	e := NewEvidence(prysm, Custody{})
	e.Add(s, prysm)
	e.sum()
	// The last seconds before the first epoch show the subscription for its first slot.
	want := []pool{{cell: 2, counts: counts{1, 61}}, {cell: 32, counts: counts{4, 2*62 - 4}}}
	if got := e.pools[0].cells; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestWatchOfPrysmFromTheMiddle(t *testing.T) {
	p := mainnetParams()
	s := NewStatistics(prysm)
	s.AddWatch(p, logOf(slotTime(p, 1000, 20)+8000, slotTime(p, 1001, 0), [3]int64{0, slotTime(p, 1000, 25), 3}))
	first, last, _ := s.Span()
	if first != 32_020 || last != 32_032 || s.readings[0].runs[0].cell != 13 {
		t.Errorf("duties %d to %d in cells of %d slots, want 32020 to 32032 and 13", first, last, s.readings[0].runs[0].cell)
	}
}

func TestWatchOfTeku(t *testing.T) {
	p := mainnetParams()
	at := func(slot int) int64 { return slotTime(p, 1000, slot) + 700 }
	w := logOf(slotTime(p, 1000, 0)-2000, slotTime(p, 1002, 0)+3000,
		[3]int64{0, at(10), 1}, [3]int64{at(0), at(40), 2}, [3]int64{at(5), at(50), 3}, [3]int64{at(33), at(90), 4})
	s := NewStatistics(teku)
	s.AddWatch(p, w)
	e := NewEvidence(teku, Custody{})
	e.Add(s, teku)
	// At the first epoch's end 2 and 3 are on, at the second's 4.
	if on, off := e.Cells(); on != 3 || off != 2*62-3 {
		t.Errorf("%d cells filled and %d empty, want 3 and 121", on, off)
	}
}

// A watch in parts is the whole watch without the slots of the cuts, and no duty twice.
func TestPartsOfAWatch(t *testing.T) {
	p := mainnetParams()
	for _, c := range []eth2.Client{lighthouse, prysm, teku, stranger} {
		whole, parts := NewStatistics(c), NewStatistics(c)
		from, cut, to := slotTime(p, 1000, 0)-2000, slotTime(p, 1001, 12)+5000, slotTime(p, 1003, 0)+5000
		whole.AddWatch(p, logOf(from, to))
		parts.AddWatch(p, logOf(from, cut))
		parts.AddWatch(p, logOf(cut, to))
		a, b := exposureOf(whole), exposureOf(parts)
		if b > a || float64(b) < 0.95*float64(a) {
			t.Errorf("%s: parts have %d cells in slots, the whole %d", c.Kind, b, a)
		}
		disjoint(t, parts)
	}
}

func exposureOf(s *Statistics) (n uint64) {
	for _, r := range s.readings[0].runs {
		n += r.exposure()
	}
	return n
}

func disjoint(t *testing.T, s *Statistics) {
	t.Helper()
	for _, r := range s.readings {
		for i := 1; i < len(r.runs); i++ {
			if r.runs[i].from < r.runs[i-1].end() {
				t.Fatalf("runs overlap: %+v", r.runs)
			}
		}
	}
}

func TestSnapshots(t *testing.T) {
	p := mainnetParams()
	for _, c := range []struct {
		client      eth2.Client
		slot        int
		first, last eth2.Slot
	}{
		{lighthouse, 5, 32_005, 32_006}, {lodestar, 5, 32_005, 32_007}, {nimbus, 31, 32_031, 32_034},
		{eth2.ParseAgent("Lighthouse/v5.1.3-3058b96/x86_64-linux"), 5, 32_005, 32_006},
		{prysm, 5, 32_005, 32_032}, {teku, 5, 32_005, 32_063},
	} {
		s := NewStatistics(c.client)
		at := slotTime(p, 1000, c.slot) + 6000
		s.AddSnapshot(p, Snapshot{At: at, Subscribed: []int{1, 2, 62, 63}, LongLived: eth2.NewAttnets([]int{62, 63})})
		s.AddSnapshot(p, Snapshot{At: at + 100, Subscribed: []int{1, 2, 3}}) // the same duties
		first, last, _ := s.Span()
		if x := s.readings[0].runs[0]; first != c.first || last != c.last || x.on != 2 || x.off != 60 {
			t.Errorf("%s %s: duties %d to %d, %+v, want %d to %d", c.client.Kind, c.client.Version, first, last, x, c.first, c.last)
		}
	}
	s := NewStatistics(lighthouse)
	s.AddSnapshot(p, Snapshot{At: slotTime(p, 1000, 0)})
	if _, _, ok := s.Span(); ok || s.fullness != (fullness{}) {
		t.Error("a snapshot without subscriptions counts")
	}
}

func TestAllSubnets(t *testing.T) {
	p := mainnetParams()
	var every []int
	for i := range 64 {
		every = append(every, i)
	}
	from := slotTime(p, 1000, 0)
	full := WatchLog{From: from, To: slotTime(p, 1002, 1), Initial: every, LongLived: eth2.NewAttnets([]int{1, 2})}
	left := full
	left.Changes = []event.SubnetChange{{At: 5000, Subnet: 9}}
	for _, c := range []struct {
		name   string
		client eth2.Client
		add    func(s *Statistics)
		want   bool
	}{
		{"two epochs", lodestar, func(s *Statistics) { s.AddWatch(p, full) }, true},
		{"left one", lodestar, func(s *Statistics) { s.AddWatch(p, left) }, false},
		{"Teku can have as many duties", teku, func(s *Statistics) { s.AddWatch(p, full) }, false},
		{"says so", teku, func(s *Statistics) {
			w := full
			w.LongLived = eth2.NewAttnets(every)
			s.AddWatch(p, w)
		}, true},
		{"three snapshots", lighthouse, func(s *Statistics) {
			for i := range 3 {
				s.AddSnapshot(p, Snapshot{At: from + int64(i)*400_000, Subscribed: every})
			}
		}, true},
		{"three snapshots in one epoch", lighthouse, func(s *Statistics) {
			for i := range 3 {
				s.AddSnapshot(p, Snapshot{At: from + int64(i)*60_000, Subscribed: every})
			}
		}, false},
	} {
		s := NewStatistics(c.client)
		c.add(s)
		if got := s.AllSubnets(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	s := NewStatistics(prysm)
	s.AddWatch(mainnetParams(), logOf(slotTime(mainnetParams(), 1000, 0), slotTime(mainnetParams(), 1003, 0)))
	s.AddSyncnets(mainnetParams(), slotTime(mainnetParams(), 1000, 0), 3)
	b, _ := s.AppendBinary(nil)
	if len(b) > 60 {
		t.Errorf("three epochs take %d bytes", len(b))
	}
	got, err := DecodeStatistics(prysm, b)
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("decoded %+v, %v, want %+v", got, err, s)
	}
	for _, bad := range [][]byte{nil, b[:len(b)-1], append(b[:len(b):len(b)], 0), {9}} {
		if _, err := DecodeStatistics(prysm, bad); !errors.Is(err, ErrEncoding) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	if _, err := DecodeStatistics(stranger, b); !errors.Is(err, ErrEncoding) {
		t.Errorf("another client's: %v", err)
	}
}

// Statistics that are encoded and opened again after each observation are those that
// never were, and their early runs are read only for what is not behind them.
func TestOpenedAreTheSame(t *testing.T) {
	p := mainnetParams()
	r := rand.New(rand.NewPCG(8, 1))
	for _, c := range []eth2.Client{lighthouse, prysm, teku, stranger} {
		left := 0 // observations after which the early runs were as they had been
		for range 40 {
			kept, opened := NewStatistics(c), NewStatistics(c)
			epoch := 1000
			for range 60 {
				epoch += 1 + r.IntN(3)
				at := slotTime(p, epoch, r.IntN(32))
				if r.IntN(8) == 0 { // late
					at -= r.Int64N(20 * 384_000)
				}
				observe := func(s *Statistics) {
					s.AddSnapshot(p, Snapshot{At: at, Subscribed: []int{epoch % 64, 9}})
					s.AddSyncnets(p, at, eth2.Syncnets(epoch%4))
				}
				if r.IntN(4) == 0 {
					w := logOf(at, at+r.Int64N(3*384_000), [3]int64{at + 12_000, at + 36_000, int64(epoch % 60)})
					observe = func(s *Statistics) { s.AddWatch(p, w) }
				}
				observe(kept)
				observe(opened)
				b, _ := opened.AppendBinary(nil)
				if want, _ := kept.AppendBinary(nil); !bytes.Equal(b, want) {
					t.Fatalf("%s: opened %x, kept %x", c.Kind, b, want)
				}
				if len(opened.readings) > 0 && opened.readings[0].early.n > 0 {
					left++
				}
				var err error
				if opened, err = OpenStatistics(c, b); err != nil {
					t.Fatal(err)
				}
			}
			if !opened.unpack() || !reflect.DeepEqual(opened.readings, kept.readings) {
				t.Fatalf("%s: opened %+v, kept %+v", c.Kind, opened, kept)
			}
		}
		if left < 1000 {
			t.Errorf("%s: the early runs were read for all but %d observations", c.Kind, left)
		}
	}
}

// The encoding of before is still read: a database has it until a day is over.
func TestDecodesTheOldEncoding(t *testing.T) {
	p := mainnetParams()
	want := NewStatistics(lighthouse)
	want.AddWatch(p, logOf(slotTime(p, 1000, 0), slotTime(p, 1003, 0)))
	want.AddSnapshot(p, Snapshot{At: slotTime(p, 1010, 5), Subscribed: []int{1, 2, 62}})
	want.AddSyncnets(p, slotTime(p, 1000, 0), 3)
	want.wholeWatches(1)
	const encoded = "010282fa015f0000822ee4010205033d01030300010000000100000000020000801f00000000000000000000"
	for _, old := range []string{"01" + encoded, "02" + encoded} {
		b, _ := hex.DecodeString(old)
		got, err := DecodeStatistics(lighthouse, b)
		if err != nil {
			t.Fatal(err)
		}
		want.sealed = old[1] == '2'
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", old, got, want)
		}
		if _, err := DecodeStatistics(lighthouse, b[:len(b)-1]); !errors.Is(err, ErrEncoding) {
			t.Errorf("cut short: %v", err)
		}
	}
}
