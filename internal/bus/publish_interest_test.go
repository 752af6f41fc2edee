package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// interestStream is as ours, with a duplicate window that a test can wait for.
func interestStream(t *testing.T, c *Conn, window time.Duration) jetstream.Stream {
	t.Helper()
	s, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: event.Stream, Subjects: event.Subjects(), Retention: jetstream.InterestPolicy, Duplicates: window,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A durable that is removed while events are published takes with it what the stream kept
// for it, and what came before it is there again. The server knows those events' ids.
func TestDurableRemovedUnderLoad(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %t", restarted), func(t *testing.T) {
			url := startServer(t).URL()
			c := connect(t, url, discardLog())
			s := interestStream(t, c, 2*time.Second)
			sub := subscribe(t, c)
			dir := t.TempDir()
			p, kept := spoolPublisher(t, connectLater(t, url, discardLog()), dir, 1, discardLog())
			stop, n := publishSteadily(t, p, 500)
			until(t, "some events", func() bool { return p.Stats().Published > 500 })
			if restarted {
				stop()
				until(t, "every acknowledgement", func() bool { return kept.Stats().Events == 0 })
				closePublisher(t, p)
			}
			if err := s.DeleteConsumer(t.Context(), "consumer-test"); err != nil {
				t.Fatal(err)
			}
			sleep(t.Context(), checkPeriod/2) // events are dropped
			got := collect(t, sub)            // which creates the durable again
			if restarted {
				p, kept = spoolPublisher(t, connectLater(t, url, discardLog()), dir, 2, discardLog())
			} else {
				sleep(t.Context(), checkPeriod)
				stop()
			}
			until(t, "the rewind", func() bool { return p.Stats().Rewinds == 1 })
			got.checkAll(t, keyRange(1, 1, *n))
			until(t, "every acknowledgement", func() bool { return kept.Stats().Events == 0 })
			closePublisher(t, p)
			if restarted { // it is not due again
				p, _ = spoolPublisher(t, connectLater(t, url, discardLog()), dir, 3, discardLog())
				sleep(t.Context(), checkPeriod)
				closePublisher(t, p)
				if !p.broker.rewindAt.IsZero() {
					t.Error("another rewind is due")
				}
			}
		})
	}
}

// A durable that goes again postpones the rewind. What the first one had is kept meanwhile,
// even beyond the time for which acknowledged events are kept otherwise.
func TestEventsAreKeptUntilTheRewind(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const window = 2 * time.Second
	c := connect(t, startServer(t).URL(), discardLog())
	s := interestStream(t, c, window)
	subscribe(t, c)
	p, _ := spoolPublisher(t, c, t.TempDir(), 1, discardLog())
	closePublisher(t, p) // the test is in its place
	keep := func() time.Duration {
		t.Helper()
		if _, err := p.checkInterest(t.Context(), s); err != nil && !errors.Is(err, errNoConsumer) {
			t.Fatal(err)
		}
		return p.broker.keep(window)
	}
	if got := keep(); got != window+keepMargin {
		t.Errorf("kept for %v at first", got)
	}
	p.mark.lastSeq = 1
	if err := s.DeleteConsumer(t.Context(), "consumer-test"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := keep(); got != untilRewound {
			t.Errorf("kept for %v without the durable", got)
		}
	}
	p.broker.rewindAt = time.Time{} // it has been made
	if got := keep(); got != window+keepMargin {
		t.Errorf("kept for %v after the rewind", got)
	}
}

