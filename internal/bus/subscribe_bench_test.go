package bus

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// BenchmarkSubscribe takes a backlog from the stream and acknowledges it.
func BenchmarkSubscribe(b *testing.B) {
	server, err := startEmbedded(b.TempDir(), discardLog(), listening)
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	c := connectLater(b, server.URL(), discardLog())
	defer c.Close()
	sub, err := c.Subscribe(b.Context(), SubscribeOptions{Durable: "d", AckWait: time.Minute, MaxAckPending: 500_000})
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 600)
	for range b.N {
		if _, err := c.js.PublishAsync(event.SubjectVisitEnded, data, jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	<-c.js.PublishAsyncComplete()
	ctx, stop := context.WithCancel(b.Context())
	n := 0
	b.ResetTimer()
	if err := sub.Run(ctx, func(_ context.Context, m Message) {
		if n++; n == b.N {
			b.StopTimer()
			stop()
		}
		m.Ack()
	}); err != nil {
		b.Fatal(err)
	}
}
