package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestPublishAndSubscribe(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	sub := subscribe(t, c)
	p := publishDirectly(t, c, 7)
	const n = 3000 // three windows
	for i := range n {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	closePublisher(t, p)
	if s := p.Stats(); s.Published != n || p.pending() != 0 || s.Dropped != 0 {
		t.Errorf("stats %+v, %d pending", s, p.pending())
	}
	got := collect(t, sub)
	until(t, "all messages", func() bool { return got.distinct() == n })
	for i := range n {
		if key := fmt.Sprintf("s-7-%d", i+1); got.keys[key] != 1 {
			t.Errorf("%s was delivered %d times", key, got.keys[key])
		}
	}
	until(t, "no lag", func() bool {
		lag, err := sub.Lag(t.Context())
		return err == nil && lag == Lag{}
	})
	if err := p.Publish(t.Context(), discovered(0)); !errors.Is(err, errClosed) {
		t.Errorf("publish after close: %v", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestEventsWaitForAConsumer(t *testing.T) {
	log := newRecorder()
	c := connect(t, startServer(t).URL(), slog.New(log))
	p := publishDirectly(t, c, 1)
	if err := p.Publish(t.Context(), discovered(0)); err != nil {
		t.Fatal(err)
	}
	until(t, "a line about it", func() bool { return log.has("no consumer") })
	n := 1
	var err error
	for ; err == nil && n <= 3*publishWindow; n++ {
		full, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err = p.Publish(full, discovered(n))
		cancel()
	}
	n-- // that one was not accepted
	if !errors.Is(err, context.DeadlineExceeded) || n < publishWindow {
		t.Errorf("after %d events: %v", n, err)
	}
	if s := p.Stats(); s.Published != 0 || p.pending() != n || !s.Held {
		t.Errorf("stats before the consumer: %+v, %d pending", s, p.pending())
	}
	got := collect(t, subscribe(t, c))
	until(t, "all messages", func() bool { return got.distinct() == n })
	closePublisher(t, p)
}

func TestCloseSaysWhatIsLost(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	p := publishDirectly(t, c, 1)
	if err := p.Publish(t.Context(), discovered(1)); err != nil {
		t.Fatal(err)
	}
	until(t, "the check for consumers", func() bool { return p.Stats().Held })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := p.Close(ctx)
	if !errors.Is(err, errNotPublished) || !strings.Contains(err.Error(), "1 to") || !strings.Contains(err.Error(), "no consumer") {
		t.Errorf("error %v", err)
	}
}

func TestBrokerRestartLosesNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	// Each run of the server is a process: nats-server leaves a goroutine behind that still
	// writes to the store after its shutdown.
	dir, port := t.TempDir(), freePort(t)
	server := startServerProcess(t, dir, port)
	c := connect(t, serverURL(port), discardLog())
	// What was on its way to the subscriber when the broker stopped is redelivered only
	// after AckWait.
	sub, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: "consumer-test", AckWait: 2 * time.Second, MaxAckPending: 100000})
	if err != nil {
		t.Fatal(err)
	}
	got := collect(t, sub)
	p := publishDirectly(t, c, 1)
	const n = 4 * publishWindow
	published := make(chan struct{})
	go func() {
		defer close(published)
		for i := range n {
			if err := p.Publish(t.Context(), discovered(i)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for round := range 2 {
		until(t, "some events", func() bool { return p.Stats().Published > uint64(round*publishWindow) })
		server.terminate(t)
		server = startServerProcess(t, dir, port)
	}
	<-published
	closePublisher(t, p)
	until(t, "all messages", func() bool { return got.distinct() == n })
}

// The client may report one failure twice, and an acknowledgement after it.
func TestEachEventCountsOnce(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	p := publishDirectly(t, c, 1)
	if err := p.Publish(t.Context(), discovered(1)); err != nil {
		t.Fatal(err)
	}
	until(t, "the worker to hold the event", func() bool { return p.Stats().Held })
	p.mu.Lock()
	e := p.window.flight[0]
	e.state = sent
	p.window.queued, p.window.sent = nil, 1
	p.mu.Unlock()
	p.failed(e.msg, nats.ErrDisconnected)
	p.failed(e.msg, nats.ErrDisconnected)
	p.mu.Lock()
	if s, w := p.stats, p.window; s.Retried != 1 || len(w.byMsg) != 1 || len(w.queued) != 1 || w.sent != 0 {
		t.Errorf("after two reports of one failure: %+v, %d queued", s, len(w.queued))
	}
	p.mu.Unlock()
	p.acked(e.msg, 1, false)
	p.acked(e.msg, 1, false)
	if s := p.Stats(); s.Published != 1 || len(p.window.byMsg) != 0 {
		t.Errorf("after two acknowledgements: %+v", s)
	}
	closePublisher(t, p)
}
