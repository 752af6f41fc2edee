package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The broker's process is killed again and again under load.
func TestBrokerKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir, port := t.TempDir(), freePort(t)
	server := startServerProcess(t, dir, port)
	c := connect(t, serverURL(port), discardLog())
	got := collect(t, subscribeSoon(t, c))
	p, spool := spoolPublisher(t, connectLater(t, serverURL(port), discardLog()), t.TempDir(), 1, discardLog())
	stop, n := publishSteadily(t, p, 3000)
	for round := range 4 {
		before := p.Stats().Published
		until(t, "some events", func() bool { return p.Stats().Published > before+500 })
		server.kill()
		if round == 1 { // away for a while
			left := spool.Stats().Events
			until(t, "a backlog", func() bool { return spool.Stats().Events > left+2000 })
		}
		server = startServerProcess(t, dir, port)
	}
	stop()
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	got.checkAll(t, keyRange(1, 1, *n))
	closePublisher(t, p)
}

// publishSteadily publishes so many a second until stop is called; then n is how
// many there were.
func publishSteadily(t *testing.T, p *spooled, perSecond int) (stop func(), n *int) {
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

// keepCopy kills the server and copies its store.
func keepCopy(t *testing.T, server *process, dir, copied string) {
	t.Helper()
	server.kill()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
}

// goBack kills the server and puts the copy in the place of its store.
func goBack(t *testing.T, server *process, dir, copied string) {
	t.Helper()
	server.kill()
	if err := errors.Join(os.RemoveAll(dir), os.Rename(copied, dir)); err != nil {
		t.Fatal(err)
	}
}

// The broker comes back with an older copy of its store: what it had acknowledged
// since, and no consumer had received, is published again.
func TestBrokerWithAnOlderStore(t *testing.T) {
	t.Parallel()
	parent, port := t.TempDir(), freePort(t)
	dir, copied := parent+"/store", parent+"/copy"
	server := startServerProcess(t, dir, port)
	sub := subscribeSoon(t, connect(t, serverURL(port), discardLog())) // without consuming yet
	log := newRecorder()
	p, spool := spoolPublisher(t, connectLater(t, serverURL(port), slog.New(log)), t.TempDir(), 1, discardLog())
	acknowledged := func() {
		t.Helper()
		publishN(t, p, 1000)
		until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	}
	acknowledged()
	keepCopy(t, server, dir, copied)
	server = startServerProcess(t, dir, port)
	acknowledged() // with a rewind, since the broker was restarted
	goBack(t, server, dir, copied)
	startServerProcess(t, dir, port)
	publishN(t, p, 1000)
	until(t, "the rewind", func() bool { return p.Stats().Rewinds == 2 })
	if !log.has("the broker lost events that it had acknowledged") {
		t.Error("nothing is said about it")
	}
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	collect(t, sub).checkAll(t, keyRange(1, 1, 3000))
	closePublisher(t, p)
}

// The same while the sentry's process is another one: it knows from the spool what had
// been acknowledged.
func TestOlderStoreAfterTheSentryRestarts(t *testing.T) {
	parent, port, spoolDir := t.TempDir(), freePort(t), t.TempDir()
	dir, copied := parent+"/store", parent+"/copy"
	server := startServerProcess(t, dir, port)
	sub := subscribeSoon(t, connect(t, serverURL(port), discardLog())) // without consuming yet
	keepCopy(t, server, dir, copied)
	server = startServerProcess(t, dir, port)
	p, spool := spoolPublisher(t, connectLater(t, serverURL(port), discardLog()), spoolDir, 1, discardLog())
	publishN(t, p, 1000)
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	closePublisher(t, p)
	goBack(t, server, dir, copied)
	startServerProcess(t, dir, port)
	p, spool = spoolPublisher(t, connectLater(t, serverURL(port), discardLog()), spoolDir, 2, discardLog())
	publishN(t, p, 1000)
	until(t, "the rewind", func() bool { return p.Stats().Rewinds == 1 })
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	collect(t, sub).checkAll(t, append(keyRange(1, 1, 1000), keyRange(2, 1, 1000)...))
	closePublisher(t, p)
}

// The broker loses everything that sentry 1 had published, and sentry 2 brings it beyond
// those sequence numbers before sentry 1 is back: its process from before, or a new one.
func TestRollbackThatAnotherSentryOvertakes(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %t", restarted), func(t *testing.T) {
			parent, port, otherPort, spoolDir := t.TempDir(), freePort(t), freePort(t), t.TempDir()
			dir, copied := parent+"/store", parent+"/copy"
			server := startServerProcess(t, dir, port)
			sub := subscribeSoon(t, connect(t, serverURL(port), discardLog())) // without consuming yet
			keepCopy(t, server, dir, copied)
			server = startServerProcess(t, dir, port)
			p, spool := spoolPublisher(t, connectLater(t, serverURL(port), discardLog()), spoolDir, 1, discardLog())
			publishN(t, p, 1000)
			until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
			if restarted {
				closePublisher(t, p)
			}
			goBack(t, server, dir, copied)

			server = startServerProcess(t, dir, otherPort) // where only the other one looks
			other, otherSpool := spoolPublisher(t, connectLater(t, serverURL(otherPort), discardLog()), t.TempDir(), 2, discardLog())
			publishN(t, other, 3000)
			until(t, "every acknowledgement", func() bool { return otherSpool.Stats().Events == 0 })
			closePublisher(t, other)
			server.kill()

			startServerProcess(t, dir, port)
			if restarted {
				p, spool = spoolPublisher(t, connectLater(t, serverURL(port), discardLog()), spoolDir, 3, discardLog())
			}
			until(t, "the rewind", func() bool { return p.Stats().Rewinds == 1 })
			until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
			collect(t, sub).checkAll(t, append(keyRange(1, 1, 1000), keyRange(2, 1, 3000)...))
			closePublisher(t, p)
		})
	}
}

