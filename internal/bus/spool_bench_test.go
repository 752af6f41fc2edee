package bus

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// BenchmarkSpoolAppend is what a visit waits for.
func BenchmarkSpoolAppend(b *testing.B) {
	s, err := OpenSpool(SpoolConfig{Dir: b.TempDir(), Sentry: "s", Boot: 1, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.close()
	e := discovered(1)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Publish(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPublish takes events to their acknowledgement, through the spool and
// through the window alone.
func BenchmarkPublish(b *testing.B) {
	for _, spooled := range []bool{true, false} {
		name := map[bool]string{true: "spool", false: "window"}[spooled]
		b.Run(name, func(b *testing.B) {
			server, err := StartEmbedded(b.TempDir(), quiet())
			if err != nil {
				b.Fatal(err)
			}
			defer server.Close()
			c := connectLater(b, server.URL(), quiet())
			defer c.Close()
			if _, err := c.js.CreateStream(b.Context(), jetstream.StreamConfig{Name: event.Stream, Subjects: event.Subjects()}); err != nil {
				b.Fatal(err) // one that needs no consumer
			}
			p := benchPublisher(b, c, spooled)
			e := discovered(1)
			for b.Loop() {
				if err := p.Publish(b.Context(), e); err != nil {
					b.Fatal(err)
				}
			}
			// The loop's clock has stopped: what is still under way counts, too.
			start := time.Now()
			if err := p.drain(context.Background()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64((b.Elapsed()+time.Since(start)).Nanoseconds())/float64(b.N), "ns/acknowledged")
			p.Close(b.Context())
		})
	}
}

func benchPublisher(b *testing.B, c *Conn, spooled bool) *Publisher {
	b.Helper()
	if !spooled {
		p, err := c.Publisher(b.Context(), "s", 1)
		if err != nil {
			b.Fatal(err)
		}
		return p.Publisher
	}
	s, err := OpenSpool(SpoolConfig{Dir: b.TempDir(), Sentry: "s", Boot: 1, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	p, err := NewPublisher(c, s, PublisherOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return p
}
