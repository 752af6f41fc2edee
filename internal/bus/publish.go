package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

const (
	// publishWindow is how many events may be unacknowledged. Publishing with a
	// window of 1000 costs a sixth of the CPU of one at a time.
	publishWindow = 1000
	// ackTimeout is after what time an unacknowledged event is sent again.
	ackTimeout = 5 * time.Second
	// retryMin and retryMax bound the pause after a failure; it doubles in between.
	retryMin, retryMax = 100 * time.Millisecond, 5 * time.Second
	// interestEvery is how often the stream is asked whether it has consumers, and
	// interestRetry how often while it has none.
	interestEvery, interestRetry = 10 * time.Second, time.Second
	// interestComplain is how often the lack of consumers is logged.
	interestComplain = 30 * time.Second
)

// ErrClosed is the error of publishing after Close.
var ErrClosed = errors.New("publisher is closed")

// ErrNotPublished marks a Close that could not get every event acknowledged.
var ErrNotPublished = errors.New("events were not published")

// Publisher publishes events in the background and sends each until the server
// has acknowledged it. It holds up to publishWindow events; then Publish blocks.
// While the stream has no consumer it sends nothing, since a stream with Interest
// retention acknowledges and drops what nobody consumes.
type Publisher struct {
	conn   *Conn
	js     jetstream.JetStream // with the handlers of this publisher
	sentry string
	boot   uint64

	slots  chan struct{} // one token an event that is not acknowledged yet
	wake   chan struct{} // the queue has grown, or the publisher closes
	closed chan struct{}
	stop   context.CancelFunc // ends the worker
	worker sync.WaitGroup

	mu      sync.Mutex
	counter uint64
	queue   []*nats.Msg // to be sent, oldest first
	// pending holds every event that is not acknowledged: true while it is sent,
	// false while it is queued. The client may tell twice of one failure, and of an
	// acknowledgement after a failure: each event counts once.
	pending  map[*nats.Msg]bool
	failures int   // in a row
	failure  error // the last one
	closing  bool
	drained  chan struct{} // closed when closing and nothing is pending
	stats    PublisherStats
}

// PublisherStats counts events since the publisher was made.
type PublisherStats struct {
	Published  uint64 // acknowledged
	Pending    int    // accepted and not acknowledged
	Retried    uint64 // sent once more after a failure
	Duplicates uint64 // acknowledged as known already
	Dropped    uint64 // larger than the stream takes
	// Held is true while nothing is sent because the stream has no consumer.
	Held bool
}

// Publisher makes a publisher of a sentry's events; the counter of their keys
// starts at 1, so (sentryID, boot) must never have published before. It creates
// the stream if it is missing. ctx bounds only this call; Close the publisher.
func (c *Conn) Publisher(ctx context.Context, sentryID string, boot uint64) (*Publisher, error) {
	if _, err := c.ensureStream(ctx); err != nil {
		return nil, err
	}
	p := &Publisher{
		conn: c, sentry: sentryID, boot: boot,
		slots:   make(chan struct{}, publishWindow),
		wake:    make(chan struct{}, 1),
		closed:  make(chan struct{}),
		pending: make(map[*nats.Msg]bool),
	}
	var err error
	p.js, err = jetstream.New(c.nc,
		jetstream.WithPublishAsyncMaxPending(2*publishWindow), // the slots are the bound
		jetstream.WithPublishAsyncTimeout(ackTimeout),
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, ack *jetstream.PubAck) { p.acked(m, ack) }),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) { p.failed(m, err) }),
	)
	if err != nil {
		return nil, fmt.Errorf("publisher on %s: %w", c.url, err)
	}
	workCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = stop
	p.worker.Go(func() { p.work(workCtx) })
	return p, nil
}

// Publish accepts the event for publishing and gives it the next key. It blocks
// while the window is full, until ctx ends. An invalid event is an error and
// takes no key.
func (p *Publisher) Publish(ctx context.Context, e event.Event) error {
	data, err := encode(e)
	if err != nil {
		return err
	}
	return p.enqueue(ctx, e.Subject(), data, func() string {
		p.counter++
		return event.Key{Sentry: p.sentry, Boot: p.boot, Counter: p.counter}.String()
	})
}

