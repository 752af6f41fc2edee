package consumer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
)

// Whoever publishes under a sentry's keys does not make its events vanish: the first of a
// key is stored, another one is kept with the reason.
func TestKeysAreBoundToContent(t *testing.T) {
	for name, segment := range map[string]time.Duration{"open segment": time.Minute, "committed": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := newFeed()
			c := start(t, dir, Config{SegmentAge: segment}, f)
			forged := f.send(t, "s-1-1", visit("forged"))
			if name == "committed" {
				until(t, "the commit", func() bool { return forged.String() == "ack" })
			}
			same := f.send(t, "s-1-1", visit("forged")) // redelivered
			real, again := f.send(t, "s-1-1", visit("real")), f.send(t, "s-1-1", visit("real"))
			f.send(t, "s-1-2", visit("next"))
			c.stop(t)
			if s := c.Stats(); s.Stored != 2 || s.Conflicts != 2 || s.Rejected != 1 || s.Missing["s"] != 0 {
				t.Errorf("stats %+v", s)
			}
			if a := fmt.Sprint(forged, same, real, again); a != "ack ack term term" {
				t.Errorf("answers: %s", a)
			}
			text, err := os.ReadFile(filepath.Join(dir, eventlog.RejectedName))
			if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), `\"real\"`) || !strings.Contains(string(text), errConflict.Error()) {
				t.Errorf("rejected: %s, %v", text, err)
			}
		})
	}
}

// What somebody publishes under a key, valid or not, decides nothing about what else comes
// under it: each content is stored or kept, once, also over restarts.
func TestEveryContentOfAKeyIsKept(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{SegmentAge: 10 * time.Millisecond}, f)
	first := f.send(t, "s-1-1", visit("forged"))
	until(t, "the commit", func() bool { return first.String() == "ack" })
	second := f.send(t, "s-1-1", visit("forged too"))
	until(t, "its answer", func() bool { return second.String() == "term" })
	for range 2 {
		real := f.send(t, "s-1-1", visit("real"))
		until(t, "its answer", func() bool { return real.String() == "term" })
	}
	for _, text := range []string{`{"forged":1}`, `{"real":1}`, `{"real":1}`} {
		invalid := f.sendRaw(event.SubjectVisitEnded, "s-1-2", []byte(text))
		until(t, "its answer", func() bool { return invalid.String() == "term" })
	}
	c.stop(t)
	if s := c.Stats(); s.Rejected != 4 || s.Conflicts != 3 || s.Duplicates != 2 || s.Missing["s"] != 0 {
		t.Errorf("stats %+v", s)
	}
	c = start(t, dir, Config{}, f)
	for _, text := range []string{`{"forged":1}`, `{"real":1}`, `{"a third":1}`} {
		f.sendRaw(event.SubjectVisitEnded, "s-1-2", []byte(text))
	}
	c.stop(t)
	if s := c.Stats(); s.Rejected != 1 || s.Duplicates != 2 {
		t.Errorf("after a restart: stats %+v", s)
	}
	text, err := os.ReadFile(filepath.Join(dir, eventlog.RejectedName))
	if err != nil || strings.Count(string(text), "\n") != 5 || !strings.Contains(string(text), `\"real\"`) {
		t.Errorf("kept %s, %v", text, err)
	}
}

// A counter that no sentry can have reached would make quintillions of events missing.
func TestCountersDoNotJump(t *testing.T) {
	f, dir := newFeed(), t.TempDir()
	c := start(t, dir, Config{}, f)
	for _, counter := range []uint64{1, 1<<64 - 1, 1 << 63, dataset.MaxJump + 1, 2 * dataset.MaxJump, 3*dataset.MaxJump + 2, 2*dataset.MaxJump + 1} {
		f.send(t, event.Key{Sentry: "s", Boot: 1, Counter: counter}.String(), visit(fmt.Sprint(counter)))
	}
	f.sendRaw(event.SubjectVisitEnded, "s-1-18446744073709551614", []byte("invalid as well"))
	c.stop(t)
	if s := c.Stats(); s.Stored != 4 || s.Rejected != 4 || s.Missing["s"] > 2*dataset.MaxJump {
		t.Errorf("stats %+v", s)
	}
	c = start(t, dir, Config{}, f)
	c.stop(t)
	if s := c.Stats(); s.Missing["s"] > 2*dataset.MaxJump {
		t.Errorf("after a restart: stats %+v", s)
	}
}

func TestContents(t *testing.T) {
	c := newContents()
	message := func(data string) bus.Message {
		return bus.Message{Subject: event.SubjectVisitEnded, Data: []byte(data)}
	}
	for i := range uint64(contentSlots / 2) {
		c.remember("s-1", i, message("a"))
	}
	for i := range uint64(contentSlots / 2) {
		if c.conflict("s-1", i, message("a")) || !c.conflict("s-1", i, message("b")) {
			t.Fatalf("counter %d", i)
		}
		if c.conflict("s-2", i, message("b")) || c.conflict("s-1", i+contentSlots, message("b")) {
			t.Fatalf("counter %d of another", i)
		}
	}
}

func BenchmarkContents(b *testing.B) {
	c := newContents()
	m := bus.Message{Subject: event.SubjectVisitEnded, Data: make([]byte, 600)}
	for i := range b.N {
		c.remember("0123456789abcdef0123456789abcdef-123456789012345678", uint64(i), m)
	}
}
