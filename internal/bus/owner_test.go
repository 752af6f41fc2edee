package bus

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func exclusive(name string) SubscribeOptions {
	return SubscribeOptions{Durable: "consumer-test", AckWait: 10 * patience, MaxAckPending: 10000, Exclusive: true, Name: name}
}

// A second consumer of a durable waits, learns for whom, and gets what the first
// left unanswered soon after the first's connection is gone.
func TestSecondConsumerOfADurableStandsBy(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	url := startServer(t).URL()
	first := connect(t, url, discardLog())
	sub, err := first.Subscribe(t.Context(), exclusive("the first"))
	if err != nil {
		t.Fatal(err)
	}
	p := publishDirectly(t, connect(t, url, discardLog()), 1)
	const n = 500
	for i := range n {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	closePublisher(t, p)

	told, took := make(chan string, 1), make(chan *Subscription, 1)
	go func() {
		opts := exclusive("the second")
		opts.StandBy = func(name string) { told <- name }
		second := connect(t, url, discardLog())
		sub, err := second.Subscribe(t.Context(), opts)
		if err != nil {
			t.Error(err)
		}
		took <- sub
	}()
	if name := <-told; name != "the first" {
		t.Errorf("waits for %q", name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	received, acked := 0, 0
	if err := sub.Run(ctx, func(_ context.Context, m Message) {
		if received++; received <= n/2 {
			m.Ack()
			acked++
		}
		if received == n {
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-took:
		t.Fatal("the second has the durable while the first has")
	default:
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	got := collect(t, <-took)
	until(t, "what the first left", func() bool { return got.distinct() == n-acked })
	got.mu.Lock()
	defer got.mu.Unlock()
	for key, times := range got.keys {
		if times != 1 {
			t.Errorf("%s came %d times", key, times)
		}
	}
}

// A wait ends with its context.
func TestStandByEndsWithItsContext(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	if _, err := c.Subscribe(t.Context(), exclusive("the first")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	opts := exclusive("the second")
	opts.StandBy = func(string) { cancel() }
	if _, err := c.Subscribe(ctx, opts); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Of several that begin at once one has the durable at any time, and each in the end.
func TestConsumersThatBeginAtOnce(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	url := startServer(t).URL()
	const n = 3
	var mu sync.Mutex
	var owners, had int
	var wg sync.WaitGroup
	for range n {
		c := connect(t, url, discardLog())
		wg.Go(func() {
			sub, err := c.Subscribe(t.Context(), exclusive(""))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			owners, had = owners+1, had+1
			if owners > 1 {
				t.Errorf("%d owners", owners)
			}
			mu.Unlock()
			sleep(t.Context(), ownerPoll)
			mu.Lock()
			owners--
			mu.Unlock()
			sub.Close()
		})
	}
	wg.Wait()
	if had != n {
		t.Errorf("%d of %d had the durable", had, n)
	}
}

// One that was taken for dead and comes back must not continue next to the other, not even
// while it waits for its disk.
func TestOwnerThatWasReplaced(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	url := startServer(t).URL()
	first := connect(t, url, discardLog())
	sub, err := first.Subscribe(t.Context(), exclusive("the first"))
	if err != nil {
		t.Fatal(err)
	}
	p := publishDirectly(t, first, 1)
	if err := p.Publish(t.Context(), discovered(1)); err != nil {
		t.Fatal(err)
	}
	closePublisher(t, p)
	waited, waits := false, make(chan struct{}, 1)
	var second *Subscription
	var taking sync.WaitGroup
	taking.Go(func() {
		<-waits
		sub.owner.release() // it does not answer any more
		var err error
		if second, err = connect(t, url, discardLog()).Subscribe(t.Context(), exclusive("the second")); err != nil {
			t.Error(err)
		}
	})
	err = sub.Run(t.Context(), func(ctx context.Context, _ Message) {
		notify(waits)
		<-ctx.Done()
		waited = true
	})
	if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "the second") || !waited {
		t.Errorf("error %v, a handle that waits: %t", err, waited)
	}
	taking.Wait()
	// The other stays.
	ctx, cancel := context.WithTimeout(t.Context(), 2*progressPeriod)
	defer cancel()
	if err := second.watch(ctx); err != nil {
		t.Error(err)
	}
}

// Who may not change the durable cannot own it, nor keep others from it, by what it answers.
func TestAnswersWithoutProof(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	url := startServer(t).URL()
	forger := connect(t, url, discardLog())
	forge := func(m *nats.Msg) {
		for _, answer := range []string{
			`{"id":"F","name":"forger","since":4102444800000000000}`, `{"name":"forger"}`, `{"name":"forger","proof":"AAAA"}`, "", "null", "[",
		} {
			m.Respond([]byte(answer))
		}
	}
	if _, err := forger.nc.Subscribe("valtrack.owner.EVENTS.>", forge); err != nil {
		t.Fatal(err)
	}
	if err := forger.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := connect(t, url, discardLog())
	opts := exclusive("the owner")
	opts.StandBy = func(name string) { t.Errorf("stands by for %q", name) }
	sub, err := c.Subscribe(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	p := publishDirectly(t, c, 1)
	if err := p.Publish(t.Context(), discovered(1)); err != nil {
		t.Fatal(err)
	}
	closePublisher(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 3*progressPeriod)
	defer cancel()
	received := 0
	if err := sub.Run(ctx, func(_ context.Context, m Message) { received++; m.Ack() }); err != nil || received != 1 {
		t.Errorf("%d messages, %v", received, err)
	}
	// Others believe the owner.
	ctx, cancel = context.WithCancel(t.Context())
	opts = exclusive("the second")
	opts.StandBy = func(name string) {
		if name != "the owner" {
			t.Errorf("stands by for %q", name)
		}
		cancel()
	}
	if _, err := connect(t, url, discardLog()).Subscribe(ctx, opts); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Any number of answers without proof neither hides an owner nor passes for none.
func TestFloodOfAnswers(t *testing.T) {
	url := startServer(t).URL()
	forger, c := connect(t, url, discardLog()), connect(t, url, discardLog())
	o := newOwner(c, "consumer-test", "the owner")
	subscribe(t, c) // makes the durable
	answered := make(chan struct{}, 1)
	if _, err := forger.nc.Subscribe(o.subject(), func(m *nats.Msg) {
		for range 3 * maxAnswers {
			m.Respond([]byte(`{"name":"forger","proof":"AAAA"}`))
		}
		if err := forger.nc.Flush(); err != nil {
			t.Error(err)
		}
		notify(answered)
	}); err != nil {
		t.Fatal(err)
	}
	if err := forger.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if name, sure, err := o.findOwner(t.Context()); !strings.Contains(name, "without proof") || sure || err != nil {
		t.Errorf("no owner: %q, sure %v, %v", name, sure, err)
	}
	<-answered
	owner := connect(t, url, discardLog())
	if _, err := owner.nc.Subscribe(o.subject(), func(m *nats.Msg) {
		<-answered
		answering := *o
		answering.conn = owner
		answering.answer(m)
	}); err != nil {
		t.Fatal(err)
	}
	if err := owner.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if name, err := c.queryOwner(o.subject(), o.id); name != "the owner" || err != nil {
		t.Errorf("an owner: %q, %v", name, err)
	}
}

// A durable that drops events before they are stored is refused, with what to do.
func TestUnfitDurables(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	s, err := c.ensureStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]jetstream.ConsumerConfig{
		"none": {AckPolicy: jetstream.AckNonePolicy},
		"all":  {AckPolicy: jetstream.AckAllPolicy},
		"push": {AckPolicy: jetstream.AckExplicitPolicy, DeliverSubject: "to"},
	} {
		cfg.Durable = name
		if cfg.DeliverSubject != "" {
			_, err = s.CreatePushConsumer(t.Context(), cfg)
		} else {
			_, err = s.CreateConsumer(t.Context(), cfg)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, exclusive := range []bool{false, true} {
			_, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: name, AckWait: time.Minute, MaxAckPending: 10, Exclusive: exclusive})
			if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), "--forget "+name) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// An owner that neither answers nor asks for messages is not waited for without
// end, and one that asks is.
func TestOwnerThatDoesNotAnswer(t *testing.T) {
	url := startServer(t).URL()
	frozen, c := connect(t, url, discardLog()), connect(t, url, discardLog())
	sub := subscribe(t, frozen)
	if _, err := frozen.nc.Subscribe("valtrack.owner.EVENTS.consumer-test", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := frozen.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	o := newOwner(c, "consumer-test", "")
	if name, sure, err := o.findOwner(t.Context()); name != "" || sure || err != nil {
		t.Errorf("no messages asked for: %q, sure %v, %v", name, sure, err)
	}
	collect(t, sub)
	until(t, "messages to be asked for", func() bool {
		durable, err := c.js.Consumer(t.Context(), "EVENTS", "consumer-test")
		return err == nil && durable.CachedInfo().NumWaiting > 0
	})
	if name, _, err := o.findOwner(t.Context()); name == "" || err != nil {
		t.Error("taken for dead while it asks for messages")
	}
}

// Who asks names the subject of the answer, and may not have the owner publish elsewhere.
func TestAnswersGoToInboxes(t *testing.T) {
	t.Parallel()
	url := startServer(t).URL()
	c, asker := connect(t, url, discardLog()), connect(t, url, discardLog())
	o := newOwner(c, "d", "owner")
	if err := o.listen(); err != nil {
		t.Fatal(err)
	}
	defer o.release()
	answers, err := asker.nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	inbox := asker.nc.NewInbox()
	for _, reply := range []string{"$JS.API.STREAM.PURGE.EVENTS", "events.visit_ended", inbox} {
		if err := asker.nc.PublishRequest(o.subject(), reply, make([]byte, nonceSize)); err != nil {
			t.Fatal(err)
		}
	}
	for { // queries are answered in their order
		m, err := answers.NextMsg(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		switch m.Subject {
		case o.subject():
			continue
		case inbox:
			return
		}
		t.Fatalf("an answer on %s", m.Subject)
	}
}
