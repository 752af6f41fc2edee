package bus

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATS is killed and comes back without its store, as a container without a volume does:
// sentry and consumer go on by themselves, and say the truth meanwhile.
func TestBrokerComesBackEmpty(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for name, exclusively := range map[string]bool{"exclusive": true, "shared": false} {
		t.Run(name, func(t *testing.T) {
			dir, port := t.TempDir(), freePort(t)
			server := startServerProcess(t, dir, port)
			opts := exclusive("the owner")
			opts.Exclusive = exclusively
			sub, err := connect(t, serverURL(port), discardLog()).Subscribe(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			got := collect(t, sub)
			p, kept := spoolPublisher(t, connectLater(t, serverURL(port), discardLog()), t.TempDir(), 1, discardLog())
			publishN(t, p, 1000)
			until(t, "the first events", func() bool { return got.distinct() == 1000 && sub.Progress().Ready() == nil })
			server.kill()
			until(t, "the truth", func() bool { return sub.Progress().Ready() != nil })
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			startServerProcess(t, dir, port)
			publishN(t, p, 1000)
			got.checkAll(t, keyRange(1, 1, 2000))
			until(t, "every acknowledgement", func() bool { return kept.Stats().Events == 0 })
			until(t, "readiness", func() bool { return sub.Progress().Ready() == nil && sub.Progress().Pending == 0 })
			closePublisher(t, p)
		})
	}
}

// The durable, or the stream, is removed while the handler is busy and no request waits at
// the server, so that nothing says so.
func TestDurableGoesWhileNoRequestWaits(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for name, remove := range map[string]func(c *Conn) error{
		"durable": func(c *Conn) error { return c.js.DeleteConsumer(context.Background(), c.stream, "consumer-test") },
		"stream":  func(c *Conn) error { return c.js.DeleteStream(context.Background(), c.stream) },
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, startServer(t).URL(), discardLog())
			sub, err := c.Subscribe(t.Context(), exclusive("the owner"))
			if err != nil {
				t.Fatal(err)
			}
			p, kept := spoolPublisher(t, c, t.TempDir(), 1, discardLog())
			publishN(t, p, 10)
			busy, release := make(chan struct{}, 1), make(chan struct{})
			var mu sync.Mutex
			keys := map[string]bool{}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- sub.Run(ctx, func(_ context.Context, m Message) {
					notify(busy)
					<-release
					m.Ack()
					mu.Lock()
					defer mu.Unlock()
					keys[m.Key] = true
				})
			}()
			<-busy
			until(t, "no request to wait", func() bool {
				info, err := sub.info(t.Context())
				return err == nil && info.NumWaiting == 0
			})
			if err := remove(c); err != nil {
				t.Fatal(err)
			}
			until(t, "the truth", func() bool { return sub.Progress().Ready() != nil })
			close(release)
			until(t, "the durable", func() bool {
				_, err := sub.info(t.Context())
				return err == nil
			})
			publishN(t, p, 10)
			until(t, "all events", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(keys) == 20 && kept.Stats().Events == 0
			})
			until(t, "readiness", func() bool { return sub.Progress().Ready() == nil })
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			closePublisher(t, p)
		})
	}
}

// A server that takes requests and never answers them is not waited for without end.
func TestRequestsWithoutAnswers(t *testing.T) {
	t.Parallel()
	c := connect(t, startServer(t).URL(), discardLog())
	p := newPuller(c, "none", 10, pullBytes, func(*nats.Msg) {})
	p.subject = "nobody.answers"
	if _, err := c.nc.Subscribe(p.subject, func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := p.run(t.Context(), nil); !errors.Is(err, errLost) {
		t.Errorf("error %v", err)
	}
}

// A stream that this process has created and cannot use is deleted, but not from others.
func TestUnusedStreamIsDeleted(t *testing.T) {
	url := startServer(t).URL()
	c := connect(t, url, discardLog())
	s, err := c.ensureStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "other", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	exists := func() bool {
		_, err := c.js.Stream(t.Context(), c.stream)
		return err == nil
	}
	if err := c.deleteUnused(t.Context()); err != nil || !exists() {
		t.Errorf("used by another: %v, exists %t", err, exists())
	}
	if err := s.DeleteConsumer(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if err := connect(t, url, discardLog()).deleteUnused(t.Context()); err != nil || !exists() {
		t.Errorf("made by another: %v, exists %t", err, exists())
	}
	if err := c.deleteUnused(t.Context()); err != nil || exists() {
		t.Errorf("unused: %v, exists %t", err, exists())
	}
}

// A handler that takes long is not a stream that stands still.
func TestFlow(t *testing.T) {
	long := time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		before            flow
		received, handled uint64
		nonePending       bool
		busy, moved       bool
	}{
		"idle":                {flow{5, 5, long}, 5, 5, true, false, true},
		"nothing comes":       {flow{5, 5, long}, 5, 5, false, false, false},
		"one comes":           {flow{5, 5, long}, 6, 5, false, true, true},
		"it is being handled": {flow{6, 5, long}, 6, 5, false, true, false},
		"and the last one":    {flow{6, 5, long}, 6, 5, true, true, false},
		"it was handled":      {flow{6, 5, long}, 6, 6, false, false, true},
	} {
		now := c.before.next(c.received, c.handled, c.nonePending)
		if now.busy() != c.busy || (now.since != long) != c.moved {
			t.Errorf("%s: busy %t, since %v", name, now.busy(), now.since)
		}
	}
}
