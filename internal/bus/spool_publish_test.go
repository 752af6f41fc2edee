package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
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

// checkOnce wants each key at least once and no other; a consumer removes by key
// what comes twice.
func (c *collector) checkOnce(t *testing.T, keys []string) {
	t.Helper()
	until(t, fmt.Sprintf("%d keys", len(keys)), func() bool { return c.distinct() >= len(keys) })
	c.mu.Lock()
	defer c.mu.Unlock()
	missing := 0
	for _, key := range keys {
		if c.keys[key] == 0 {
			missing++
		}
	}
	if missing > 0 || len(c.keys) != len(keys) {
		t.Errorf("%d keys came, %d of the %d wanted are missing", len(c.keys), missing, len(keys))
	}
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
	got.checkOnce(t, keyRange(1, 1, n))
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
	collect(t, subscribe(t, c)).checkOnce(t, keyRange(1, 1, n))
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
	got.checkOnce(t, keyRange(1, 1, n))
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
	collect(t, subscribe(t, c)).checkOnce(t, keyRange(1, 1, n))
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
	collect(t, sub).checkOnce(t, keyRange(1, 1, n))
	closePublisher(t, p)
}

// The broker's process is killed again and again under load.
func TestBrokerKilled(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	server := startServerProcess(t, dir, port)
	c := connect(t, serverURL(port), quiet())
	got := collect(t, subscribeSoon(t, c))
	p, spool := spoolPublisher(t, connectLater(t, serverURL(port), quiet()), t.TempDir(), 1, quiet())
	stop, n := publishSteadily(t, p, 3000)
	for round := range 4 {
		before := p.Stats().Published
		until(t, "some events", func() bool { return p.Stats().Published > before+500 })
		server.kill()
		if round == 1 { // away for a while
			left := p.Stats().Pending
			until(t, "a backlog", func() bool { return p.Stats().Pending > left+2000 })
		}
		server = startServerProcess(t, dir, port)
	}
	stop()
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	got.checkOnce(t, keyRange(1, 1, *n))
	closePublisher(t, p)
}

// publishSteadily publishes so many a second until stop is called; then n is how
// many there were.
func publishSteadily(t *testing.T, p *Publisher, perSecond int) (stop func(), n *int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	n = new(int)
	wg.Go(func() {
		for start := time.Now(); ctx.Err() == nil; *n++ {
			if err := p.Publish(ctx, discovered(*n)); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Until(start.Add(time.Duration(*n) * time.Second / time.Duration(perSecond))))
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return stop, n
}

// The broker comes back with an older copy of its store: what it had acknowledged
// since, and no consumer had got, comes again.
func TestBrokerWithAnOlderStore(t *testing.T) {
	parent, port := t.TempDir(), freePort(t)
	dir, copied := parent+"/store", parent+"/copy"
	server := startServerProcess(t, dir, port)
	sub := subscribeSoon(t, connect(t, serverURL(port), quiet())) // and nobody consumes yet
	log := newRecorder()
	p, spool := spoolPublisher(t, connectLater(t, serverURL(port), slog.New(log)), t.TempDir(), 1, quiet())
	acknowledged := func(n uint64) {
		t.Helper()
		publishN(t, p, 1000)
		until(t, "acknowledgements", func() bool { return p.Stats().Published == n })
	}
	acknowledged(1000)
	server.kill()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	server = startServerProcess(t, dir, port)
	acknowledged(2000)
	server.kill()
	if err := errors.Join(os.RemoveAll(dir), os.Rename(copied, dir)); err != nil {
		t.Fatal(err)
	}
	startServerProcess(t, dir, port)
	publishN(t, p, 1000)
	until(t, "the rewind", func() bool { return p.Stats().Rewinds == 1 })
	if !log.has("the broker has lost events that it had acknowledged") {
		t.Error("nothing is said about it")
	}
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	collect(t, sub).checkOnce(t, keyRange(1, 1, 3000))
	closePublisher(t, p)
}

// The same while the sentry's process is another one: it knows from the spool what had
// been acknowledged.
func TestOlderStoreAfterTheSentryRestarts(t *testing.T) {
	parent, port, spoolDir := t.TempDir(), freePort(t), t.TempDir()
	dir, copied := parent+"/store", parent+"/copy"
	server := startServerProcess(t, dir, port)
	sub := subscribeSoon(t, connect(t, serverURL(port), quiet())) // and nobody consumes yet
	server.kill()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	server = startServerProcess(t, dir, port)
	p, spool := spoolPublisher(t, connectLater(t, serverURL(port), quiet()), spoolDir, 1, quiet())
	publishN(t, p, 1000)
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	closePublisher(t, p)
	server.kill()
	if err := errors.Join(os.RemoveAll(dir), os.Rename(copied, dir)); err != nil {
		t.Fatal(err)
	}
	startServerProcess(t, dir, port)
	p, spool = spoolPublisher(t, connectLater(t, serverURL(port), quiet()), spoolDir, 2, quiet())
	publishN(t, p, 1000)
	until(t, "the rewind", func() bool { return p.Stats().Rewinds == 1 })
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	collect(t, sub).checkOnce(t, append(keyRange(1, 1, 1000), keyRange(2, 1, 1000)...))
	closePublisher(t, p)
}

// The sentry's disk is full for a while, and then not.
func TestSpoolOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	port := freePort(t)
	log := newRecorder()
	p, spool := spoolPublisher(t, connectLater(t, serverURL(port), quiet()), dir+"/spool", 1, slog.New(log))
	const n = 10_000
	publishN(t, p, n) // several times what the disk takes
	until(t, "a line about it", func() bool { return log.has("cannot write the spool") && log.has("no space left") })
	if s := spool.Stats(); s.Held == 0 || s.Dropped != 0 || s.Events != n || s.Err == nil {
		t.Errorf("stats %+v", s)
	}
	server := startServer(t, OnPort(port))
	got := collect(t, subscribe(t, connect(t, server.URL(), quiet())))
	got.checkOnce(t, keyRange(1, 1, n)) // what the disk does not take is published all the same
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	server.Close()
	publishN(t, p, n)
	until(t, "the client to notice", func() bool { return !p.conn.Connected() })
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

// What neither disk nor memory takes is dropped, counted, and a gap in the keys.
func TestSpoolDropsWhenNothingTakesIt(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	s.mu.Lock()
	s.cfg.Dir = "/dev/null" // where no segment can be made
	s.mu.Unlock()
	big := longVisit(14_000) // 100 kB
	accepted := 0
	var err error
	for err == nil && accepted < 1000 {
		if err = s.Publish(t.Context(), big); err == nil {
			accepted++
		}
	}
	if !errors.Is(err, ErrSpoolFull) || accepted < heldMax/200_000 || s.Stats().Dropped != 1 {
		t.Fatalf("error %v after %d events, %d dropped", err, accepted, s.Stats().Dropped)
	}
	taken := takeAll(t, s)
	if len(taken) != accepted {
		t.Errorf("%d events come out, want %d", len(taken), accepted)
	}
	s.settle(taken[len(taken)-1], streamMark{})
	s.flush() // forgets what is acknowledged
	if err := s.Publish(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	if got := keysOf(takeAll(t, s)); len(got) != 1 || got[0] != "s-1-"+strconv.Itoa(accepted+2) {
		t.Errorf("after the dropped event comes %v", got)
	}
	if err := s.close(); err == nil || !strings.Contains(err.Error(), "1 events are lost") {
		t.Errorf("close hides that an event is lost: %v", err)
	}
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
