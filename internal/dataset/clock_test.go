package dataset

import (
	"testing"
	"time"
)

// A row whose sender's clock was ahead must not keep its part for as long, or forever.
func TestRetainRemovesRowsOfTheFuture(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"a day": 26 * time.Hour, "years": 70 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			dir, c := t.TempDir(), &clock{noon}
			w := openAt(t, dir, c)
			defer w.Close()
			future := noon.Add(ahead).UnixMilli()
			row := VisitRow{ID: "p", VisitID: "v", ClockErrorMS: ClockError(ahead), Common: Common{Timestamp: future}}
			if err := Append(w, row); err != nil {
				t.Fatal(err)
			}
			if err := w.Commit(nil); err != nil {
				t.Fatal(err)
			}
			commitAll(t, w, 0, 10) // the newest part stays
			left := func() (n int) {
				if err := Scan(t.Context(), dir, Range{}, func(r VisitRow) error {
					if r.Timestamp == future {
						n++
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				return n
			}
			if _, err := w.Retain(t.Context(), c.now().Add(-time.Hour)); err != nil || left() != 1 {
				t.Errorf("%d rows before their time, %v", left(), err)
			}
			c.advance(2 * time.Hour)
			if _, err := w.Retain(t.Context(), c.now().Add(-time.Hour)); err != nil || left() != 0 {
				t.Errorf("%d rows after it, %v", left(), err)
			}
		})
	}
}
