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
	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// publishWindow is how many events may be in flight. Publishing with a window of
	// 1000 costs a sixth of the CPU of one at a time.
	publishWindow = 1000
	// windowBytes limits them too, so that a window of the largest events fits into
	// memory.
	windowBytes = 16 << 20
	// ackTimeout is how long an acknowledgement may take before the event is sent again.
	ackTimeout = 5 * time.Second
	// retryMin and retryMax bound the pause after a failure; it doubles in between.
	retryMin, retryMax = 100 * time.Millisecond, 5 * time.Second
)

// errNotPublished marks a Close of a DirectPublisher that could not get every event
// acknowledged.
var errNotPublished = errors.New("events were not published")

// Queue holds events until they are acknowledged. A publisher calls its methods from
// one goroutine at a time and without a lock.
type Queue interface {
	// Take returns the events after those that it returned before, oldest first, at most
	// n, and how many are left behind them.
	Take(n int) (events []event.Encoded, left int, err error)
	// Ack says that the oldest n of the events that Take has returned are acknowledged, and
	// that none of them has a higher number in the stream than seq. The queue keeps mark with
	// that for the next process.
	Ack(n int, mark [32]byte, seq uint64)
	// Keep says that consumers have stored every acknowledged event up to the number stored in
	// the stream, and for how long the others must be kept at least: untilRewound when they
	// will be sent again.
	Keep(stored uint64, d time.Duration)
	// Rewind makes Take return again every event that is still kept and not stored, and
	// counts them. lost says that the broker has lost some, not only that it may have.
	Rewind(lost bool) int
	// Close is called once, last. An error means that events are lost.
	Close() error
}

// PublisherConfig describes a publisher.
type PublisherConfig struct {
	// Queue has the events. It keeps them over restarts of the process, and for a while
	// after their acknowledgement.
	Queue Queue
	// Added receives a value after events were added to the queue.
	Added <-chan struct{}
	// Mark is the one that an earlier process passed to the queue's last Ack, or zeros.
	Mark [32]byte
	// KeepAside, unless it is nil, stores events that are larger than the broker accepts, or
	// whose keys somebody else has used. While it fails they stay in the queue. Several
	// goroutines call it.
	KeepAside func(events []event.Encoded, reason error) error
	// Own begins the keys of the events that this process makes (event.Key.Producer). Their
	// counters grow with their place in the queue. When the broker answers that it already
	// has one that was never sent, somebody else has published under its key. Empty where
	// events may have been published before.
	Own string
	// ForgetCommand, unless it is nil, is what a person types to delete a durable of the stream.
	ForgetCommand func(durable string) string
	// WithoutConsumers also publishes events that no consumer of the stream receives: with
	// Interest retention the server drops those.
	WithoutConsumers bool
}

// Publisher publishes the events of a queue in the background and sends each until the
// server has acknowledged it, without a limit on attempts. While the stream has no consumer for
// them it sends nothing, since a stream with Interest retention acknowledges and drops
// what nobody consumes.
//
// Three kinds of goroutines meet here: the worker, which alone uses the queue and
// sends; the client's, which report acknowledgements and failures; and the callers of
// Stats and Close. mu guards what they share, and nothing that blocks or takes a lock of
// its own is called while it is held.
type Publisher struct {
	conn *Conn
	js   jetstream.JetStream // with the handlers of this publisher
	cfg  PublisherConfig
	// persistent is true when the queue keeps events over restarts, and acknowledged
	// ones for a while.
	persistent bool
	broker     brokerState // the worker's
	explained  time.Time   // when explain last asked the stream; the worker's
	// asideFailed is when KeepAside last failed in the worker, and these limit its lines.
	asideFailed         time.Time
	asideLog, forgedLog *loglimit.Limiter
	wake                chan struct{}
	changed             chan struct{} // receives a value when drain should look again
	stop                context.CancelFunc
	worker              sync.WaitGroup
	closing             sync.Once

	mu       sync.Mutex
	window   window
	left     int // events in the queue behind those taken, as of the last Take
	failures int // in a row
	failure  error
	lost     error // acknowledged events that the broker lost and the queue has no more
	mark     streamMark
	waiting  error // why nothing is sent, nil when there is no reason
	trouble  trouble
	newest   uint64     // the highest counter of this process's events that was sent
	forged   []*pending // in the window, the worker's to keep aside
	draining bool       // Close has begun
	drained  bool       // and the worker has found nothing left
	stats    PublisherStats
}

// PublisherStats counts events since the publisher was made.
type PublisherStats struct {
	Published  uint64 // acknowledged; what is sent again after a rewind counts again
	Retried    uint64 // sent once more after a failure
	Duplicates uint64 // acknowledged as already known
	Dropped    uint64 // larger than the stream accepts
	Forged     uint64 // answered as already known, but never sent: see PublisherConfig.Own
	Rewinds    uint64 // times that what is kept was sent again: see checkRollback
	// Held is true while nothing is sent because the stream has no consumer.
	Held bool
	// Oldest is when the oldest event in flight was made, zero when there is none.
	Oldest time.Time
	// Err is why no event has been acknowledged for troubleAfter although some wait, and what
	// to do; nil while they are.
	Err error
}

// NewPublisher publishes what the queue holds and will hold. It does not wait for the
// server. Close closes the queue, too.
func NewPublisher(c *Conn, cfg PublisherConfig) (*Publisher, error) {
	return newPublisher(c, cfg, true)
}

