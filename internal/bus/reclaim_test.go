package bus

import (
	"context"
	"testing"
)

// A killed consumer's messages come to the next one long before AckWait, which is
// what it was afterwards.
func TestExclusiveSubscriptionGetsWhatAnotherLeft(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	c := connect(t, server.URL(), discardLog())
	opts := SubscribeOptions{Durable: "consumer-test", AckWait: 10 * patience, MaxAckPending: 10000, Exclusive: true}
	sub, err := c.Subscribe(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	p := publishDirectly(t, c, 1)
	const n = 2000
	for i := range n {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	closePublisher(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	received := 0
	err = sub.Run(ctx, func(context.Context, Message) { // answers nothing, as a killed process
		if received++; received == n {
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Close() // as the kernel does
	other := connect(t, server.URL(), discardLog())
	sub, err = other.Subscribe(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	durable, err := other.js.Consumer(t.Context(), "EVENTS", "consumer-test")
	if err != nil {
		t.Fatal(err)
	}
	if wait := durable.CachedInfo().Config.AckWait; wait != opts.AckWait {
		t.Errorf("ack wait is now %v, want %v", wait, opts.AckWait)
	}
	got := collect(t, sub)
	until(t, "all of them again", func() bool { return got.distinct() == n })
	until(t, "an empty stream", func() bool {
		lag, err := sub.Lag(t.Context())
		return err == nil && lag == Lag{}
	})
	got.mu.Lock()
	defer got.mu.Unlock()
	for key, times := range got.keys {
		if times != 1 {
			t.Errorf("%s came %d times", key, times)
		}
	}
}