// Only durables that keep an event until it is acknowledged are a reason to publish.
func TestWhoseInterestCounts(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	s := interestStream(t, c, time.Minute)
	p, kept := spoolPublisher(t, c, t.TempDir(), 1, discardLog())
	publishN(t, p, 100)
	for _, cfg := range []jetstream.ConsumerConfig{
		{AckPolicy: jetstream.AckExplicitPolicy}, // a person's, for a moment
		{Durable: "none", AckPolicy: jetstream.AckNonePolicy},
	} {
		if _, err := s.CreateConsumer(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	sleep(t.Context(), 3*checkRetry)
	if s := p.Stats(); !s.Held || s.Published != 0 {
		t.Errorf("stats %+v", s)
	}
	collect(t, subscribe(t, c)).checkAll(t, keyRange(1, 1, 100))
	until(t, "every acknowledgement", func() bool { return kept.Stats().Events == 0 })
	closePublisher(t, p)
}

func TestDurablesThatHaveGone(t *testing.T) {
	before := durables{"a": 1, "b": 2}
	for name, c := range map[string]struct {
		now  durables
		gone string
	}{
		"the same":      {durables{"a": 1, "b": 2}, ""},
		"one more":      {durables{"a": 1, "b": 2, "c": 3}, ""},
		"one less":      {durables{"a": 1}, "b"},
		"created again": {durables{"a": 3, "b": 2}, "a"},
	} {
		if gone := before.gone(c.now); gone != c.gone {
			t.Errorf("%s: %q", name, gone)
		}
		if same := before.hash() == c.now.hash(); same != (name == "the same") {
			t.Errorf("%s: hashes are the same: %t", name, same)
		}
	}
}

// A durable that nobody consumes fills the stream: the sentry says which, and what to do.
func TestFullStreamNamesTheAbandonedDurable(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	log := newRecorder()
	c := connect(t, startServer(t).URL(), slog.New(log))
	if _, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: event.Stream, Subjects: event.Subjects(), Retention: jetstream.InterestPolicy, Discard: jetstream.DiscardNew, MaxBytes: 100_000,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: "gone", AckWait: time.Minute, MaxAckPending: 10}); err != nil {
		t.Fatal(err)
	}
	got := collect(t, subscribe(t, c))
	p, kept := spoolPublisher(t, c, t.TempDir(), 1, discardLog())
	const n = 2000
	publishN(t, p, n)
	const advice = "durable gone ("
	const command = "'valtrack consumer --forget gone'"
	until(t, "a line about it", func() bool { return log.has(advice) && log.has(command) })
	until(t, "trouble", func() bool { return p.Stats().Err != nil })
	if text := p.Stats().Err.Error(); !strings.Contains(text, advice) || !strings.Contains(text, command) || !strings.Contains(text, "created ") {
		t.Error(text)
	}
	if err := c.Forget(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	got.checkAll(t, keyRange(1, 1, n))
	until(t, "every acknowledgement", func() bool { return kept.Stats().Events == 0 })
	if err := p.Stats().Err; err != nil {
		t.Error(err)
	}
	closePublisher(t, p)
}

func TestTrouble(t *testing.T) {
	long := time.Now().Add(-troubleAfter)
	full := &jetstream.APIError{ErrorCode: codeStoreFailed, Description: "maximum bytes exceeded"}
	for _, c := range []struct {
		trouble trouble
		want    string
	}{
		{trouble{}, ""},
		{trouble{since: time.Now(), cause: errDisconnected}, ""},
		{trouble{since: long, cause: errDisconnected}, "the server cannot be reached"},
		{trouble{since: long, cause: jetstream.ErrAsyncPublishTimeout}, "restart that server"},
		{trouble{since: long, cause: full, advice: "delete it"}, "delete it"},
		{trouble{since: long, cause: errDisconnected, advice: "delete it"}, "the server cannot be reached"},
	} {
		err := c.trouble.err("nats://h")
		if text := errorText(err); !strings.Contains(text, c.want) || (err == nil) != (c.want == "") {
			t.Errorf("%+v: %v", c.trouble, err)
		}
	}
}

// The broker is connected and acknowledges nothing, as one whose store has failed.
func TestBrokerThatAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	c := connect(t, startServer(t).URL(), discardLog())
	s := interestStream(t, c, time.Minute)
	subscribe(t, c)
	p, _ := spoolPublisher(t, c, t.TempDir(), 1, discardLog())
	publishN(t, p, 1)
	until(t, "an acknowledgement", func() bool { return p.Stats().Published == 1 })
	cfg := s.CachedInfo().Config
	cfg.NoAck = true
	if _, err := c.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	publishN(t, p, 1)
	until(t, "trouble", func() bool { return p.Stats().Err != nil })
	if text := p.Stats().Err.Error(); !strings.Contains(text, "restart that server") {
		t.Error(text)
	}
	cfg.NoAck = false
	if _, err := c.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the trouble", func() bool { return p.Stats().Err == nil })
	closePublisher(t, p)
}

// Somebody publishes under the keys that a sentry will use next.
func TestForgedKeys(t *testing.T) {
	t.Parallel()
	log := newRecorder()
	c := connect(t, startServer(t).URL(), slog.New(log))
	interestStream(t, c, time.Minute)
	got := collect(t, subscribe(t, c))
	for _, key := range keyRange(1, 3, 4) {
		if _, err := c.js.Publish(t.Context(), event.SubjectVisitEnded, []byte("{}"), jetstream.WithMsgID(key)); err != nil {
			t.Fatal(err)
		}
	}
	var aside []string
	attempts := 0
	s := openSpool(t, t.TempDir(), 1)
	p, err := NewPublisher(c, PublisherConfig{
		Queue: s, Added: s.Added(), Mark: s.Mark(), Own: "s-1",
		KeepAside: func(events []event.Encoded, reason error) error {
			if !errors.Is(reason, errForged) {
				t.Error(reason)
			}
			if attempts++; attempts <= 2 {
				if n := s.Stats().Events; n < 8 { // all but the first two
					t.Errorf("%d events in the spool before they are kept aside", n)
				}
				return errors.New("no space left")
			}
			for _, e := range events {
				aside = append(aside, e.Key)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	publishN(t, &spooled{p, s}, 10)
	until(t, "every key", func() bool { return got.distinct() == 10 && s.Stats().Events == 0 })
	closePublisher(t, p)
	if s := p.Stats(); s.Forged != 2 || s.Duplicates != 2 || strings.Join(aside, " ") != "s-1-3 s-1-4" {
		t.Errorf("kept aside %v, stats %+v", aside, s)
	}
	if !log.has("cannot set events aside, will retry") || !log.has("someone else is publishing under this sentry's keys") {
		t.Error("no line about it")
	}
}