func newPublisher(c *Conn, cfg PublisherConfig, persistent bool) (*Publisher, error) {
	p := &Publisher{
		conn: c, cfg: cfg, persistent: persistent,
		broker:  newBrokerState(),
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		window:  newWindow(),
		mark:    decodeMark(cfg.Mark),
		waiting: errStarting,

		asideLog: loglimit.Every(logPeriod), forgedLog: loglimit.Every(waitingLogPeriod),
	}
	p.broker.known[p.mark.server] = true
	cfg.Queue.Ack(0, cfg.Mark, p.mark.lastSeq) // of what earlier processes have published
	var err error
	p.js, err = c.openJetStream(
		jetstream.WithPublishAsyncMaxPending(2*publishWindow), // the window is the limit
		jetstream.WithPublishAsyncTimeout(ackTimeout),
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, ack *jetstream.PubAck) {
			p.acked(m, ack.Sequence, ack.Duplicate)
		}),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) { p.failed(m, err) }),
	)
	if err != nil {
		return nil, fmt.Errorf("publisher on %s: %w", c.url, err)
	}
	ctx, stop := context.WithCancel(context.Background()) // Close ends it
	p.stop = stop
	p.worker.Go(func() { p.work(ctx) })
	return p, nil
}

// Close waits until every event is acknowledged, as long as that can be expected: not
// while the server is away or the stream has no consumer, and not when ctx has ended.
// Then it closes the queue, where the rest stays for the next start. Calling it again
// does nothing.
func (p *Publisher) Close(ctx context.Context) (err error) {
	p.closing.Do(func() {
		reason := p.drain(ctx)
		p.stop()
		p.worker.Wait()
		p.ackEvents()
		_, left, _ := p.cfg.Queue.Take(0)
		p.mu.Lock()
		p.left = left
		unsent := p.pending()
		p.mu.Unlock()
		err = p.cfg.Queue.Close()
		switch {
		case err != nil:
		case p.lost != nil:
			err = fmt.Errorf("%w: publish all of them to %s again", p.lost, p.conn.url)
		case unsent == 0:
		case p.persistent:
			p.conn.log.Info("leaving unpublished events in the spool for the next start", slog.Int("events", unsent), slog.Any("reason", reason))
		default:
			err = fmt.Errorf("%w: %d to %s: %w", errNotPublished, unsent, p.conn.url, reason)
		}
	})
	return err
}

// drain waits until nothing is left (nil), or returns why that does not happen.
func (p *Publisher) drain(ctx context.Context) error {
	p.mu.Lock()
	p.draining = true
	p.mu.Unlock()
	notify(p.wake)
	poll := time.NewTicker(retryMin) // of the connection
	defer poll.Stop()
	for {
		p.mu.Lock()
		reason, drained := p.waiting, p.drained
		p.mu.Unlock()
		if reason == nil && !p.conn.nc.IsConnected() {
			reason = errDisconnected
		}
		switch {
		case drained:
			return nil
		case p.persistent && reason != nil && !errors.Is(reason, errStarting):
			return reason
		}
		select {
		case <-p.changed:
		case <-poll.C:
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
	s.Held = errors.Is(p.waiting, errNoConsumer)
	s.Oldest = p.window.oldest()
	s.Err = p.trouble.err(p.conn.url)
	return s
}

// pending counts the events that are not acknowledged, with those in the queue as of
// the last Take. The lock is held.
func (p *Publisher) pending() int { return len(p.window.byMsg) + p.left }

// notify puts a value into a channel with room for one, unless there is one already.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// acked is called for each acknowledgement. The client may report one event twice, also
// after a failure: each counts once.
func (p *Publisher) acked(m *nats.Msg, seq uint64, duplicate bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures = 0
	p.trouble = trouble{}
	e, ok := p.window.byMsg[m]
	if !ok || e.state == forged {
		return
	}
	p.mark.lastSeq = max(p.mark.lastSeq, seq)
	p.stats.Published++
	if duplicate {
		p.stats.Duplicates++
		if e.first {
			p.stats.Forged++
			p.window.markForged(e)
			p.forged = append(p.forged, e)
			notify(p.wake)
			return
		}
	}
	p.window.done(e)
	notify(p.wake)
}

// failed is called for each failure to publish. It queues the event again, or puts aside
// one that is too large.
func (p *Publisher) failed(m *nats.Msg, err error) {
	tooLarge := errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) || errors.Is(err, nats.ErrMaxPayload)
	if tooLarge && p.cfg.KeepAside != nil && p.isSent(m) {
		if asideErr := p.cfg.KeepAside([]event.Encoded{(&pending{msg: m}).encoded()}, err); asideErr != nil {
			tooLarge, err = false, errors.Join(err, asideErr)
		}
	}
	if p.countFailure(m, err, tooLarge) && tooLarge {
		p.conn.log.Error("event not published: larger than the broker accepts", slog.Bool("kept_aside", p.cfg.KeepAside != nil),
			slog.String("key", m.Header.Get(jetstream.MsgIDHeader)), slog.Int("bytes", len(m.Data)), slog.Any("error", err))
	}
	notify(p.wake)
}

// isSent reports whether the event is in flight.
func (p *Publisher) isSent(m *nats.Msg) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.window.byMsg[m]
	return ok && e.state == sent
}

// countFailure is false when the event is not in flight any more, or the failure has
// been counted.
func (p *Publisher) countFailure(m *nats.Msg, err error, drop bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.window.byMsg[m]
	if !ok || e.state != sent {
		return false
	}
	if drop {
		p.stats.Dropped++
		p.window.done(e)
		return true
	}
	p.failures++
	p.failure = err
	p.trouble.begin(err)
	p.stats.Retried++
	p.window.requeue(e)
	return true
}
