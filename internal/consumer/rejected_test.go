package consumer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// A publisher that sends only what nobody can decode must not fill the disk.
func TestRejectedFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	r, err := openRejected(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	r.max = 4096
	const n = 200
	for i := range n {
		if err := r.append(bus.Message{Key: "s-1-" + strconv.Itoa(i+1), Data: []byte(strings.Repeat("x", 100))}, errors.New("bad")); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{bus.RejectedFile, olderRejected} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() > r.max || info.Size() == 0 {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	keys, err := Rejected(dir)
	if err != nil || !keys.Has("s-1", n) || keys.Has("s-1", 1) || len(keys["s-1"]) != 1 {
		t.Errorf("keys %v, %v", keys, err)
	}
}

// A full file that was put aside when no new one could be opened must not end it.
func TestRejectedFileIsOpenedLater(t *testing.T) {
	dir := t.TempDir()
	r, err := openRejected(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.max = 100
	reject := func(i int) {
		t.Helper()
		if err := r.append(bus.Message{Key: "s-1-" + strconv.Itoa(i), Data: []byte(strings.Repeat("x", 100))}, errors.New("bad")); err != nil {
			t.Fatal(err)
		}
	}
	reject(1)
	path := filepath.Join(dir, bus.RejectedFile)
	if err := os.Rename(path, filepath.Join(dir, olderRejected)); err != nil {
		t.Fatal(err)
	}
	reject(2)
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), `"s-1-2"`) {
		t.Errorf("the new file has %q, %v", text, err)
	}
}

// A whole last line without its end stays, and the next one does not run into it;
// a line without end or measure is passed over.
func TestRejectedFileThatWasEdited(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, bus.RejectedFile)
	text := strings.Repeat("y", maxRejectedLine+100) + "\n" + `{"key":"s-1-2"}`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := openRejected(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.append(bus.Message{Key: "s-1-3"}, errors.New("bad")), r.Close()); err != nil {
		t.Fatal(err)
	}
	keys, err := Rejected(dir)
	if d := cmp.Diff(dataset.Coverage{"s-1": {{2, 3}}}, keys); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	data, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(data), text+"\n{") {
		t.Errorf("the file has %d bytes, %v", len(data), err)
	}
}

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
	file, err := os.ReadFile(filepath.Join(dir, bus.RejectedFile))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(file)), "\n")
	var first bus.RejectedEvent
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
	if err := c.rejected.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	// Opened like this it takes nothing, as on a full disk.
	if c.rejected.file, err = os.Open(filepath.Join(dir, bus.RejectedFile)); err != nil {
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
	if data, err := os.ReadFile(filepath.Join(dir, bus.RejectedFile)); err != nil || strings.Count(string(data), "\n") != 1 {
		t.Errorf("kept %q, %v", data, err)
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
	torn, err := os.OpenFile(filepath.Join(dir, bus.RejectedFile), os.O_APPEND|os.O_WRONLY, 0)
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
	if data, err := os.ReadFile(filepath.Join(dir, bus.RejectedFile)); err != nil || strings.Count(string(data), "\n") != 1 || !strings.HasSuffix(string(data), "\n") {
		t.Errorf("kept %q, %v", data, err)
	}
}
