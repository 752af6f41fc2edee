package dataset

import (
	"os"
	"testing"
	"time"
)

// Parts of metadata_events that somebody has taken away cost no other table a row, now
// or later, and their events do not come again.
func TestMetadataPartsTakenAway(t *testing.T) {
	tests := []struct {
		name    string
		merged  bool // the other tables' parts, past what is taken
		take    func(t *testing.T, dir string)
		visits  int
		handled int // handshakes that are left
	}{
		{"the newest", false, func(t *testing.T, dir string) { remove(t, single(3).path(dir, Metadata)) }, 50, 20},
		{"all", false, func(t *testing.T, dir string) { remove(t, Dir(dir, Metadata)) }, 50, 0},
		{"the newest, the others merged", true, func(t *testing.T, dir string) { remove(t, single(3).path(dir, Metadata)) }, 50, 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			c := &clock{at: noon}
			w := openAt(t, dir, c)
			for i := range 3 { // segments 1 to 3
				commitAll(t, w, 10*i, 10)
			}
			if tt.merged {
				c.advance(2 * time.Hour)
				parts, err := w.committedParts(t.Context(), visitTable())
				if err != nil {
					t.Fatal(err)
				}
				if err := w.merge(t.Context(), visitTable(), parts); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			tt.take(t, dir)
			for i := range 2 { // two starts, each with a segment more
				w = openAt(t, dir, c)
				if !w.Covered().Has("s-1", 29) {
					t.Error("events of the part that was removed are redelivered")
				}
				commitAll(t, w, 30+10*i, 10)
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if got := len(scan[VisitRow](t, dir, Range{})); got != tt.visits {
				t.Errorf("%d visits, want %d", got, tt.visits)
			}
			if got := len(scan[MetadataRow](t, dir, Range{})); got != tt.handled+20 {
				t.Errorf("%d handshakes, want %d", got, tt.handled+20)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}
