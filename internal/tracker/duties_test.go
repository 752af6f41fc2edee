package tracker

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/event"
)

// Duties are kept for the week in which they are compared, up to the newest event: a rebuild may
// read data that are long past.
func TestDutiesAreForgotten(t *testing.T) {
	now := start.Add(6 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	gone := simulated{peerID(1), "/ip4/50.1.1.1/tcp/9000", lighthouse, 128, 150, false}
	stays := simulated{peerID(2), "/ip4/50.2.1.1/tcp/9000", lighthouse, 128, 150, false}
	r := rand.New(rand.NewPCG(1, 1))
	add := func(n simulated, at time.Time) {
		for _, e := range n.watched(r, at, 3) {
			tr.Add(e)
		}
	}
	add(gone, start.Add(time.Hour))
	add(stays, start.Add(time.Hour))
	flush(t, tr, 0)
	now = now.Add(Window * 24 * time.Hour)
	for _, e := range stays.watched(r, now.Add(-2*time.Hour), 3) {
		switch e := e.(type) {
		case *event.MetadataReceived:
			e.VisitID = "later"
		case *event.VisitEnded:
			e.VisitID = "later"
		}
		tr.Add(e)
	}
	flush(t, tr, 1)
	if len(tr.peers[gone.id].Duties) == 0 {
		t.Fatal("no duties to forget")
	}
	tr.learn()
	if p := tr.peers[gone.id]; p.Duties != nil || p.Observations != 1 {
		t.Errorf("%d bytes of duties of more than a week ago, %d observations", len(p.Duties), p.Observations)
	}
	if p := tr.peers[stays.id]; p.Duties == nil || p.Duties.Newest() < params().Clock.SlotAt(now.Add(-24*time.Hour)) {
		t.Errorf("the duties of today are gone: %v", p.Duties)
	}
	now = now.Add(40 * 24 * time.Hour)
	if tr.learn(); tr.peers[stays.id].Duties == nil {
		t.Error("the duties of the newest week are gone as the data are old")
	}
}

// Whether validators run on several nodes is not known of an hour that is computed again from
// its rows: so what is more than one node per validator explains is no proof of a wrong model.
func TestVerdictOfAnHourThatIsReadAgain(t *testing.T) {
	now := start.Add(6 * time.Hour)
	for validators, want := range map[float64]estimate.Verdict{800_000: estimate.Passed, 1_600_000: estimate.Unsure, 1000: estimate.TooLow} {
		tr := opened(t, t.TempDir(), &now)
		sum := Sums{}
		sum.Add("lighthouse", estimate.Estimate{Low: 0.9 * validators, Mean: validators, PValidator: 1}, 1)
		tr.AddTotals(start.UnixMilli(), 950_000, 0, sum)
		if got := tr.totals[0]; got.Verdict != want.String() || got.Unaccounted.Share != nil {
			t.Errorf("%.0f validators: %s, want %v: %+v", validators, got.Verdict, want, got.Unaccounted)
		}
	}
}
