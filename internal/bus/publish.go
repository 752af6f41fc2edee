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
	// publishWindow is how many events may be under way. Publishing with a window
	// of 1000 costs a sixth of the CPU of one at a time.
	publishWindow = 1000
	// windowBytes bounds them too, so that a window of the largest events fits into
	// the memory.
	windowBytes = 16 << 20
	// ackTimeout is after what time an unacknowledged event is sent again.
	ackTimeout = 5 * time.Second
	// retryMin and retryMax bound the pause after a failure; it doubles in between.
	retryMin, retryMax = 100 * time.Millisecond, 5 * time.Second
)

// ErrClosed is the error of publishing after Close.
var ErrClosed = errors.New("publisher is closed")

// ErrNotPublished marks a Close that could not get every event acknowledged.
var ErrNotPublished = errors.New("events were not published")

// intake takes new events, and source gives them to the publisher.
type intake interface {
	Publish(ctx context.Context, e event.Event) error
}

type source interface {
	// take gives up to n events that it has not given yet, oldest first.
	take(n int) ([]*pending, error)
	// settle says that an event is acknowledged, and all that take gave before it, and
	// how far the broker's stream was then.
	settle(p *pending, at streamMark)
	// backlog counts the events that take has not given yet.
	backlog() int
}

// streamMark tells whether a broker can be the one, with the store, that acknowledged
// events: the stream's creation in Unix nanoseconds, the highest sequence number that it
// has acknowledged (0: none yet), and the run of the server (serverRun).
type streamMark struct {
	created int64
	lastSeq uint64
	server  uint64
}

// PublisherOptions changes what a publisher does.
type PublisherOptions struct {
	// WithoutConsumers publishes also what no consumer of the stream takes: with
	// Interest retention the server drops that.
	WithoutConsumers bool
}

// Publisher publishes events in the background and sends each until the server
// has acknowledged it, for ever. While the stream has no consumer for them it
// sends nothing, since a stream with Interest retention acknowledges and drops
// what nobody consumes.
type Publisher struct {
	conn    *Conn
	js      jetstream.JetStream // with the handlers of this publisher
	in      intake
	source  source
	rewind  func() int // nil when the source keeps nothing that is acknowledged
	finish  func(unsent int, reason error) error
	opts    PublisherOptions
	broker  brokerState // the worker's own
	wake    chan struct{}
	stop    context.CancelFunc // ends the worker
	worker  sync.WaitGroup
	closing sync.Once

	mu sync.Mutex
	// flight are the events that were taken and not settled, in their order: those
	// that are acknowledged wait there for the ones before them.
	flight []*pending
	bytes  int                    // of their data
	byMsg  map[*nats.Msg]*pending // those that are not acknowledged
	queue  []*pending             // those of flight that are to be sent
	sent   int                    // those of flight that were sent and not answered

	failures int   // in a row
	failure  error // the last one
	mark     streamMark
	waiting  error // why nothing is sent, nil when there is no reason
	changed  chan struct{}
	stats    PublisherStats
}

// pending is an event on its way.
type pending struct {
	msg   *nats.Msg
	at    time.Time // when it was made
	pos   position  // in the spool, if it is from there
	state pendingState
	// again is true when it has been sent before: it may be in the stream already.
	again bool
}

type pendingState uint8

const (
	queued pendingState = iota
	sent
	acked
)

// PublisherStats counts events since the publisher was made.
type PublisherStats struct {
	Published  uint64 // acknowledged; what is sent again after a rewind counts again
	Pending    int    // accepted and not acknowledged
	Retried    uint64 // sent once more after a failure
	Duplicates uint64 // acknowledged as known already
	Dropped    uint64 // larger than the stream takes
	Batches    uint64 // atomic batches acknowledged
	Rewinds    uint64 // times that what is kept was sent again: see checkRollback
	// Held is true while nothing is sent because the stream has no consumer.
	Held bool
	// Oldest is when the oldest pending event was made, zero when there is none.
	Oldest time.Time
}

// NewPublisher publishes what the spool holds and will hold. It does not wait for
// the server. Close closes the spool, too.
func NewPublisher(c *Conn, spool *Spool, o PublisherOptions) (*Publisher, error) {
	p, err := c.newPublisher(spool, spool, o)
	if err != nil {
		return nil, err
	}
	p.rewind, p.mark = spool.rewind, spool.mark
	p.broker.known[p.mark.server] = true
	p.finish = func(unsent int, reason error) error {
		if err := spool.close(); err != nil {
			return err
		}
		if unsent > 0 {
			c.log.Info("events stay in the spool for the next start", slog.Int("events", unsent), slog.Any("reason", reason))
		}
		return nil
	}
	spool.mu.Lock()
	spool.grown = p.signal
	spool.mu.Unlock()
	p.start()
	return p, nil
}

