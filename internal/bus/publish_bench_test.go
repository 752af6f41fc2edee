package bus

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// BenchmarkPublish takes events to their acknowledgement, through the spool and
// through the window alone.
func BenchmarkPublish(b *testing.B) {
	for _, spooled := range []bool{true, false} {
		name := map[bool]string{true: "spool", false: "window"}[spooled]
		b.Run(name, func(b *testing.B) {
			server, err := startEmbedded(b.TempDir(), discardLog(), listening)
			if err != nil {
				b.Fatal(err)
			}
			defer server.Close()
			c := connectLater(b, server.URL(), discardLog())
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
			if err := p.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64((b.Elapsed()+time.Since(start)).Nanoseconds())/float64(b.N), "ns/acknowledged")
		})
	}
}

func benchPublisher(b *testing.B, c *Conn, fromSpool bool) interface {
	Publish(context.Context, event.Event) error
	Close(context.Context) error
} {
	b.Helper()
	if !fromSpool {
		return publishDirectly(b, c, 1)
	}
	p, _ := spoolPublisher(b, c, b.TempDir(), 1, discardLog())
	return p
}