// PublishRaw accepts an encoded event that has a key already.
func (p *Publisher) PublishRaw(ctx context.Context, subject, key string, data []byte) error {
	return p.enqueue(ctx, subject, data, func() string { return key })
}

// enqueue calls key with the lock held, so that keys and queue have one order.
func (p *Publisher) enqueue(ctx context.Context, subject string, data []byte, key func() string) error {
	if limit := p.conn.nc.MaxPayload(); limit > 0 && int64(len(data)) > limit {
		return fmt.Errorf("%w: %s of %d bytes, the server takes %d", event.ErrInvalid, subject, len(data), limit)
	}
	select {
	case <-p.closed:
		return ErrClosed
	default:
	}
	select {
	case p.slots <- struct{}{}:
	case <-p.closed:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("publish %s: %w", subject, ctx.Err())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		<-p.slots
		return ErrClosed
	}
	m := nats.NewMsg(subject)
	m.Header.Set(jetstream.MsgIDHeader, key())
	m.Data = data
	p.queue = append(p.queue, m)
	p.pending[m] = false
	p.stats.Pending = len(p.pending)
	p.signal()
	return nil
}

// Close accepts no more events and waits until every accepted one is
// acknowledged. When ctx ends before that, the error (ErrNotPublished) says how
// many are not. Calling it again does nothing.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return nil
	}
	p.closing = true
	close(p.closed)
	p.drained = make(chan struct{})
	if p.stats.Pending == 0 {
		close(p.drained)
	}
	p.mu.Unlock()

	var err error
	select {
	case <-p.drained:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.stop()
	p.worker.Wait()
	if s := p.Stats(); s.Pending > 0 {
		reason := "the server did not acknowledge them"
		if s.Held {
			reason = "the stream " + event.Stream + " has no consumer"
		}
		return fmt.Errorf("%w: %d to %s: %s: %w", ErrNotPublished, s.Pending, p.conn.url, reason, err)
	}
	return nil
}

// Stats may be called at any time.
func (p *Publisher) Stats() PublisherStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// signal wakes the worker. The lock is held.
func (p *Publisher) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// done takes one event off the books. The lock is held.
func (p *Publisher) done(m *nats.Msg) {
	delete(p.pending, m)
	<-p.slots
	p.stats.Pending = len(p.pending)
	if p.drained != nil && len(p.pending) == 0 {
		close(p.drained)
	}
}

// acked is called for each acknowledgement.
func (p *Publisher) acked(m *nats.Msg, ack *jetstream.PubAck) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures = 0
	if _, ok := p.pending[m]; !ok {
		return
	}
	p.stats.Published++
	if ack.Duplicate {
		p.stats.Duplicates++
	}
	p.done(m)
}

// failed queues the event again, with the key it has.
func (p *Publisher) failed(m *nats.Msg, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sent := p.pending[m]; !sent {
		return
	}
	if errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) {
		p.conn.log.Error("event is larger than the stream takes, dropped",
			slog.String("key", m.Header.Get(jetstream.MsgIDHeader)), slog.Int("bytes", len(m.Data)), slog.Any("error", err))
		p.stats.Dropped++
		p.done(m)
		return
	}
	p.failures++
	p.failure = err
	p.stats.Retried++
	p.pending[m] = false
	p.queue = append(p.queue, m)
	p.signal()
}

// take empties the queue and marks what was in it as sent.
func (p *Publisher) take() []*nats.Msg {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*nats.Msg
	for _, m := range p.queue {
		if _, ok := p.pending[m]; ok { // else it was acknowledged after all
			p.pending[m] = true
			out = append(out, m)
		}
	}
	p.queue = p.queue[:0]
	return out
}

// encode checks the event and gives its wire form.
func encode(e event.Event) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	data, err := event.Encode(e)
	if err != nil {
		return nil, err
	}
	if len(data) > event.MaxSize {
		return nil, fmt.Errorf("%w: %s of %d bytes, limit %d", event.ErrInvalid, e.Subject(), len(data), event.MaxSize)
	}
	return data, nil
}
