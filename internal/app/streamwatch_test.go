package app

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/telemetry"
)

// A durable that nobody reads is logged once two looks in a row have found it, and then each hour.
func TestUnreadDurablesAreLogged(t *testing.T) {
	out := &screen{}
	w := streamWatch{forget: func(durable string) string { return "forget " + durable }, log: slog.New(slog.NewTextHandler(out, nil))}
	now := time.Now()
	minutes := 0
	look := func(names ...string) {
		s := &bus.StreamState{}
		for _, name := range names {
			s.Unread = append(s.Unread, bus.Durable{Name: name, Kept: 7})
		}
		w.look(now.Add(time.Duration(minutes)*streamPeriod), s)
		minutes++
	}
	logged := func(name string) int {
		return strings.Count(out.String(), fmt.Sprintf("to_delete_it=\"forget %s\"", name))
	}
	look("gone", "restarted")
	look("gone")
	look("gone", "restarted")
	w.look(now, nil) // the server did not answer
	if logged("gone") != 1 || logged("restarted") != 0 {
		t.Errorf("after three minutes: %s", out.String())
	}
	for range 60 {
		look("gone")
	}
	if logged("gone") != 2 || !strings.Contains(out.String(), "7 messages kept") {
		t.Errorf("after an hour: %s", out.String())
	}
}

// Limits that lose events are logged at once, when they change, and then each hour.
func TestLimitsThatLoseEventsAreLogged(t *testing.T) {
	out := &screen{}
	w := streamWatch{log: slog.New(slog.NewTextHandler(out, nil))}
	now := time.Now()
	for i := range 61 {
		w.look(now.Add(time.Duration(i)*streamPeriod), &bus.StreamState{Drops: []string{"max_age 1s"}})
	}
	for _, drops := range []string{"", "max_age 1s", "max_age 2s"} { // mended, broken again, and changed
		s := &bus.StreamState{}
		if drops != "" {
			s.Drops = []string{drops}
		}
		w.look(now.Add(62*streamPeriod), s)
	}
	if n, changed := strings.Count(out.String(), `limits="max_age 1s"`), strings.Count(out.String(), `limits="max_age 2s"`); n != 3 || changed != 1 {
		t.Errorf("%d and %d lines: %s", n, changed, out.String())
	}
}

// What a server says of the stream is in the metrics of a process that is connected to it.
func TestStreamMetrics(t *testing.T) {
	svc := &Service{metrics: telemetry.NewRegistry(), log: slog.New(slog.DiscardHandler)}
	b, err := OpenBroker(t.Context(), EmbeddedNATS, t.TempDir(), bus.Options{Log: svc.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if _, err := b.conn.Subscribe(t.Context(), bus.SubscribeOptions{Durable: "gone", AckWait: time.Minute, MaxAckPending: 10}); err != nil {
		t.Fatal(err)
	}
	b.watchStream(t.Context(), t.TempDir(), svc)
	deadline := time.Now().Add(30 * time.Second)
	for len(streamMetrics(t, svc.metrics)) == 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	got := streamMetrics(t, svc.metrics)
	if limit := got["valtrack_stream_limit_bytes "+event.Stream]; limit < 1<<20 {
		t.Errorf("a limit of %v bytes", limit)
	}
	delete(got, "valtrack_stream_limit_bytes "+event.Stream) // depends on the disk
	if d := cmp.Diff(map[string]float64{"valtrack_stream_bytes " + event.Stream: 0, "valtrack_stream_unread_durables " + event.Stream: 0}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// streamMetrics are by name and stream.
func streamMetrics(t *testing.T, reg *telemetry.Registry) map[string]float64 {
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if strings.HasPrefix(f.GetName(), "valtrack_stream_") {
				out[f.GetName()+" "+m.Label[0].GetValue()] = m.Gauge.GetValue()
			}
		}
	}
	return out
}
