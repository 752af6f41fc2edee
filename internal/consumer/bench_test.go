package consumer

import (
	"context"
	"fmt"
	"testing"

	"github.com/chainbound/valtrack/internal/bus"
)

// BenchmarkPipeline takes handshakes from Publish to committed segments and acks,
// through an embedded JetStream.
func BenchmarkPipeline(b *testing.B) {
	server, err := bus.StartEmbedded(b.TempDir(), discardLog())
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	conn, err := bus.Connect(b.Context(), bus.Options{InProcess: server, Log: discardLog()})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	cfg := Config{SegmentRows: 50_000, Places: openPlaces(b)}
	sub, err := conn.Subscribe(b.Context(), bus.SubscribeOptions{Durable: "bench", AckWait: cfg.AckWait(), MaxAckPending: cfg.MaxAckPending()})
	if err != nil {
		b.Fatal(err)
	}
	publisher, err := newPublisher(b.Context(), conn)
	if err != nil {
		b.Fatal(err)
	}
	c := openIn(b, b.TempDir(), cfg, sub)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	e := handshake()
	b.ResetTimer()
	for i := range b.N {
		e.ENR = fmt.Sprintf("enr:-%0255d", i%10_000)
		e.Multiaddr = fmt.Sprintf("/ip4/85.%d.%d.7/tcp/9000", i%10_000/256, i%256)
		if err := publisher.Publish(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
	if err := publisher.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	until(b, "all events", func() bool {
		s := c.Stats()
		return s.Stored+uint64(s.Pending) == uint64(b.N)
	})
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if s := c.Stats(); s.Stored != uint64(b.N) {
		b.Fatalf("stored %d of %d", s.Stored, b.N)
	}
}
