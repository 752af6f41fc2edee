package estimate

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Sealed statistics say the same in fewer bytes, and seal to themselves.
func TestSeal(t *testing.T) {
	runs := []run{
		{from: 100, slots: 2, on: 1, off: 61, cell: 2, snapshot: true}, {from: 132, slots: 96, on: 3, off: 5000, cell: oneCommittee},
		{from: 300, slots: 2, off: 62, cell: 2, snapshot: true}, {from: 332, slots: 96, on: 4, off: 5000, cell: oneCommittee},
		{from: 500, slots: 9, on: 2, off: 60, cell: 9, snapshot: true},
	}
	client := eth2.Client{Kind: eth2.ClientPrysm}
	s := NewStatistics(client)
	s.readings[0].runs = runs
	s.habits.Subscribed = 7
	evidence := func() (uint64, uint64, int) {
		e := NewEvidence(client, Custody{})
		e.Add(s, TrustAll)
		on, off := e.Cells()
		return on, off, len(e.pools[0].cells)
	}
	on, off, kinds := evidence()
	watched := s.WatchedSlots()
	_, last, _ := s.Span()
	for range 2 {
		s.Seal()
		on2, off2, kinds2 := evidence()
		if on2 != on || off2 != off || kinds2 != kinds || kinds != 3 || s.WatchedSlots() != watched {
			t.Errorf("sealed: %d on, %d off of %d kinds, %d slots; before: %d, %d, %d, %d", on2, off2, kinds2, s.WatchedSlots(), on, off, kinds, watched)
		}
		if _, end, _ := s.Span(); end != last || len(s.readings[0].runs) != 3 {
			t.Errorf("sealed: %d runs up to %d, want 3 up to %d", len(s.readings[0].runs), end, last)
		}
		b, err := s.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeStatistics(client, b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, back, cmp.AllowUnexported(Statistics{}, reading{}, window{}, run{}, looks{}, syncReading{})); diff != "" {
			t.Error(diff)
		}
	}
}
