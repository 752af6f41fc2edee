package consumer

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
)

// Events about an excluded node are acknowledged and leave nothing in any file, whether they are valid
// or not; they are neither missing nor stored when they come again, also after a restart.
func TestEventsAboutExcludedNodesAreNotStored(t *testing.T) {
	dir := t.TempDir()
	const gone = "16Uiu2HAmPLe7Mzm8TsYUubgCAW1aJoeFScxrLj8ppHFivPo97bUZ"
	cfg := Config{Excluded: func(_ event.Event, data []byte) bool { return bytes.Contains(data, []byte(gone)) }}
	about := func(e *event.VisitEnded) *event.VisitEnded { e.ID = gone; return e }
	f := newFeed()
	c := start(t, dir, cfg, f)
	metadata := handshake()
	metadata.ID = gone
	answers := []*answers{
		f.send(t, "s-1-1", visit("v1")), f.send(t, "s-1-2", about(visit("v2"))), f.send(t, "s-1-3", metadata), f.send(t, "s-1-5", visit("v5")),
		f.sendRaw(event.SubjectVisitEnded, "s-1-4", []byte(`{"id":"`+gone+`","outcome":-1}`)), f.send(t, "s-1-2", about(visit("v2"))),
	}
	until(t, "the rejected one is counted", func() bool { return c.Stats().Excluded == 1 })
	c.stop(t)
	for i, want := range []string{"ack", "ack", "ack", "ack", "term", "ack"} {
		if got := answers[i].String(); got != want {
			t.Errorf("message %d answered %q, want %q", i, got, want)
		}
	}
	if s := c.Stats(); s.Excluded != 3 || s.Stored != 2 || s.Rejected != 0 || s.Missing["s"] != 0 {
		t.Errorf("stats %+v", s)
	}
	f = newFeed()
	c = start(t, dir, Config{}, f) // the list has been forgotten
	again := f.send(t, "s-1-3", metadata)
	c.stop(t)
	if again.String() != "ack" || strings.Join(visitIDs(t, dir), " ") != "v1 v5" || len(rows[dataset.MetadataRow](t, dir)) != 0 {
		t.Errorf("again: %q, visits %v", again, visitIDs(t, dir))
	}
	h, err := dataset.Check(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range h.Tables {
		if len(table.Disagreeing) > 0 {
			t.Errorf("the tables disagree: %+v", table)
		}
		if want := map[string]int64{dataset.Visit: 1, dataset.Metadata: 1, dataset.ValidatorMetadata: 1}[table.Table]; table.Purged != want {
			t.Errorf("%s: %d rows count as removed, want %d", table.Table, table.Purged, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, eventlog.RejectedName)); !errors.Is(err, os.ErrNotExist) {
		if text, err := os.ReadFile(filepath.Join(dir, eventlog.RejectedName)); err != nil || len(text) > 0 {
			t.Errorf("rejected events: %s, %v", text, err)
		}
	}
}
