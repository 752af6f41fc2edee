package bus

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestRestartedConsumerHasTheSameDurable(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	sub := subscribe(t, c)
	p := publishDirectly(t, c, 1)
	for i := range 10 {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	closePublisher(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	acked := 0
	if err := sub.Run(ctx, func(_ context.Context, m Message) {
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
	other := connect(t, c.nc.ConnectedUrl(), discardLog())
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
	c := connect(t, startServer(t).URL(), discardLog())
	if _, err := c.ensureStream(t.Context()); err != nil {
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
	c := connect(t, startServer(t).URL(), discardLog())
	sub := subscribe(t, c)
	got := collect(t, sub)
	p := publishDirectly(t, c, 1)
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

// A handler that takes longer than the drain must not be called, nor be running,
// after Run has returned: the consumer closes what it writes to then.
func TestNoMessageAfterRun(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	sub := subscribe(t, c)
	p := publishDirectly(t, c, 1)
	for i := range 20 {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	closePublisher(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	entered, release, done := make(chan struct{}, 20), make(chan struct{}), make(chan error, 1)
	var running, ended atomic.Bool
	go func() {
		err := sub.Run(ctx, func(context.Context, Message) {
			if ended.Load() {
				t.Error("a message after Run")
			}
			running.Store(true)
			entered <- struct{}{}
			<-release
			running.Store(false)
		})
		ended.Store(true)
		if running.Load() {
			t.Error("Run returned while a message was handled")
		}
		done <- err
	}()
	<-entered
	cancel()
	select {
	case <-done:
		t.Error("Run did not wait for the handler")
	case <-time.After(drainTimeout + 50*time.Millisecond): // past the drain
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	c.Close() // waits for nothing: what is left of the client's goroutine must do no harm
}
