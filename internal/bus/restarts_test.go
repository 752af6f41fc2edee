package bus

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/spool"
)

// A broker that is killed again and again, sooner than acknowledged events are old: the
// spool keeps, and sends again, only what no consumer has stored.
func TestRestartingBrokerDoesNotFillTheSpool(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size, rounds, perRound, bytes = 16 << 20, 4, 60, 100_000
	dir, port := t.TempDir(), freePort(t)
	server := startServerProcess(t, dir, port)
	got := collect(t, subscribeSoon(t, connect(t, serverURL(port), discardLog())))
	s, err := spool.Open(spool.Config{Dir: t.TempDir(), Sentry: "s", Boot: 1, MaxBytes: size, Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	p := publishFrom(t, connectLater(t, serverURL(port), discardLog()), s, false)
	large := &event.VisitEnded{
		Common: discovered(1).Common, VisitID: "v", ID: "16U", Started: 1763800000000, Ended: 1763800000000, Outcome: event.OutcomeOK,
		Watch: &event.Watch{From: 1763800000000, To: 1763800000000, MetaDataChanges: make([]event.WatchMetaData, bytes/50)},
	}
	for round := range rounds {
		for range perRound {
			if err := p.Publish(t.Context(), large); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "every acknowledgement", func() bool { return s.Stats().Events == 0 })
		until(t, "a spool of two segments", func() bool { return s.Stats().Bytes <= size/2 })
		if round < rounds-1 {
			server.kill()
			server = startServerProcess(t, dir, port)
		}
	}
	if n := s.Stats().Dropped; n > 0 {
		t.Errorf("%d dropped", n)
	}
	got.checkAll(t, keyRange(1, 1, rounds*perRound))
	closePublisher(t, p)
}

// keepRecorder is a queue that remembers up to where consumers have stored.
type keepRecorder struct {
	*spool.Spool
	stored atomic.Uint64
}

func (q *keepRecorder) Keep(stored uint64, d time.Duration) {
	q.Spool.Keep(stored, d)
	q.stored.Store(stored)
}

// However a broker comes back, what a consumer had stored is not sent again, and what it had
// not is delivered.
func TestWhatIsSentAgainAfterARestart(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const stored, more = 500, 300
	for name, change := range map[string]func(store, copied string) error{
		"as it was":          func(string, string) error { return nil },
		"empty":              func(store, _ string) error { return os.RemoveAll(store) },
		"without its newest": func(store, copied string) error { return errors.Join(os.RemoveAll(store), os.Rename(copied, store)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent, port := t.TempDir(), freePort(t)
			store, copied := parent+"/store", parent+"/copy"
			server := startServerProcess(t, store, port)
			sub := subscribeSoon(t, connect(t, serverURL(port), discardLog()))
			s, err := spool.Open(spool.Config{Dir: parent + "/spool", Sentry: "s", Boot: 1, Log: discardLog()})
			if err != nil {
				t.Fatal(err)
			}
			q := &keepRecorder{Spool: s}
			publisher, err := NewPublisher(connectLater(t, serverURL(port), discardLog()), PublisherConfig{Queue: q, Added: s.Added(), Mark: s.Mark()})
			if err != nil {
				t.Fatal(err)
			}
			p := &spooled{publisher, s}
			acknowledged := func() {
				t.Helper()
				until(t, "every acknowledgement", func() bool { return s.Stats().Events == 0 })
			}
			publishN(t, p, stored)
			storeSome(t, sub, stored)
			acknowledged()
			until(t, "what is stored", func() bool { return q.stored.Load() >= stored })
			keepCopy(t, server, store, copied)
			server = startServerProcess(t, store, port)
			publishN(t, p, more)
			acknowledged()
			server.kill()
			if err := change(store, copied); err != nil {
				t.Fatal(err)
			}
			startServerProcess(t, store, port)
			got := collect(t, sub)
			got.checkAll(t, keyRange(1, stored+1, stored+more)) // nothing else comes
			acknowledged()
			closePublisher(t, p)
		})
	}
}

// storeSome handles n events, and stops.
func storeSome(t *testing.T, sub *Subscription, n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := sub.Run(ctx, func(_ context.Context, m Message) {
		m.Ack()
		if n--; n == 0 {
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
}
