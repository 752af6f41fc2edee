package estimate

import "testing"

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
