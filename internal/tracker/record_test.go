package tracker

import "testing"

// The newest observation of a record counts, as a node that was set up again begins with a
// low seq.
func TestLaterRecord(t *testing.T) {
	for _, c := range []struct {
		at     int64
		seq    uint64
		before int64
		was    uint64
		want   bool
	}{
		{200, 2, 100, 1, true}, {200, 1, 100, 57, true}, {100, 57, 200, 1, false}, {100, 1, 100, 2, false}, {100, 2, 100, 2, true},
	} {
		yes, no := true, false
		for _, own := range []*bool{nil, &yes} {
			if got := LaterRecord(c.at, c.seq, own, c.before, c.was); got != c.want {
				t.Errorf("seq %d at %d after seq %d at %d: %v", c.seq, c.at, c.was, c.before, got)
			}
		}
		// What others hand out may be old, however late they do.
		if got, want := LaterRecord(c.at, c.seq, &no, c.before, c.was), c.want && c.seq >= c.was; got != want {
			t.Errorf("reported by others, seq %d at %d after seq %d at %d: %v", c.seq, c.at, c.was, c.before, got)
		}
	}
}
