package consumer

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
)

func TestPoisonIsKeptAndEnded(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{}, f)
	poison := []struct{ subject, data string }{
		{event.SubjectMetadataReceived, `{"metadata":null}`},
		{event.SubjectVisitEnded, "\xff\xfe"},
		{"events.other", "{}"},
		{event.SubjectPeerDiscovered, ""},
	}
	var got []*answers
	for _, p := range poison {
		got = append(got, f.sendRaw(p.subject, "", []byte(p.data)))
		f.messages <- bus.Message{Subject: p.subject, Key: "s-9-1", Data: []byte(p.data), Delivery: &answers{}}
	}
	good := f.send(t, "s-1-1", visit("v1"))
	c.stop(t)
	for i, a := range got[:1] {
		if a.String() != "term" {
			t.Errorf("poison %d answered %q", i, a)
		}
	}
	if good.String() != "ack" {
		t.Errorf("good message answered %q", good)
	}
	file, err := os.ReadFile(filepath.Join(dir, eventlog.RejectedName))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(file)), "\n")
	var first eventlog.RejectedEvent
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	if first.Payload != `{"metadata":null}` || first.Subject != event.SubjectMetadataReceived || !strings.Contains(first.Reason, "missing") {
		t.Errorf("first line %+v", first)
	}
	for _, l := range lines {
		if !json.Valid([]byte(l)) {
			t.Errorf("line %q", l)
		}
	}
	if n := c.Stats().Rejected; int(n) != len(lines) {
		t.Errorf("%d rejected, %d lines", n, len(lines))
	}
}

// A rejected event that could not be kept must come again, and not pass for a
// duplicate then.
func TestPoisonThatCannotBeKeptComesAgain(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := openIn(t, dir, Config{}, f)
	if err := c.rejected.Close(); err != nil { // writes fail from now on, as on a full disk
		t.Fatal(err)
	}
	r := run(t, c)
	for range 2 {
		a := f.sendRaw(event.SubjectMetadataReceived, "s-1-1", []byte(`{"metadata":null}`))
		until(t, "the answer", func() bool { return a.String() != "" })
		if a.String() != "nak" {
			t.Errorf("answered %q", a)
		}
	}
	r.stop(t)
	if s := c.Stats(); s.Rejected != 0 || s.Duplicates != 0 {
		t.Errorf("stats %+v", s)
	}

	r = start(t, dir, Config{}, f) // on a disk that takes it
	a := f.sendRaw(event.SubjectMetadataReceived, "s-1-1", []byte(`{"metadata":null}`))
	until(t, "the answer", func() bool { return a.String() == "term" })
	r.stop(t)
	if data, err := os.ReadFile(filepath.Join(dir, eventlog.RejectedName)); err != nil || strings.Count(string(data), "\n") != 1 {
		t.Errorf("kept %q, %v", data, err)
	}
}

// A directory that takes the place of the data directory, such as the mount point below an
// unmounted disk, gets no rejected events: they would be ended and gone after the remount.
func TestPoisonIsNotKeptInAnotherDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	f := newFeed()
	r := start(t, dir, Config{}, f)
	if err := errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	a := f.sendRaw(event.SubjectMetadataReceived, "s-1-1", []byte(`{"metadata":null}`))
	until(t, "the answer", func() bool { return a.String() != "" })
	if a.String() != "nak" {
		t.Errorf("answered %q", a)
	}
	if err := <-r.done; err == nil { // it has noticed
		t.Error("the consumer goes on")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("made %v, %v", entries, err)
	}
}

// A consumer that cannot decode an event keeps it, and one that can stores it when
// it is replayed under its key: it is no gap in between, and comes once.
func TestRejectedEventsCanComeAgain(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{SegmentRows: 2}, f)
	f.send(t, "s-1-1", visit("v1"))
	poison := []byte(`{"metadata":null}`)
	for range 2 {
		a := f.sendRaw(event.SubjectMetadataReceived, "s-1-2", poison)
		until(t, "the answer", func() bool { return a.String() == "term" })
	}
	f.send(t, "s-1-3", visit("v3"))
	until(t, "the commit", func() bool { return c.Stats().Segments == 1 })
	if s := c.Stats(); s.Rejected != 1 || s.Duplicates != 1 || s.Missing["s"] != 0 {
		t.Errorf("stats %+v", s)
	}
	c.stop(t)
	torn, err := os.OpenFile(filepath.Join(dir, eventlog.RejectedName), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := torn.WriteString(`{"key":"s-1-9","pay`); err != nil { // a crash in the middle of a line
		t.Fatal(err)
	}
	torn.Close()

	c = start(t, dir, Config{}, f)
	again := f.sendRaw(event.SubjectMetadataReceived, "s-1-2", poison) // lost its term
	fixed := f.send(t, "s-1-2", visit("v2"))
	twice := f.send(t, "s-1-2", visit("v2"))
	c.stop(t)
	if again.String() != "term" || fixed.String() != "ack" || twice.String() != "ack" {
		t.Errorf("answers %q, %q, %q", again, fixed, twice)
	}
	if d := cmp.Diff([]string{"v1", "v3", "v2"}, visitIDs(t, dir)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	keys, err := Rejected(dir)
	if d := cmp.Diff(dataset.Coverage{"s-1": {{2, 2}}}, keys); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if data, err := os.ReadFile(filepath.Join(dir, eventlog.RejectedName)); err != nil || strings.Count(string(data), "\n") != 1 || !strings.HasSuffix(string(data), "\n") {
		t.Errorf("kept %q, %v", data, err)
	}
}

// Keys that a publisher invents take a bounded amount of memory; those of events that are
// not kept take none.
func TestRejectedKeysAreBounded(t *testing.T) {
	r, err := openRejected(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 2 * maxRejectedProducers {
		r.remember(dataset.Coverage{fmt.Sprintf("s%d-1", i): {{1, 1}}})
	}
	if len(r.keys) != maxRejectedProducers || r.runs != maxRejectedProducers {
		t.Errorf("%d producers, %d runs", len(r.keys), r.runs)
	}
	const batch = 1 << 10
	for i := range uint64(2 * maxRejectedRuns / batch) {
		runs := make([]dataset.Interval, batch)
		for j := range runs {
			n := 10 + 2*(i*batch+uint64(j))
			runs[j] = dataset.Interval{n, n}
		}
		r.remember(dataset.Coverage{"s0-1": runs})
	}
	if n := r.runs; n > maxRejectedRuns || n < maxRejectedRuns-batch {
		t.Errorf("%d runs", n)
	}
	before := r.runs
	r.remember(dataset.Coverage{"s0-1": {{2, 1000}}}) // which joins runs
	if r.runs >= before || !r.keys.Has("s0-1", 500) {
		t.Errorf("%d runs of %d", r.runs, before)
	}
}
