package bus

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// publishSizes puts messages of the sizes into a stream that somebody else made.
func publishSizes(t *testing.T, c *Conn, sizes ...int) {
	t.Helper()
	if _, err := c.js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: event.Stream, Subjects: event.Subjects()}); err != nil {
		t.Fatal(err)
	}
	for _, n := range sizes {
		if _, err := c.js.Publish(t.Context(), event.SubjectVisitEnded, bytes.Repeat([]byte{'x'}, n)); err != nil {
			t.Fatal(err)
		}
	}
}

// Messages that wait for a slow handler take a bounded amount of memory, however large
// they are.
func TestWaitingMessagesAreBounded(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	const size, count = 1_000_000, 60
	sizes := make([]int, count)
	for i := range sizes {
		sizes[i] = size
	}
	publishSizes(t, c, sizes...)
	sub, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: "consumer-test", AckWait: time.Hour, MaxAckPending: 1000})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	release := make(chan struct{})
	handled := 0
	var running sync.WaitGroup
	running.Go(func() {
		if err := sub.Run(ctx, func(_ context.Context, m Message) {
			<-release
			handled++
			m.Ack()
			if handled == count {
				stop()
			}
		}); err != nil {
			t.Error(err)
		}
	})
	most := 0
	for end := time.Now().Add(4 * pullExpiry); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		lag, err := sub.Lag(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, lag.AckPending)
	}
	if most == 0 || most > pullRequests*pullBytes/size {
		t.Errorf("%d messages of %d bytes wait for the handler, want at most %d", most, size, pullRequests*pullBytes/size)
	}
	close(release)
	running.Wait()
	if handled != count {
		t.Errorf("%d handled, want %d", handled, count)
	}
}

// A message that is larger than a request may bring does not end the subscription.
func TestMessageLargerThanARequest(t *testing.T) {
	c := connect(t, startServer(t, func(o *server.Options) { o.MaxPayload, o.MaxPending = 32<<20, 256<<20 }).URL(), discardLog())
	want := []int{10, pullBytes + 1000, pullBytes + 1, 20}
	publishSizes(t, c, want...)
	sub := subscribe(t, c)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	var got []int
	if err := sub.Run(ctx, func(_ context.Context, m Message) {
		got = append(got, len(m.Data))
		m.Ack()
		if len(got) == len(want) {
			stop()
		}
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) || got[1] != want[1] || got[3] != want[3] {
		t.Errorf("received %v, want %v", got, want)
	}
}
