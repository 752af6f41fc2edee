package bus

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

func sized(key string, size int) event.Encoded {
	return event.Encoded{Subject: event.SubjectVisitEnded, Key: key, Data: bytes.Repeat([]byte{'x'}, size)}
}

// An event that a broker does not accept is kept aside, once that is possible, and those
// behind it are published.
func TestOversizedEventsAreKeptAside(t *testing.T) {
	for name, limit := range map[string]func(t *testing.T) *Conn{
		"max_payload": func(t *testing.T) *Conn {
			return connect(t, startServer(t, func(o *server.Options) { o.MaxPayload = 4096 }).URL(), discardLog())
		},
		"max_msg_size": func(t *testing.T) *Conn {
			c := connect(t, startServer(t).URL(), discardLog())
			if _, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: event.Subjects(), MaxMsgSize: 4096}); err != nil {
				t.Fatal(err)
			}
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := limit(t)
			got := collect(t, subscribe(t, c))
			q := newMemoryQueue()
			var mu sync.Mutex
			var kept []event.Encoded
			attempts := 0
			p, err := NewPublisher(c, PublisherConfig{Queue: q, Added: q.added, KeepAside: func(events []event.Encoded, _ error) error {
				mu.Lock()
				defer mu.Unlock()
				if attempts++; attempts == 1 {
					return errors.New("no space left")
				}
				kept = append(kept, events...)
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range []event.Encoded{sized("s-1-1", 100), sized("s-1-2", 11<<10), sized("s-1-3", 100)} {
				if err := q.put(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
			got.checkAll(t, []string{"s-1-1", "s-1-3"})
			closePublisher(t, p)
			mu.Lock()
			defer mu.Unlock()
			if len(kept) != 1 || kept[0].Key != "s-1-2" || len(kept[0].Data) != 11<<10 || p.Stats().Dropped != 1 {
				t.Errorf("%d events kept, stats %+v", len(kept), p.Stats())
			}
		})
	}
}

// A replay goes on behind an event that is too large.
func TestDirectPublisherRefusesAnOversizedEvent(t *testing.T) {
	c := connect(t, startServer(t, func(o *server.Options) { o.MaxPayload = 4096 }).URL(), discardLog())
	got := collect(t, subscribe(t, c))
	p := publishDirectly(t, c, 1)
	if err := p.DirectPublisher.Publish(t.Context(), sized("s-1-1", 4090)); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), "4096") {
		t.Errorf("error %v", err)
	}
	if err := p.Publish(t.Context(), discovered(2)); err != nil {
		t.Fatal(err)
	}
	closePublisher(t, p)
	until(t, "the next one", func() bool { return got.distinct() == 1 })
}
