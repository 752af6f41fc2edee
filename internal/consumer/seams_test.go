package consumer

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// recorder is a sink that logs its calls.
type recorder struct{ calls *[]string }

func (r recorder) Add(e event.Event, sentry string) {
	r.log("add " + e.(*event.VisitEnded).VisitID + " of " + sentry)
}
func (r recorder) Commit(s segment) {
	r.log(fmt.Sprintf("commit %d full %v last %v", s.number, s.full, s.last))
}
func (r recorder) Drop()           { r.log("drop") }
func (r recorder) log(call string) { *r.calls = append(*r.calls, call) }

// A sink has a segment's events before its commit, and the commit before any message is
// acknowledged. What could not be written it has to drop.
func TestSinksFollowTheSegments(t *testing.T) {
	dir := t.TempDir()
	c := openIn(t, dir, Config{SegmentRows: 2}, newFeed())
	defer c.rejected.Close()
	in := newIngest(c)
	var calls []string
	in.sinks = []sink{recorder{&calls}}
	handle := func(n int) {
		t.Helper()
		v := visit(fmt.Sprint(n))
		data, err := event.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		a := &answers{on: func(answer string) { calls = append(calls, answer) }}
		in.handle(t.Context(), bus.Message{Subject: v.Subject(), Key: fmt.Sprintf("s-1-%d", n), Data: data, Delivery: a})
	}
	handle(1)
	handle(2)
	handle(2) // stored already
	handle(3)
	replaceByFile(t, dataset.Dir(dir, dataset.Visit))
	handle(4)
	in.finish(false)
	want := []string{
		"add 1 of s", "add 2 of s", "commit 1 full true last false", "ack", "ack",
		"ack",
		"add 3 of s", "add 4 of s", "drop", "nak", "nak",
	}
	if d := cmp.Diff(want, calls); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
