package bus

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// A subscription that is stopped while messages come in leaves none unanswered, which
// would be redelivered after AckWait only.
func TestStoppedUnderLoad(t *testing.T) {
	t.Parallel()
	c := connect(t, startServer(t).URL(), discardLog())
	sub, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: "consumer-test", AckWait: time.Minute, MaxAckPending: 100000, grace: patience})
	if err != nil {
		t.Fatal(err)
	}
	publishing, stop := context.WithCancel(t.Context())
	p, done := publishDirectly(t, c, 1), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; p.Publish(publishing, discovered(i)) == nil; i++ {
			if i%50 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for round := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		if err := sub.Run(ctx, func(_ context.Context, m Message) {
			if n++; n == 50+37*round {
				cancel()
			}
			m.Ack()
		}); err != nil {
			t.Fatal(err)
		}
		var lag Lag
		until(t, "the server's count of acknowledgements", func() bool {
			var err error
			lag, err = sub.Lag(t.Context())
			return err == nil && lag.AckPending == 0
		})
	}
	stop()
	<-done
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	p.Close(ended) // what is left is of no interest
}

// What could not be handled in time is given back, not left to AckWait.
func TestGivenBackAfterTheDrain(t *testing.T) {
	t.Parallel()
	c := connect(t, startServer(t).URL(), discardLog())
	sub := subscribe(t, c)
	p := publishDirectly(t, c, 1)
	const n = 50
	for i := range n {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	closePublisher(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	handled := 0
	if err := sub.Run(ctx, func(_ context.Context, m Message) {
		if handled++; handled == 1 {
			cancel()
			time.Sleep(drainTimeout + 100*time.Millisecond)
		}
		m.Ack()
	}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	got := collect(t, sub)
	until(t, "the rest", func() bool { return got.distinct() == n-handled })
	if handled == n || time.Since(began) > sub.AckWait()/2 {
		t.Errorf("%d handled before the stop, the rest came after %v", handled, time.Since(began))
	}
}

// The lag is the broker's own count, and a durable that is paused there is a state.
func TestPausedDurableIsStalled(t *testing.T) {
	t.Parallel()
	log := newRecorder()
	c := connect(t, startServer(t).URL(), slog.New(log))
	sub := subscribe(t, c)
	got := collect(t, sub)
	until(t, "progress", func() bool { return sub.Progress().Ready() == nil })
	if _, err := c.js.PauseConsumer(t.Context(), c.stream, "consumer-test", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	p := publishDirectly(t, c, 1)
	const n = 18
	for i := range n {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	closePublisher(t, p)
	until(t, "the stall", func() bool { now := sub.Progress(); return now.Pending == n && now.Ready() != nil })
	if !log.has("paused on the server") {
		t.Error("no line about it")
	}
	if _, err := c.js.ResumeConsumer(t.Context(), c.stream, "consumer-test"); err != nil {
		t.Fatal(err)
	}
	until(t, "all messages", func() bool { return got.distinct() == n && sub.Progress() == Progress{Known: true} })
}

func TestStalledReasons(t *testing.T) {
	s := &Subscription{conn: &Conn{stream: "EVENTS"}, opts: SubscribeOptions{Durable: "d"}}
	for _, tt := range []struct {
		name    string
		info    jetstream.ConsumerInfo
		busy    bool
		quiet   time.Duration
		stalled bool
	}{
		{"idle", jetstream.ConsumerInfo{}, false, time.Hour, false},
		{"paused and idle", jetstream.ConsumerInfo{Paused: true}, false, time.Hour, false},
		{"paused", jetstream.ConsumerInfo{Paused: true, NumPending: 1}, false, 0, true},
		{"slow to come", jetstream.ConsumerInfo{NumPending: 1}, false, stalledAfter - 1, false},
		{"nothing comes", jetstream.ConsumerInfo{NumPending: 1}, false, stalledAfter, true},
		{"a commit takes long", jetstream.ConsumerInfo{NumPending: 1}, true, busyAfter - 1, false},
		{"the disk hangs", jetstream.ConsumerInfo{NumPending: 1}, true, busyAfter, true},
		{"the disk hangs and nothing waits", jetstream.ConsumerInfo{}, true, busyAfter, true},
	} {
		if err := s.stalled(&tt.info, tt.busy, tt.quiet); (err != nil) != tt.stalled {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// The broker's limits: a stream of less than the default, and words for what only an
// option changes.
func TestHostedBroker(t *testing.T) {
	t.Run("max_ack_pending", func(t *testing.T) {
		c := connect(t, startServer(t, func(o *server.Options) { o.JetStreamLimits.MaxAckPending = 1000 }).URL(), discardLog())
		_, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: "d", AckWait: time.Minute, MaxAckPending: 500_000})
		if !errors.Is(err, ErrAckLimit) {
			t.Errorf("error %v", err)
		}
		if _, err := c.js.Stream(t.Context(), c.stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("a stream was left behind: %v", err)
		}
	})
	t.Run("disk_max_stream_bytes", func(t *testing.T) {
		// Not what the disk has room for.
		e := startServer(t, func(o *server.Options) { o.JetStreamMaxStore = 20 << 30 })
		limits := server.JetStreamAccountLimits{MaxMemory: -1, MaxStore: 10 << 30, MaxStreams: -1, MaxConsumers: -1, StoreMaxStreamBytes: 100 << 20}
		if err := e.srv.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": limits}); err != nil {
			t.Fatal(err)
		}
		c := connect(t, e.URL(), discardLog())
		s, err := c.ensureStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := s.CachedInfo().Config.MaxBytes; n > 100<<20 || n < streamMinBytes {
			t.Errorf("max bytes %d", n)
		}
	})
}