func (c *Conn) newPublisher(in intake, src source, o PublisherOptions) (*Publisher, error) {
	p := &Publisher{
		conn: c, in: in, source: src, opts: o,
		broker:  newBrokerState(),
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		byMsg:   make(map[*nats.Msg]*pending),
		waiting: errStarting,
	}
	var err error
	p.js, err = jetstream.New(c.nc,
		jetstream.WithPublishAsyncMaxPending(2*publishWindow), // the window is the bound
		jetstream.WithPublishAsyncTimeout(ackTimeout),
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, ack *jetstream.PubAck) {
			p.acked(m, ack.Sequence, ack.Duplicate)
		}),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) { p.failed(m, err) }),
	)
	if err != nil {
		return nil, fmt.Errorf("publisher on %s: %w", c.url, err)
	}
	return p, nil
}

func (p *Publisher) start() {
	ctx, stop := context.WithCancel(context.Background()) // Close ends it
	p.stop = stop
	p.signal()
	p.worker.Go(func() { p.work(ctx) })
}

// Publish takes the event over, under the next key. An invalid event is an error
// and takes no key.
func (p *Publisher) Publish(ctx context.Context, e event.Event) error { return p.in.Publish(ctx, e) }

// Close waits until every event is acknowledged, while there is hope for that: not
// while the server is away or the stream has no consumer, and not when ctx has
// ended. Calling it again does nothing.
func (p *Publisher) Close(ctx context.Context) (err error) {
	p.closing.Do(func() {
		reason := p.drain(ctx)
		p.stop()
		p.worker.Wait()
		err = p.finish(p.Stats().Pending, reason)
	})
	return err
}

// drain waits until nothing is pending (nil), or says why that does not happen.
func (p *Publisher) drain(ctx context.Context) error {
	look := time.NewTicker(retryMin) // at the connection
	defer look.Stop()
	for {
		p.mu.Lock()
		reason := p.waiting
		left := p.pending()
		p.mu.Unlock()
		if reason == nil && !p.conn.Connected() {
			reason = errDisconnected
		}
		switch {
		case left == 0:
			return nil
		case p.rewind != nil && reason != nil && !errors.Is(reason, errStarting):
			return reason // the spool keeps them
		}
		select {
		case <-p.changed:
		case <-look.C:
		case <-ctx.Done():
			if reason != nil {
				return reason
			}
			return fmt.Errorf("the server did not acknowledge them: %w", ctx.Err())
		}
	}
}

// Stats may be called at any time.
func (p *Publisher) Stats() PublisherStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Pending = p.pending()
	s.Held = errors.Is(p.waiting, errNoConsumer)
	if len(p.flight) > 0 {
		s.Oldest = p.flight[0].at
	}
	return s
}

// pending counts the events that are not acknowledged. The lock is held.
func (p *Publisher) pending() int { return len(p.byMsg) + p.source.backlog() }

// signal wakes the worker.
func (p *Publisher) signal() { poke(p.wake) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// acked is called for each acknowledgement. The client may tell twice of one event,
// also of a failure first: each counts once.
func (p *Publisher) acked(m *nats.Msg, seq uint64, duplicate bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures = 0
	e, ok := p.byMsg[m]
	if !ok {
		return
	}
	p.mark.lastSeq = max(p.mark.lastSeq, seq)
	p.stats.Published++
	if duplicate {
		p.stats.Duplicates++
	}
	p.done(e)
}

// done takes one event off the books. The lock is held.
func (p *Publisher) done(e *pending) {
	if e.state == sent {
		p.sent--
	}
	e.state = acked
	delete(p.byMsg, e.msg)
	var last *pending
	for len(p.flight) > 0 && p.flight[0].state == acked {
		last = p.flight[0]
		p.bytes -= len(last.msg.Data)
		p.flight = p.flight[1:]
	}
	if last != nil {
		p.source.settle(last, p.mark)
	}
	p.signal()
	poke(p.changed)
}

// failed queues the event again.
func (p *Publisher) failed(m *nats.Msg, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.byMsg[m]
	if !ok || e.state != sent {
		return
	}
	if errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) || errors.Is(err, nats.ErrMaxPayload) {
		p.conn.log.Error("event is larger than the broker takes, dropped",
			slog.String("key", m.Header.Get(jetstream.MsgIDHeader)), slog.Int("bytes", len(m.Data)), slog.Any("error", err))
		p.stats.Dropped++
		p.done(e)
		return
	}
	p.failures++
	p.failure = err
	p.stats.Retried++
	p.sent--
	e.state, e.again = queued, true
	p.queue = append(p.queue, e)
	p.signal()
}
