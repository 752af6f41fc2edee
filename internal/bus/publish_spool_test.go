package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/spool"
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

func spoolPublisher(t testing.TB, c *Conn, dir string, boot uint64, log *slog.Logger) (*spooled, *spool.Spool) {
	t.Helper()
	s, err := spool.Open(spool.Config{Dir: dir, Sentry: "s", Boot: boot, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return publishFrom(t, c, s, false), s
}

func publishFrom(t testing.TB, c *Conn, s *spool.Spool, withoutConsumers bool) *spooled {
	t.Helper()
	p, err := NewPublisher(c, PublisherConfig{Queue: s, Added: s.Added(), Mark: s.Mark(), WithoutConsumers: withoutConsumers})
	if err != nil {
		t.Fatal(err)
	}
	return &spooled{p, s}
}

// spooled is a publisher and the spool that it publishes from.
type spooled struct {
	*Publisher
	spool *spool.Spool
}

func (s *spooled) Publish(ctx context.Context, e event.Event) error { return s.spool.Publish(ctx, e) }

func openSpool(t testing.TB, dir string, boot int) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Config{Dir: dir, Sentry: "s", Boot: uint64(boot), MaxBytes: spool.MinSize, Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeSpool(t testing.TB, s *spool.Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// takeAll returns what the spool returns.
func takeAll(t testing.TB, s *spool.Spool) (out []event.Encoded) {
	t.Helper()
	for {
		events, _, err := s.Take(100)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return out
		}
		out = append(out, events...)
	}
}

func keysOf(events []event.Encoded) (keys []string) {
	for _, e := range events {
		keys = append(keys, e.Key)
	}
	return keys
}

func keyRange(boot, from, to int) (keys []string) {
	for i := from; i <= to; i++ {
		keys = append(keys, fmt.Sprintf("s-%d-%d", boot, i))
	}
	return keys
}

func publishN(t testing.TB, p *spooled, n int) {
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

// subscribeSoon is a subscription whose unanswered messages are redelivered soon: a
// killed server forgets what was in flight.
func subscribeSoon(t *testing.T, c *Conn) *Subscription {
	t.Helper()
	s, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: "consumer-test", AckWait: 2 * time.Second, MaxAckPending: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBrokerDownAtTheStart(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	log := newRecorder()
	p, spool := spoolPublisher(t, connectLater(t, serverURL(port), slog.New(log)), t.TempDir(), 1, slog.New(log))
	const n = 12_000
	publishN(t, p, n) // does not wait
	until(t, "lines about it", func() bool {
		return log.has("cannot reach NATS, retrying") && log.has("events are waiting to be published")
	})
	if s, n0 := p.Stats(), spool.Stats().Events; n0 != n || s.Published != 0 || s.Oldest.IsZero() {
		t.Errorf("%d events, stats %+v", n0, s)
	}
	server := startServer(t, onPort(port))
	got := collect(t, subscribe(t, connect(t, server.URL(), discardLog())))
	got.checkAll(t, keyRange(1, 1, n))
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	if s := p.Stats(); s.Published != n || !s.Oldest.IsZero() {
		t.Errorf("stats %+v", s)
	}
	closePublisher(t, p)
}

// What an earlier version has left in a spool is published, from the beginning, since
// the mark there is of another stream.
func TestSpoolOfAnEarlierVersionIsPublished(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	got := collect(t, subscribe(t, c))
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../spool/testdata/before-split")); err != nil {
		t.Fatal(err)
	}
	p, kept := spoolPublisher(t, c, dir, 3, discardLog())
	got.checkAll(t, append(keyRange(1, 1, 12), keyRange(2, 1, 3)...))
	closePublisher(t, p)
	if s, left := p.Stats(), kept.Stats().Events; s.Rewinds != 1 || left != 0 {
		t.Errorf("%d events, stats %+v", left, s)
	}
}

// A nats-server that ends in the middle of an atomic batch writes the rest of it at its
// next start before it knows its consumers: with Interest retention it drops those events,
// and answers later that it has them (docs/adr/0018-plain-publishing.md).
func TestNoAtomicBatches(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	if _, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: event.Stream, Subjects: event.Subjects(), Retention: jetstream.InterestPolicy, AllowAtomicPublish: true,
	}); err != nil {
		t.Fatal(err)
	}
	var batched atomic.Int64
	spy, err := c.nc.Subscribe("events.>", func(m *nats.Msg) {
		if m.Header.Get("Nats-Batch-Id") != "" {
			batched.Add(1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer spy.Unsubscribe()
	p, _ := spoolPublisher(t, c, t.TempDir(), 1, discardLog())
	const n = 5000
	publishN(t, p, n)
	collect(t, subscribe(t, c)).checkAll(t, keyRange(1, 1, n))
	closePublisher(t, p)
	if s := p.Stats(); batched.Load() != 0 || s.Published != n {
		t.Errorf("%d messages of batches, stats %+v", batched.Load(), s)
	}
}

// The stream knows one event of a backlog already.
func TestBacklogWithAKnownEvent(t *testing.T) {
	server := startServer(t)
	c := connect(t, server.URL(), discardLog())
	sub := subscribe(t, c)
	dir := t.TempDir()
	spool := openSpool(t, dir, 1)
	const n = 4000
	for i := range n {
		if err := spool.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	known := newWindow()
	known.add(takeAll(t, spool)[500:501], "")
	if _, err := c.js.PublishMsg(t.Context(), known.flight[0].msg); err != nil {
		t.Fatal(err)
	}
	closeSpool(t, spool)
	p, _ := spoolPublisher(t, c, dir, 2, discardLog())
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
	p, kept := spoolPublisher(t, c, dir, 1, discardLog())
	const n = 2500
	publishN(t, p, n)
	until(t, "a line about it", func() bool { return log.has("no consumer for [events.metadata_received") })
	// It does not wait at a stop for what only a consumer could change.
	closePublisher(t, p)
	if s, left := p.Stats(), kept.Stats().Events; !s.Held || s.Published != 0 || left != n {
		t.Errorf("%d events, stats %+v", left, s)
	}
	p, _ = spoolPublisher(t, c, dir, 2, discardLog())
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
	c := connect(t, startServer(t).URL(), discardLog())
	s := openSpool(t, t.TempDir(), 1)
	p := publishFrom(t, c, s, true)
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
	p, _ := spoolPublisher(t, c, t.TempDir(), 1, discardLog())
	const n = 3000
	publishN(t, p, n)
	until(t, "a line about it", func() bool { return log.has("maximum bytes exceeded") })
	collect(t, sub).checkAll(t, keyRange(1, 1, n))
	closePublisher(t, p)
}

// SIGTERM and SIGKILL of the sentry under load, in turns.
func TestSentryStoppedUnderLoad(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	server := startServer(t)
	c := connect(t, server.URL(), discardLog())
	// What a server that stood still has sent to nobody comes again after AckWait.
	sub, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: "consumer-test", AckWait: 10 * time.Second, MaxAckPending: 100000})
	if err != nil {
		t.Fatal(err)
	}
	got := collect(t, sub)
	dir := t.TempDir()
	var printed []string
	for boot := 1; boot <= 6; boot++ {
		s := startSentryProcess(t, dir, server.URL(), boot, 5000)
		until(t, "some events", func() bool { return s.n.Load() > 3000 })
		if boot%2 == 0 {
			s.cmd.Process.Signal(syscall.SIGTERM)
		} else {
			s.cmd.Process.Kill()
		}
		printed = append(printed, s.published(t)...)
		if err := s.cmd.Wait(); boot%2 == 0 && err != nil {
			text, _ := os.ReadFile(s.stderr)
			t.Errorf("SIGTERM: %v\n%s", err, text)
		}
	}
	until(t, "every key", func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		for _, key := range printed {
			if got.keys[key] == 0 {
				return false
			}
		}
		return true
	})
	if n := got.distinct(); n > len(printed)+3 { // three kills between write and print
		t.Errorf("%d keys came, %d were published", n, len(printed))
	}
}

// The sentry's disk is full for a while, and then not.
func TestSpoolOnAFullDisk(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir := t.TempDir()
	switch err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); {
	case errors.Is(err, syscall.EPERM): // no root, or a container that may not
		t.Skipf("cannot mount a small disk: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	port := freePort(t)
	log := newRecorder()
	p, spool := spoolPublisher(t, connectLater(t, serverURL(port), discardLog()), dir+"/spool", 1, slog.New(log))
	const n = 10_000
	publishN(t, p, n) // several times what fits on the disk
	until(t, "a line about it", func() bool { return log.has("cannot write the spool") && log.has("no space left") })
	if s := spool.Stats(); s.Held == 0 || s.Dropped != 0 || s.Events != n || s.Err == nil {
		t.Errorf("stats %+v", s)
	}
	server := startServer(t, onPort(port))
	got := collect(t, subscribe(t, connect(t, server.URL(), discardLog())))
	got.checkAll(t, keyRange(1, 1, n)) // what cannot be written is still published
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	server.Close()
	publishN(t, p, n)
	until(t, "the client to notice", func() bool { return !p.conn.nc.IsConnected() })
	if s := spool.Stats(); s.Held == 0 || s.Dropped != 0 {
		t.Errorf("the disk is not full: %+v", s)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	until(t, "room on the disk", func() bool { s := spool.Stats(); return s.Held == 0 && s.Err == nil })
	closePublisher(t, p)
	again := openSpool(t, dir+"/spool", 2)
	defer closeSpool(t, again)
	kept := map[string]bool{}
	for _, key := range keysOf(takeAll(t, again)) {
		kept[key] = true
	}
	for _, key := range keyRange(1, n+1, 2*n) {
		if !kept[key] {
			t.Fatalf("%s is not on the disk", key)
		}
	}
}

// What Publish has returned for survives SIGKILL at any time.
func TestSpoolSurvivesKills(t *testing.T) {
	dir := t.TempDir()
	var printed []string
	for boot := 1; boot <= 5; boot++ {
		p := startSentryProcess(t, dir, "nats://127.0.0.1:1", boot, 20_000)
		until(t, "some events", func() bool { return p.n.Load() > int64(100*boot) })
		p.cmd.Process.Kill()
		printed = append(printed, p.published(t)...)
		p.kill()
	}
	s := openSpool(t, dir, 9)
	defer closeSpool(t, s)
	kept := map[string]int{}
	for _, key := range keysOf(takeAll(t, s)) {
		kept[key]++
	}
	for _, key := range printed {
		if kept[key] != 1 {
			t.Fatalf("%s is in the spool %d times, want once", key, kept[key])
		}
	}
	// At most the one event that was written and not printed, each time.
	if len(kept) > len(printed)+5 {
		t.Errorf("%d events in the spool, %d published", len(kept), len(printed))
	}
}
