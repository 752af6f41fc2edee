package estimate

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// Whatever a log says, nothing panics, spans stay apart, and an estimate comes out.
func FuzzAddWatch(f *testing.F) {
	f.Add(int64(1_760_000_000_000), int64(1_760_001_200_000), []byte{1, 2, 3, 4, 5, 6, 7, 8}, uint64(3), uint8(0), uint64(950_000), uint64(32))
	f.Add(int64(math.MinInt64), int64(math.MaxInt64), []byte{255, 255, 255, 255, 255, 255, 255, 255}, uint64(math.MaxUint64), uint8(1), uint64(64), uint64(8))
	f.Add(int64(math.MaxInt64-1), int64(math.MaxInt64), []byte{}, uint64(0), uint8(2), uint64(0), uint64(127))
	clients := []eth2.Client{lighthouse, prysm, teku, nimbus, stranger}
	f.Fuzz(func(t *testing.T, from, to int64, changes []byte, longLived uint64, client uint8, active, slots uint64) {
		p := paramsOf(active%2_000_000, slots)
		if slots == 0 {
			p.Clock.SlotDuration = 0
		}
		c := clients[int(client)%len(clients)]
		w := WatchLog{From: from, To: to}
		binary.LittleEndian.PutUint64(w.LongLived[:], longLived)
		for ; len(changes) >= 4; changes = changes[4:] {
			at := int64(int32(binary.LittleEndian.Uint32(changes)))
			w.Changes = append(w.Changes, event.SubnetChange{At: at, Subnet: int(int8(changes[0])), Subscribed: changes[1]&1 == 1})
			w.Initial = append(w.Initial, int(int8(changes[2])))
		}
		s := NewStatistics(c)
		s.AddWatch(p, w)
		w.From += 400_000
		s.AddWatch(p, w)
		s.AddSnapshot(p, Snapshot{At: to, Subscribed: w.Initial, LongLived: w.LongLived})
		s.AddSyncnets(p, from, eth2.Syncnets(client))
		disjoint(t, s)
		b, _ := s.AppendBinary(nil)
		if _, err := DecodeStatistics(c, b); err != nil {
			t.Fatalf("%v: %x", err, b)
		}
	})
}

func FuzzDecodeStatistics(f *testing.F) {
	s := NewStatistics(lighthouse)
	s.AddWatch(mainnetParams(), logOf(slotTime(mainnetParams(), 1000, 0), slotTime(mainnetParams(), 1003, 0)))
	b, _ := s.AppendBinary(nil)
	f.Add(b)
	b, _ = storedDay(stranger).AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := DecodeStatistics(stranger, b); err == nil {
			disjoint(t, s)
			e := NewEvidence(stranger, Custody{})
			e.Add(s, stranger)
			s.AddWatch(mainnetParams(), logOf(slotTime(mainnetParams(), 1000, 0), slotTime(mainnetParams(), 1003, 0)))
		}
		if opened, err := OpenStatistics(lighthouse, b); err == nil { // of which the runs may be no runs
			opened.AddSnapshot(mainnetParams(), Snapshot{At: slotTime(mainnetParams(), 1001, 0), Subscribed: []int{1}})
			opened.AppendBinary(nil)
			opened.Span()
		}
		s, err := DecodeStatistics(lighthouse, b)
		if err != nil {
			return
		}
		disjoint(t, s)
		e := NewEvidence(lighthouse, Custody{})
		e.Add(s, lighthouse)
		if again, _ := s.AppendBinary(nil); len(again) > len(b) && b[0] >= encodingVersion {
			t.Errorf("%d bytes became %d", len(b), len(again))
		}
	})
}

// The largest log that is read takes no noticeable time.
func TestGiantWatch(t *testing.T) {
	p := mainnetParams()
	p.Clock.SlotDuration = 100 * time.Millisecond
	for _, c := range []eth2.Client{lighthouse, prysm, teku, stranger} {
		s := NewStatistics(c)
		s.AddWatch(p, WatchLog{From: p.Clock.Genesis.UnixMilli(), To: 1 << 52})
		if _, last, ok := s.Span(); !ok || last > maxWatchSlots+200 {
			t.Errorf("%s: covered up to slot %d", c.Kind, last)
		}
	}
}
