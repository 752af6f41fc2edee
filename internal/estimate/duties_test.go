package estimate

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

// One duty shows at the same slot and subnet, whichever client follows it.
func TestDutiesOfEachWindow(t *testing.T) {
	p := mainnetParams()
	at := func(slot int) int64 { return slotTime(p, 1000, slot) + 300 }
	const duty, subnet = 10, 7
	want := uint64(32_000+duty)*subnets + subnet
	for _, c := range []struct {
		client   eth2.Client
		from, to int64
	}{
		{lighthouse, at(duty - 1), at(duty + 1)},
		{nimbus, at(duty - 3), at(duty + 1)},
		{lodestar, at(duty - 2), at(duty + 1)},
		{prysm, at(0), at(duty + 1)},
	} {
		w := logOf(slotTime(p, 1000, 0)-2000, slotTime(p, 1001, 0)+3000, [3]int64{c.from, c.to, subnet})
		d := Duties(nil).AddWatch(p, c.client, w)
		epochs := d.decode()
		if len(epochs) != 1 || len(epochs[0].duties) != 1 || uint64(epochs[0].from)*subnets+epochs[0].duties[0] != want {
			t.Errorf("%s: %+v, want the duty %d", c.client.Kind, epochs, want)
			continue
		}
		if e := epochs[0]; e.slots != 32 || e.visible < 0.95 || e.visible > 0.98 {
			t.Errorf("%s: %d slots, visible %.3f", c.client.Kind, e.slots, e.visible)
		}
		if again := d.AddWatch(p, c.client, w); !reflect.DeepEqual(again, d) {
			t.Errorf("%s: the same watch again changes the duties", c.client.Kind)
		}
	}
	w := logOf(slotTime(p, 1000, 0)-2000, slotTime(p, 1001, 0)+3000, [3]int64{at(0), at(9), subnet})
	for _, c := range []eth2.Client{teku, stranger} {
		if d := Duties(nil).AddWatch(p, c, w); d != nil {
			t.Errorf("%s: %v, but its subscriptions do not show a duty's slot", c.Kind, d.decode())
		}
	}
	w.LongLived = eth2.Attnets{255, 255, 255, 255, 255, 255, 255, 255}
	if d := Duties(nil).AddWatch(p, lighthouse, w); d != nil {
		t.Errorf("a node on all subnets shows %v", d.decode())
	}
}

// However long a node is watched, and however much it shows, its duties are bounded: the
// newest are kept, in any order of arrival.
func TestDutiesAreBounded(t *testing.T) {
	full := func(n int) (list []uint64) {
		for x := range uint64(n) {
			list = append(list, x)
		}
		return list
	}
	for _, shown := range []int{0, 3, 300, 32 * subnets} {
		var forward, backward Duties
		for i := range 100 {
			e := dutyEpoch{slots: 32, visible: 1, duties: full(shown)}
			e.from = eth2.Slot(32 * (1000 + i))
			forward = forward.with(e)
			e.from = eth2.Slot(32 * (1099 - i))
			backward = backward.with(e)
		}
		if len(forward) > maxDutyBytes || !reflect.DeepEqual(forward, backward) {
			t.Errorf("%d shown: %d bytes, and the other way round %d", shown, len(forward), len(backward))
		}
		epochs := forward.decode()
		if n := len(epochs); n > dutyEpochs || shown <= 3 && n != dutyEpochs || n > 0 && epochs[n-1].from != 32*1099 {
			t.Errorf("%d shown: %d epochs", shown, n)
		}
	}
}

// Damaged duties cost those behind the damage, and nothing else.
func FuzzDuties(f *testing.F) {
	f.Add([]byte(Duties(nil).with(dutyEpoch{from: 32_000, slots: 32, visible: 0.97, duties: []uint64{3, 70, 2047}})))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 32, 255, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := Duties(b).with(dutyEpoch{from: 32_000, slots: 32, visible: 1})
		if len(d) > max(maxDutyBytes, len(b)) {
			t.Fatal(len(d))
		}
		FitMultiplicity(mainnetParams(), []DutyNode{{Duties: Duties(b), Validators: 1}, {Duties: d, Validators: 1}, {Duties: d, Validators: 1}})
	})
}

// Duties depend on what was seen, not on its order: of several watches of one epoch, of epochs
// with more duties than are kept, and of those that are too old.
func TestDutiesDoNotDependOnTheOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var epochs []dutyEpoch
	for range 150 {
		e := dutyEpoch{from: eth2.Slot(32 * (10_000 + r.IntN(60))), slots: 32, visible: r.Float64()}
		if r.IntN(20) == 0 {
			e.from -= dutySlots
		}
		for range []int{0, 2, 12, 200, 2000}[r.IntN(5)] {
			e.duties = append(e.duties, uint64(r.IntN(32*subnets)))
		}
		slices.Sort(e.duties)
		e.duties = slices.Compact(e.duties)
		epochs = append(epochs, e)
	}
	var want Duties
	for n := range 20 {
		var got Duties
		for _, i := range r.Perm(len(epochs)) {
			got = got.with(epochs[i])
		}
		if n == 0 {
			want = got
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%v, in another order %v", got.decode(), want.decode())
		}
	}
	for _, e := range want.decode() {
		if e.from < 32*10_000 {
			t.Errorf("an epoch of a week before is kept: %d", e.from)
		}
	}
}

// A node with very many duties keeps those of the first slots, and its other epochs.
func TestManyDuties(t *testing.T) {
	d := Duties(nil).with(dutyEpoch{from: 32_000, slots: 32, visible: 1, duties: []uint64{5, 900}})
	many := dutyEpoch{from: 32_032, slots: 32, visible: 1}
	for x := uint64(0); x < 32*subnets; x += 5 {
		many.duties = append(many.duties, x)
	}
	got := d.with(many).decode()
	if len(got) != 2 || len(got[0].duties) != 2 || got[0].slots != 32 {
		t.Fatalf("%+v", got)
	}
	if e := got[1]; e.slots != 2 || len(e.duties) != 26 {
		t.Errorf("of a node with 13 duties a slot %d slots and %d duties are kept", e.slots, len(e.duties))
	}
	old := Duties(dutyEpoch{from: 31_000, slots: 32, visible: 1, duties: many.duties}.encode()) // of an earlier version
	if got := old.with(got[0]); len(got) > 2*maxEpochBytes || len(got.decode()) != 2 {
		t.Errorf("%d bytes with %d epochs", len(got), len(got.decode()))
	}
}
