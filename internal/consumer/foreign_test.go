package consumer

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
)

// visitOf is a visit of the network "n" with the root.
func visitOf(id string, root eth2.Root) *event.VisitEnded {
	v := visit(id)
	v.GenesisValidatorsRoot = root
	return v
}

func TestEventsOfAnotherRootAreRefused(t *testing.T) {
	own, other, none := eth2.Root{1}, eth2.Root{2}, eth2.Root{}
	otherName := visitOf("name", own)
	otherName.Network = "m"
	for _, test := range []struct {
		what   string
		root   eth2.Root // of the configuration
		events []*event.VisitEnded
		stored []string
		learnt []eth2.Root
	}{
		{"known", own, []*event.VisitEnded{visitOf("other", other), visitOf("own", own), visitOf("none", none), otherName}, []string{"own", "none"}, nil},
		{"the first decides", none, []*event.VisitEnded{visitOf("own", own), visitOf("other", other), visitOf("again", own)}, []string{"own", "again"}, []eth2.Root{own}},
		{"the first with a root decides", none, []*event.VisitEnded{visitOf("none", none), otherName, visitOf("own", own), visitOf("other", other)}, []string{"none", "own"}, []eth2.Root{own}},
	} {
		t.Run(test.what, func(t *testing.T) {
			dir := t.TempDir()
			f := newFeed()
			var learnt []eth2.Root
			c := start(t, dir, Config{Network: "n", GenesisValidatorsRoot: test.root, OnRoot: func(r eth2.Root) error {
				learnt = append(learnt, r)
				return nil
			}}, f)
			for i, e := range test.events {
				f.send(t, fmt.Sprintf("s-1-%d", i+1), e)
			}
			c.stop(t)
			if d := cmp.Diff(test.stored, visitIDs(t, dir)); d != "" {
				t.Errorf("stored (-want +got):\n%s", d)
			}
			if d := cmp.Diff(test.learnt, learnt); d != "" {
				t.Errorf("learnt (-want +got):\n%s", d)
			}
			refused := uint64(len(test.events) - len(test.stored))
			if s := c.Stats(); s.Rejected != refused || s.OtherNetwork != refused || s.NotKept != 0 {
				t.Errorf("stats %+v, want %d of other networks", s, refused)
			}
		})
	}
}

// An event whose root cannot be written down is not stored before it is.
func TestRootThatCannotBeKept(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	full := errors.New("no space left")
	c := start(t, dir, Config{Network: "n", OnRoot: func(eth2.Root) error {
		err := full
		full = nil
		return err
	}}, f)
	first := f.send(t, "s-1-1", visitOf("v1", eth2.Root{1}))
	until(t, "the answer", func() bool { return first.String() == "nak" })
	again := f.send(t, "s-1-1", visitOf("v1", eth2.Root{1}))
	until(t, "its acceptance", func() bool { return c.Stats().Pending == 1 })
	c.stop(t)
	if d := cmp.Diff([]string{"v1"}, visitIDs(t, dir)); d != "" || again.String() != "ack" {
		t.Errorf("answered %q (-want +got):\n%s", again, d)
	}
}

// logTo has a consumer log to a buffer.
func logTo(c *Consumer) *bytes.Buffer {
	var b bytes.Buffer
	c.log = slog.New(slog.NewTextHandler(&b, nil))
	return &b
}

// A publisher that sends nothing that can be stored costs neither an fsync nor a log line
// per message.
func TestRejectedMessagesAreBatched(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	opened := openIn(t, dir, Config{Network: "n"}, f)
	log := logTo(opened)
	c := run(t, opened)
	const n = 20_000
	other := visit("v")
	other.Network = "m"
	last := make([]*answers, 0, n)
	for i := range n / 2 {
		last = append(last, f.sendRaw(event.SubjectMetadataReceived, fmt.Sprintf("s-1-%d", i+1), []byte(`{"metadata":null}`)))
		last = append(last, f.send(t, fmt.Sprintf("s-2-%d", i+1), other))
	}
	until(t, "the answers", func() bool { return last[n-1].String() != "" })
	c.stop(t)
	for i, a := range last {
		if a.String() != "term" {
			t.Fatalf("message %d is answered %q", i, a)
		}
	}
	if s := c.Stats(); s.Rejected != n || s.OtherNetwork != n/2 || s.NotKept != 0 {
		t.Errorf("stats %+v", s)
	}
	if lines := strings.Count(log.String(), "rejected an event"); lines < 2 || lines > 6 { // one about invalid ones per 10 s
		t.Errorf("%d lines for %d rejected events", lines, n)
	}
	keys, err := Rejected(dir)
	if err != nil || keys.Counted()["s"] != n {
		t.Errorf("kept %v, %v", keys.Counted(), err)
	}
}

// Events of other networks do not fill the file of rejected events; that is said, and they
// are counted all the same. Invalid ones still go there.
func TestForeignEventsAreKeptWithinABound(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, eventlog.RejectedName)
	if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxForeign-2); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	file.Close()
	f := newFeed()
	opened := openIn(t, dir, Config{Network: "n"}, f)
	log := logTo(opened)
	c := run(t, opened)
	other := visit("v")
	other.Network = "m"
	var got []*answers
	for i := range 3 { // the first still fits
		got = append(got, f.send(t, fmt.Sprintf("s-2-%d", i+1), other))
	}
	got = append(got, f.sendRaw(event.SubjectMetadataReceived, "s-1-1", []byte(`{"metadata":null}`)), f.send(t, "s-2-3", other))
	c.stop(t)
	for i, a := range got {
		if a.String() != "term" {
			t.Errorf("message %d is answered %q", i, a)
		}
	}
	if s := c.Stats(); s.Rejected != 4 || s.OtherNetwork != 3 || s.NotKept != 2 || s.Duplicates != 1 {
		t.Errorf("stats %+v", s)
	}
	if keys := opened.rejected.keys; keys.Has("s-2", 2) || !keys.Has("s-2", 1) {
		t.Errorf("remembered %v", keys)
	}
	keys, err := Rejected(dir)
	if err != nil || keys.Has("s-2", 2) || !keys.Has("s-2", 1) || !keys.Has("s-1", 1) {
		t.Errorf("kept %v, %v", keys, err)
	}
	if n := strings.Count(log.String(), "events of other networks are no longer kept"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log)
	}
}
