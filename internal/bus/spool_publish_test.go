package bus

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// connectLater connects in the background.
func connectLater(t testing.TB, url string, log *slog.Logger) *Conn {
	t.Helper()
	c, err := Connect(context.Background(), Options{URL: url, Name: "test", InBackground: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func spoolPublisher(t testing.TB, c *Conn, dir string, boot uint64, log *slog.Logger) (*Publisher, *Spool) {
	t.Helper()
	s, err := OpenSpool(SpoolConfig{Dir: dir, Sentry: "s", Boot: boot, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPublisher(c, s, PublisherOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p, s
}

func publishN(t testing.TB, p *Publisher, n int) {
	t.Helper()
	for i := range n {
		if err := p.Publish(context.Background(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// checkAll wants each key at least once and no other. What came more than once must have
// come with the same bytes, so that a consumer may drop it by its key.
func (c *collector) checkAll(t *testing.T, keys []string) {
	t.Helper()
	until(t, fmt.Sprintf("%d keys", len(keys)), func() bool { return c.distinct() >= len(keys) })
	c.mu.Lock()
	defer c.mu.Unlock()
	missing, again := 0, 0
	for _, key := range keys {
		if c.keys[key] == 0 {
			missing++
		} else {
			again += c.keys[key] - 1
		}
	}
	if missing > 0 || len(c.keys) != len(keys) || c.differing > 0 {
		t.Errorf("%d keys came, %d of the %d wanted are missing; %d deliveries were repeated, %d with other bytes", len(c.keys), missing, len(keys), again, c.differing)
	}
	t.Logf("%d events, %d deliveries repeated", len(keys), again)
}

// subscribeSoon is a subscription whose unanswered messages come again soon: a
// killed server forgets what was under way.
func subscribeSoon(t *testing.T, c *Conn) *Subscription {
	t.Helper()
	s, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: "consumer-test", AckWait: 2 * time.Second, MaxAckPending: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBrokerDownAtTheStart(t *testing.T) {
	port := freePort(t)
	log := newRecorder()
	p, spool := spoolPublisher(t, connectLater(t, serverURL(port), slog.New(log)), t.TempDir(), 1, slog.New(log))
	const n = 12_000
	publishN(t, p, n) // waits for nobody
	until(t, "lines about it", func() bool { return log.has("cannot reach NATS, retrying") && log.has("events wait") })
	if s := p.Stats(); s.Pending != n || s.Published != 0 || s.Oldest.IsZero() {
		t.Errorf("stats %+v", s)
	}
	server := startServer(t, OnPort(port))
	got := collect(t, subscribe(t, connect(t, server.URL(), quiet())))
	got.checkAll(t, keyRange(1, 1, n))
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	if s := p.Stats(); s.Batches == 0 || s.Published != n || !s.Oldest.IsZero() {
		t.Errorf("no batches for a backlog, or wrong counts: %+v", s)
	}
	closePublisher(t, p)
}

func TestNoBatchesWhereTheStreamTakesNone(t *testing.T) {
	server := startServer(t)
	c := connect(t, server.URL(), quiet())
	if _, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: event.Stream, Subjects: event.Subjects(), Retention: jetstream.InterestPolicy,
	}); err != nil {
		t.Fatal(err)
	}
	p, _ := spoolPublisher(t, c, t.TempDir(), 1, quiet())
	const n = 5000
	publishN(t, p, n)
	collect(t, subscribe(t, c)).checkAll(t, keyRange(1, 1, n))
	closePublisher(t, p)
	if s := p.Stats(); s.Batches != 0 || s.Published != n {
		t.Errorf("stats %+v", s)
	}
}

// A batch that holds an event that the stream knows is refused as a whole.
func TestRefusedBatchGoesThroughTheWindow(t *testing.T) {
	server := startServer(t)
	c := connect(t, server.URL(), quiet())
	sub := subscribe(t, c)
	dir := t.TempDir()
	spool := openSpool(t, dir, 1)
	const n = 4000
	fillSpool(t, spool, n)
	known := takeAll(t, spool)[500]
	if _, err := c.js.PublishMsg(t.Context(), known.msg); err != nil {
		t.Fatal(err)
	}
	closeSpool(t, spool)
	p, _ := spoolPublisher(t, c, dir, 2, quiet())
	got := collect(t, sub)
	got.checkAll(t, keyRange(1, 1, n))
	closePublisher(t, p)
	if s := p.Stats(); s.Duplicates != 1 || s.Published != n {
		t.Errorf("stats %+v", s)
	}
}

func TestSpoolWaitsForConsumers(t *testing.T) {
	log := newRecorder()
	c := connect(t, startServer(t).URL(), slog.New(log))
	dir := t.TempDir()
	p, _ := spoolPublisher(t, c, dir, 1, quiet())
	const n = 2500
	publishN(t, p, n)
	until(t, "a line about it", func() bool { return log.has("no consumer for [events.metadata_received") })
	// It does not wait at a stop for what only a consumer could change.
	closePublisher(t, p)
	if s := p.Stats(); !s.Held || s.Published != 0 || s.Pending != n {
		t.Errorf("stats %+v", s)
	}
	p, _ = spoolPublisher(t, c, dir, 2, quiet())
	// One that takes only one subject would let the others be dropped.
	if _, err := c.js.CreateConsumer(t.Context(), event.Stream, jetstream.ConsumerConfig{Durable: "visits", FilterSubject: event.SubjectVisitEnded, AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	until(t, "a line about the others", func() bool {
		return log.has("no consumer for [events.metadata_received events.peer_discovered]")
	})
	collect(t, subscribe(t, c)).checkAll(t, keyRange(1, 1, n))
	closePublisher(t, p)
}

func TestPublishWithoutConsumers(t *testing.T) {
	c := connect(t, startServer(t).URL(), quiet())
	s := openSpool(t, t.TempDir(), 1)
	p, err := NewPublisher(c, s, PublisherOptions{WithoutConsumers: true})
	if err != nil {
		t.Fatal(err)
	}
	publishN(t, p, 10)
	until(t, "acknowledgements", func() bool { return p.Stats().Published == 10 })
	closePublisher(t, p)
}

// The stream is full for a while.
func TestFullStreamKeepsEventsInTheSpool(t *testing.T) {
	log := newRecorder()
	c := connect(t, startServer(t).URL(), slog.New(log))
	cfg := jetstream.StreamConfig{
		Name: event.Stream, Subjects: event.Subjects(), Retention: jetstream.InterestPolicy,
		Discard: jetstream.DiscardNew, MaxBytes: 100_000, AllowAtomicPublish: true,
	}
	if _, err := c.js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	sub := subscribe(t, c)
	p, _ := spoolPublisher(t, c, t.TempDir(), 1, quiet())
	const n = 3000
	publishN(t, p, n)
	until(t, "a line about it", func() bool { return log.has("maximum bytes exceeded") })
	collect(t, sub).checkAll(t, keyRange(1, 1, n))
	closePublisher(t, p)
}

// SIGTERM and SIGKILL of the sentry under load, in turns.
func TestSentryStoppedUnderLoad(t *testing.T) {
	server := startServer(t)
	c := connect(t, server.URL(), quiet())
	got := collect(t, subscribe(t, c))
	dir := t.TempDir()
	var told []string
	for boot := 1; boot <= 6; boot++ {
		s := startSentryProcess(t, dir, server.URL(), boot, 5000)
		until(t, "some events", func() bool { return s.n.Load() > 3000 })
		if boot%2 == 0 {
			s.cmd.Process.Signal(syscall.SIGTERM)
		} else {
			s.cmd.Process.Kill()
		}
		told = append(told, s.published(t)...)
		if err := s.cmd.Wait(); boot%2 == 0 && err != nil {
			text, _ := os.ReadFile(s.stderr)
			t.Errorf("SIGTERM: %v\n%s", err, text)
		}
	}
	until(t, "every key", func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		for _, key := range told {
			if got.keys[key] == 0 {
				return false
			}
		}
		return true
	})
	if n := got.distinct(); n > len(told)+3 { // three kills between write and word of it
		t.Errorf("%d keys came, %d were published", n, len(told))
	}
}
