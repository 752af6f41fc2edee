package bus

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestRestartedConsumerHasTheSameDurable(t *testing.T) {
	c := connect(t, startServer(t).URL(), quiet())
	sub := subscribe(t, c)
	p, err := c.Publisher(t.Context(), "s", 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	closePublisher(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	acked := 0
	if err := sub.Run(ctx, func(m Message) {
		if acked < 4 {
			m.Ack()
			acked++
		} else {
			m.Nak(0)
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
	other := connect(t, c.nc.ConnectedUrl(), quiet())
	got := collect(t, subscribe(t, other))
	until(t, "the other six", func() bool { return got.distinct() == 6 })
	s, err := c.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Consumers; n != 1 {
		t.Errorf("%d consumers on the stream, want 1", n)
	}
}

func TestSubscriptionKeepsTheOperatorsDurable(t *testing.T) {
	c := connect(t, startServer(t).URL(), quiet())
	if err := c.EnsureStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	theirs := jetstream.ConsumerConfig{Durable: "consumer-test", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxAckPending: 5, MaxDeliver: 7, Description: "theirs"}
	if _, err := c.js.CreateConsumer(t.Context(), "EVENTS", theirs); err != nil {
		t.Fatal(err)
	}
	subscribe(t, c)
	now, err := c.js.Consumer(t.Context(), "EVENTS", "consumer-test")
	if err != nil {
		t.Fatal(err)
	}
	cfg := now.CachedInfo().Config
	if cfg.AckWait != time.Minute || cfg.MaxAckPending != 100000 || cfg.MaxDeliver != 7 || cfg.Description != "theirs" {
		t.Errorf("durable is now %+v", cfg)
	}
}

func TestSubscriptionSurvivesItsDurablesDeletion(t *testing.T) {
	c := connect(t, startServer(t).URL(), quiet())
	sub := subscribe(t, c)
	got := collect(t, sub)
	p, err := c.Publisher(t.Context(), "s", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), discovered(1)); err != nil {
		t.Fatal(err)
	}
	until(t, "the first message", func() bool { return got.distinct() == 1 })
	if err := c.js.DeleteConsumer(t.Context(), "EVENTS", "consumer-test"); err != nil {
		t.Fatal(err)
	}
	until(t, "a new durable", func() bool {
		_, err := c.js.Consumer(t.Context(), "EVENTS", "consumer-test")
		return err == nil
	})
	if err := p.Publish(t.Context(), discovered(2)); err != nil {
		t.Fatal(err)
	}
	until(t, "the second message", func() bool { return got.distinct() == 2 })
	closePublisher(t, p)
}
