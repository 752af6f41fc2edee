package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

// A row whose sentry's clock was off cannot make a node the newest, nor the network's last
// moment one of the future.
func TestRowsOfAWrongClockAreLeftOut(t *testing.T) {
	r := reportOf(t, dataset.Range{}, met("a", hour(1), "1", "")...)
	want := r.Summary()
	off := int64(26 * 3600 * 1000)
	for _, err := range []error{
		r.addDiscovery(dataset.DiscoveryRow{ID: "b", ClockErrorMS: &off, Common: dataset.Common{Network: "other", Timestamp: hour(900)}}),
		r.addHandshake(dataset.ValidatorRow{ID: "a", ClockErrorMS: &off, Common: dataset.Common{Network: "other", Timestamp: hour(900)}}),
		r.addVisit(dataset.VisitRow{ID: "a", ClockErrorMS: &off, Started: hour(900), Ended: hour(901), Outcome: "refused", Common: dataset.Common{Timestamp: hour(901)}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := r.Summary()
	if got.LastSeen != want.LastSeen || len(got.Networks) != len(want.Networks) || got.Discovered != want.Discovered || got.Rows.Handshakes != want.Rows.Handshakes || got.Rows.Visits != want.Rows.Visits || got.Rows.ClockErrors != 3 {
		t.Errorf("%+v, want that of\n%+v", got, want)
	}
	var text bytes.Buffer
	if err := got.WriteText(&text); err != nil || !strings.Contains(text.String(), "3 rows of sentries whose clock was off") {
		t.Errorf("%v\n%s", err, &text)
	}
}
