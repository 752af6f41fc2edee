package estimate

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Nothing counts twice once days are sealed, whatever comes late.
func TestSealCountsOnce(t *testing.T) {
	p := mainnetParams()
	first := logOf(slotTime(p, 1000, 0)-2000, slotTime(p, 1003, 0)+2000)
	second := logOf(slotTime(p, 1050, 0)-2000, slotTime(p, 1053, 0)+2000)
	before, day := NewStatistics(lighthouse), NewStatistics(lighthouse)
	before.AddWatch(p, logOf(slotTime(p, 997, 0)-2000, slotTime(p, 1000, 4)))
	day.AddWatch(p, first)
	day.AddWatch(p, second)
	cells := func(days ...*Statistics) uint64 {
		e := NewEvidence(lighthouse, Custody{})
		for _, d := range days {
			e.Add(d, lighthouse)
		}
		on, off := e.Cells()
		return on + off
	}
	alone, behaviour := cells(day), day.Behaviour().Epochs
	yesterday := cells(before)
	before.Seal(0)
	if got := cells(before); got != yesterday || got == 0 {
		t.Errorf("%d cells, %d once sealed", yesterday, got)
	}
	_, last, _ := before.Span()
	day.Seal(last + 1)
	day.AddWatch(p, first)
	// The first watch begins in a slot that the day before has covered: what it saw of
	// that duty epoch, 31 slots, is left out.
	const left = (6*32 - 31) * 62
	if got := cells(day); got != left || alone != 6*32*62 {
		t.Errorf("%d cells, %d sealed, want %d", alone, got, left)
	}
	if got := day.Behaviour().Epochs; got != behaviour {
		t.Errorf("%d whole epochs, %d with a watch that came late", behaviour, got)
	}
	for _, got := range []uint64{cells(before, day), cells(day, before)} {
		if got != yesterday+left {
			t.Errorf("two days have %d cells, want %d", got, yesterday+left)
		}
	}
	// Of another day that is not sealed nothing counts that a sealed one covers.
	open := NewStatistics(lighthouse)
	open.AddWatch(p, second)
	if got := cells(day, open); got != left {
		t.Errorf("%d cells with a watch that is in already, want %d", got, left)
	}
	data, err := day.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeStatistics(lighthouse, data)
	if err != nil {
		t.Fatal(err)
	}
	if again.AddWatch(p, logOf(slotTime(p, 1100, 0)-2000, slotTime(p, 1103, 0)+2000)); cells(again) != cells(day) {
		t.Errorf("something is added to a sealed day that was read: %d cells, want %d", cells(again), cells(day))
	}
}

// A day with more observations than a reading keeps runs, such as of a Gnosis node that is visited in
// each of 1080 epochs or of one that connects four times as often, loses none of them: it has the cells
// of its parts, each of which is kept as it is. It stays bounded, also on disk.
func TestADayOfManyEpochs(t *testing.T) {
	p := mainnetParams()
	p.Clock.SlotDuration, p.Clock.SlotsPerEpoch = 5*time.Second, 16
	const day, part = 1080, 120 // epochs
	for name, perEpoch := range map[string]int{"a visit in each epoch": 1, "four": 4} {
		for _, c := range []eth2.Client{lighthouse, prysm, teku, nimbus, lodestar, stranger} {
			r := rand.New(rand.NewPCG(8, 8))
			whole, parts := NewStatistics(c), []*Statistics{}
			for epoch := range day {
				if epoch%part == 0 {
					parts = append(parts, NewStatistics(c))
				}
				if epoch%part < 3 { // what is seen at the end of a part reaches into the next one
					continue
				}
				for i := range perEpoch {
					o := Snapshot{At: slotTime(p, epoch, i*16/perEpoch+r.IntN(16/perEpoch)), Subscribed: []int{r.IntN(64), r.IntN(64)}}
					var w WatchLog
					if epoch%9 == 0 && i == 0 {
						subnet := int64(r.IntN(60))
						w = logOf(slotTime(p, epoch, 0), slotTime(p, epoch+1, 1), [3]int64{slotTime(p, epoch, 3) + 300, slotTime(p, epoch, 5), subnet})
					}
					for _, s := range []*Statistics{whole, parts[len(parts)-1]} {
						if s.AddSnapshot(p, o); w.To > 0 {
							s.AddWatch(p, w)
						}
					}
					data, _ := whole.AppendBinary(nil) // as a tracker keeps it between two visits
					var err error
					if whole, err = OpenStatistics(c, data); err != nil {
						t.Fatal(err)
					}
				}
			}
			cells := func(days ...*Statistics) (out [][]pool) {
				e := NewEvidence(c, Custody{})
				for _, s := range days {
					e.Add(s, c)
				}
				e.sum()
				for _, p := range e.pools {
					slices.SortFunc(p.cells, func(a, b pool) int {
						return cmp.Or(cmp.Compare(a.cell, b.cell), strings.Compare(fmt.Sprint(a), fmt.Sprint(b)))
					})
					out = append(out, p.cells)
				}
				return out
			}
			want := cells(parts...)
			data, _ := whole.AppendBinary(nil)
			read, err := DecodeStatistics(c, data)
			if err != nil {
				t.Fatal(err)
			}
			for i := range read.readings {
				if n := len(read.readings[i].runs); n > maxRuns {
					t.Errorf("%s, %s: %d runs", name, c.Kind, n)
				}
			}
			if got := cells(read); !reflect.DeepEqual(got, want) || len(want) == 0 || len(want[0]) == 0 {
				t.Errorf("%s, %s: cells %v, want %v", name, c.Kind, got, want)
			}
			slots := uint64(0)
			for _, s := range parts {
				slots += s.WatchedSlots()
			}
			if read.WatchedSlots() != slots {
				t.Errorf("%s, %s: %d watched slots, want %d", name, c.Kind, read.WatchedSlots(), slots)
			}
			if read.Seal(0); !reflect.DeepEqual(cells(read), want) {
				t.Errorf("%s, %s: the sealed day has other cells", name, c.Kind)
			}
		}
	}
}
