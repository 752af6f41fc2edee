package estimate

import "testing"

// The same watch again counts once, before and after the day is over; and a day before
// that reaches a slot into a sealed day takes no more than that from it.
func TestSealKeepsWhatIsCovered(t *testing.T) {
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
			e.Add(d, TrustAll)
		}
		on, off := e.Cells()
		return on + off
	}
	alone, both, habits := cells(day), cells(before, day), day.Habits().Epochs
	day.Seal()
	day.AddWatch(p, first)
	if got := cells(day); got != alone || alone != 6*32*62 {
		t.Errorf("%d cells, %d with a watch that was in already, want %d", alone, got, 6*32*62)
	}
	if got := day.Habits().Epochs; got != habits {
		t.Errorf("%d whole epochs, %d with a watch that was in already", habits, got)
	}
	if got := cells(before, day); got != both || both <= alone {
		t.Errorf("with the day before: %d cells, %d once sealed, %d without", both, got, alone)
	}
	if got := cells(day, before); got != both {
		t.Errorf("in the other order %d cells, want %d", got, both)
	}
}