func TestRewindsOncePerRunOfAServer(t *testing.T) {
	p := &Publisher{
		conn: &Conn{log: discardLog()}, broker: newBrokerState(), wake: make(chan struct{}, 1),
		cfg: PublisherConfig{Queue: newMemoryQueue()}, persistent: true,
	}
	created := time.Unix(1763800000, 0)
	for i, step := range []struct {
		server  uint64
		created time.Time
		lastSeq uint64
		rewinds uint64
	}{
		{1, created, 0, 0}, // nothing is acknowledged yet
		{2, created, 0, 0},
		{2, created, 100, 0}, // here 100 are
		{1, created, 100, 0}, // met before
		{3, created, 100, 1},
		{1, created, 150, 1},
		{3, created, 150, 1},
		{3, created, 90, 2},
		{3, created.Add(1), 100, 3},
		{3, created.Add(1), 100, 3},
	} {
		if i == 2 {
			p.mark.lastSeq = 100
		}
		info := &jetstream.StreamInfo{Created: step.created, State: jetstream.StreamState{LastSeq: step.lastSeq}}
		p.checkRollback(info, step.server, p.lastSeq())
		if p.stats.Rewinds != step.rewinds {
			t.Errorf("step %d: %d rewinds, want %d", i, p.stats.Rewinds, step.rewinds)
		}
	}
}

// Events are acknowledged while the stream's newest number is on its way to us: it is no loss
// that the stream had fewer when it answered.
func TestAcknowledgementsOvertakeTheStreamsNumber(t *testing.T) {
	p := &Publisher{
		conn: &Conn{log: discardLog()}, broker: newBrokerState(), wake: make(chan struct{}, 1),
		cfg: PublisherConfig{Queue: newMemoryQueue()}, persistent: true,
	}
	info := &jetstream.StreamInfo{Created: time.Unix(1763800000, 0), State: jetstream.StreamState{LastSeq: 150}}
	p.checkRollback(info, 1, 0)
	p.mark.lastSeq = 200
	for acked, want := range map[uint64]uint64{100: 0, 150: 0, 160: 1} {
		p.stats.Rewinds, p.mark.lastSeq = 0, 200
		p.checkRollback(info, 1, acked)
		if p.stats.Rewinds != want {
			t.Errorf("%d rewinds when %d of 150 were acknowledged before", p.stats.Rewinds, acked)
		}
	}
}

// A publisher without a spool cannot send again what a broker has lost: it says so.
func TestDirectPublisherReportsALoss(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir, port := t.TempDir(), freePort(t)
	server := startServerProcess(t, dir, port)
	c := connect(t, serverURL(port), discardLog())
	got := collect(t, subscribeSoon(t, c))
	p := publishDirectly(t, c, 1)
	for i := range 100 {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "acknowledgements and deliveries", func() bool { return p.Stats().Published == 100 && got.distinct() == 100 })
	server.kill()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	startServerProcess(t, dir, port)
	if err := p.Publish(t.Context(), discovered(100)); err != nil {
		t.Fatal(err)
	}
	until(t, "the event after the loss", func() bool { return got.distinct() == 101 })
	if err := p.Close(t.Context()); !errors.Is(err, errNotPublished) || !strings.Contains(err.Error(), "publish all of them") {
		t.Errorf("error %v", err)
	}
}
