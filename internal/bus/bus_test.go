package bus

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

func TestMain(m *testing.M) {
	switch os.Getenv("BUS_TEST_PROCESS") { // see process_test.go
	case "server":
		serveUntilSignal()
	case "sentry":
		publishUntilSignal()
	}
	// The server's account resolver and the client's callback queue end some time
	// after their Close returned; goleak waits for them.
	// A stream that is made while its server shuts down is never closed, by nats-server.
	const natsServer = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(natsServer+".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction(natsServer+".(*msgBlock).flushLoop"),
		goleak.IgnoreAnyFunction(natsServer+"/ats.Register.func1"))
}

// patience bounds every wait of these tests: the client notices a pull that a broker lost
// in a restart after half a minute.

const patience = 90 * time.Second

// recorder keeps the messages of a log.

type recorder struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func newRecorder() *recorder { return &recorder{Handler: slog.DiscardHandler} }

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }

func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	line := rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	return nil
}

func (r *recorder) has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		if strings.Contains(l, text) {
			return true
		}
	}
	return false
}

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// until waits for a condition.

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out after %v waiting for: %s", patience, what)
		}
	}
}

func startServer(t *testing.T, opts ...func(*server.Options)) *Embedded {
	t.Helper()
	e, err := startEmbedded(t.TempDir(), discardLog(), append([]func(*server.Options){listening}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

const embeddedHost = "127.0.0.1"

// listening has the embedded server listen on a free port.
func listening(o *server.Options) {
	o.DontListen, o.Host, o.Port = false, embeddedHost, server.RANDOM_PORT
}

// URL is the address of a server that listens.
func (e *Embedded) URL() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.srv.ClientURL()
}

func connect(t *testing.T, url string, log *slog.Logger) *Conn {
	t.Helper()
	c, err := Connect(t.Context(), Options{URL: url, Name: "test", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) // before the server's
	return c
}

func discovered(n int) *event.PeerDiscovered {
	return &event.PeerDiscovered{
		Common: event.Common{Network: "n", CrawlerID: "c", Timestamp: 1763800000000},
		ENR:    "enr:-", ID: "16U", NodeID: eth2.NodeID{1}, Seq: uint64(n),
	}
}

func subscribe(t *testing.T, c *Conn) *Subscription {
	t.Helper()
	s, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: "consumer-test", AckWait: time.Minute, MaxAckPending: 100000})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// collector runs a subscription, acks everything and counts deliveries by key.

type collector struct {
	mu        sync.Mutex
	keys      map[string]int
	first     map[string]uint64 // a hash of what came under the key first
	differing int               // deliveries with other bytes under a known key
}

func collect(t *testing.T, s *Subscription) *collector {
	t.Helper()
	c := &collector{keys: map[string]int{}, first: map[string]uint64{}}
	seed := maphash.MakeSeed()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(_ context.Context, m Message) {
			c.mu.Lock()
			c.keys[m.Key]++
			sum := maphash.Bytes(seed, append([]byte(m.Subject+" "), m.Data...))
			if c.keys[m.Key] == 1 {
				c.first[m.Key] = sum
			} else if c.first[m.Key] != sum {
				c.differing++
			}
			c.mu.Unlock()
			m.Ack() // a lost ack only delivers again
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *collector) distinct() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.keys)
}

func closePublisher(t *testing.T, p interface{ Close(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Error(err)
	}
}

func portOf(t *testing.T, e *Embedded) int {
	t.Helper()
	var port int
	if _, err := fmt.Sscanf(e.URL(), "nats://127.0.0.1:%d", &port); err != nil {
		t.Fatalf("URL %q: %v", e.URL(), err)
	}
	return port
}

// onPort has the embedded server listen on that port, not on a free one.
func onPort(port int) func(*server.Options) {
	return func(o *server.Options) {
		listening(o)
		o.Port = port
	}
}

// keyedPublisher is a DirectPublisher that numbers events as a sentry does.
type keyedPublisher struct {
	*DirectPublisher
	key event.Key // the last one used
}

func publishDirectly(t testing.TB, c *Conn, boot uint64) *keyedPublisher {
	t.Helper()
	p, err := NewDirectPublisher(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return &keyedPublisher{p, event.Key{Sentry: "s", Boot: boot}}
}

func (p *keyedPublisher) Publish(ctx context.Context, e event.Event) error {
	data, err := event.Encode(e)
	if err != nil {
		return err
	}
	p.key.Counter++
	return p.DirectPublisher.Publish(ctx, event.Encoded{Subject: e.Subject(), Key: p.key.String(), Time: time.Now(), Data: data})
}

// pending counts the events that are not acknowledged.
func (p *keyedPublisher) pending() int {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	return len(p.queue.events)
}
