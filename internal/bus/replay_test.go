package bus

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
)

func visit(n int) *event.VisitEnded {
	return &event.VisitEnded{
		Common:  event.Common{Network: "n", CrawlerID: "c", Timestamp: 1763800000000},
		VisitID: fmt.Sprint("v", n), ID: "16U", Started: 1763800000000, Ended: 1763800000000, Outcome: event.OutcomeOK,
	}
}

// Replaying twice is the same as once.
func TestReplayToJetStream(t *testing.T) {
	dir := t.TempDir()
	var events []event.Event
	for i := range 500 {
		events = append(events, visit(i), discovered(i))
	}
	w, err := eventlog.NewWriter(dir, "s", 1, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := w.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := connect(t, startServer(t).URL(), discardLog())
	sub := subscribe(t, c)
	for range 2 {
		p, err := NewDirectPublisher(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := eventlog.Replay(t.Context(), p, []string{filepath.Join(dir, "visit_events.log"), filepath.Join(dir, "discovery_events.log")}, "", func(b eventlog.BadLine) { t.Error(b) }); err != nil {
			t.Fatal(err)
		}
		closePublisher(t, p)
	}
	got := collect(t, sub)
	until(t, "all messages", func() bool { return got.distinct() == 1000 })
	for key, n := range got.keys {
		if n != 1 {
			t.Errorf("%s was delivered %d times", key, n)
		}
	}
}
