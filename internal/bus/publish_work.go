package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

const (
	// checkEvery is how often the stream is asked whether it has consumers and is
	// as it was, and checkRetry how often while nothing can be sent.
	checkEvery, checkRetry = 2 * time.Second, 500 * time.Millisecond
	// checkTimeout bounds one such question.
	checkTimeout = 5 * time.Second
	// complainWaiting is how often it is logged that events wait.
	complainWaiting = time.Minute
	// noBatches is for how long no batch is tried after one that failed.
	noBatches = 10 * time.Second
)

var (
	errStarting     = errors.New("not connected yet")
	errDisconnected = errors.New("the server cannot be reached")
	errNoConsumer   = errors.New("the stream has no consumer")
)

// brokerState is what the worker remembers of the server.
type brokerState struct {
	checked time.Time // when all was well
	// reconnects is the connection's count then, or no count: a broker that was away may
	// have come back with an older store.
	reconnects uint64
	// atomic is true when the stream takes atomic batches, from batchesFrom on.
	atomic      bool
	batchesFrom time.Time
	complain    *every
	complaint   string // the last one
	// known are the runs of servers that need no rewind when they are met again.
	known map[uint64]bool
}

func newBrokerState() brokerState {
	return brokerState{complain: newEvery(complainWaiting), known: make(map[uint64]bool), reconnects: math.MaxUint64}
}

// work sends what there is until ctx ends.
func (p *Publisher) work(ctx context.Context) {
	complain := newEvery(complainEvery)
	for p.await(ctx, complain) && p.pause(ctx, complain) && p.awaitBroker(ctx) {
		p.send(ctx)
	}
}

// await fills the window and waits until something is to be sent, or the broker is one
// that may have lost what it acknowledged. It is false when ctx ended.
func (p *Publisher) await(ctx context.Context, complain *every) bool {
	for {
		err := p.fill()
		if err != nil && complain.due() {
			p.conn.log.Error("cannot read the spool, trying again", slog.Any("error", err))
		}
		p.mu.Lock()
		ready := len(p.queue) > 0 && !p.awaitBatch() || p.unchecked()
		p.mu.Unlock()
		if ready {
			return ctx.Err() == nil
		}
		if err != nil {
			if !sleep(ctx, checkRetry) {
				return false
			}
			continue
		}
		select {
		case <-ctx.Done():
			return false
		case <-p.wake:
		case <-time.After(checkEvery):
		}
	}
}

// unchecked is true when checkRollback has not seen this connection and something may be
// sent again. The lock is held.
func (p *Publisher) unchecked() bool {
	return p.rewind != nil && p.mark.lastSeq > 0 && p.conn.nc.IsConnected() && p.conn.nc.Stats().Reconnects != p.broker.reconnects
}

// fill takes events from the source while the window has room.
func (p *Publisher) fill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.flight) < publishWindow && p.bytes < windowBytes {
		events, err := p.source.take(publishWindow - len(p.flight))
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			p.bytes += len(e.msg.Data)
			p.byMsg[e.msg] = e
		}
		p.flight = append(p.flight, events...)
		p.queue = append(p.queue, events...)
	}
	return nil
}

// pause waits after failures, the longer the more of them came in a row. It is
// false when ctx ended.
func (p *Publisher) pause(ctx context.Context, complain *every) bool {
	p.mu.Lock()
	failures, err := p.failures, p.failure
	p.failure = nil
	p.mu.Unlock()
	if err == nil {
		return true
	}
	if complain.due() {
		p.conn.log.Warn("events not acknowledged, sending them again", slog.Int("pending", p.Stats().Pending), slog.Any("error", err))
	}
	p.broker.checked = time.Time{} // the stream may be gone
	// One broken connection fails a window of events at once: count windows.
	wait := retryMin << min(failures/publishWindow, 6)
	return sleep(ctx, min(wait, retryMax))
}

// awaitBroker waits until an event published now would be kept for a consumer. It
// is false when ctx ended.
func (p *Publisher) awaitBroker(ctx context.Context) bool {
	for {
		reason := p.checkBroker(ctx)
		if ctx.Err() != nil {
			return false
		}
		p.mu.Lock()
		p.waiting = reason
		p.mu.Unlock()
		poke(p.changed)
		if reason == nil {
			p.broker.complaint = ""
			return true
		}
		if p.broker.complain.due() || reason.Error() != p.broker.complaint {
			p.broker.complaint = reason.Error()
			p.conn.log.Warn("events wait", slog.Int("pending", p.Stats().Pending), slog.Any("reason", reason))
		}
		if !sleep(ctx, checkRetry) {
			return false
		}
	}
}

// checkBroker says why nothing can be published now, nil when it can.
func (p *Publisher) checkBroker(ctx context.Context) error {
	b := &p.broker
	if !p.conn.nc.IsConnected() {
		b.checked = time.Time{}
		return errDisconnected
	}
	reconnects, server := p.conn.nc.Stats().Reconnects, p.conn.serverRun() // in this order: a reconnect between them is seen next time
	if reconnects != b.reconnects {
		b.checked = time.Time{}
	}
	if time.Since(b.checked) < checkEvery {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s, err := p.conn.tryEnsureStream(bounded)
	switch {
	case missingJetStream(err):
		return p.conn.noJetStream(err)
	case err != nil:
		return fmt.Errorf("stream %s at %s: %w", event.Stream, p.conn.url, err)
	}
	info := s.CachedInfo()
	b.atomic = info.Config.AllowAtomicPublish
	if err := p.checkInterest(bounded, s); err != nil {
		return err
	}
	p.checkRollback(info, server)
	b.checked, b.reconnects = time.Now(), reconnects
	return nil
}

// checkInterest is errNoConsumer when the server would drop an event at once.
func (p *Publisher) checkInterest(ctx context.Context, s jetstream.Stream) error {
	if s.CachedInfo().Config.Retention != jetstream.InterestPolicy || p.opts.WithoutConsumers {
		return nil
	}
	var filters []string
	all := false
	consumers := s.ListConsumers(ctx)
	for c := range consumers.Info() { // to the end: the client waits for that
		switch {
		case len(c.Config.FilterSubjects) > 0:
			filters = append(filters, c.Config.FilterSubjects...)
		case c.Config.FilterSubject != "":
			filters = append(filters, c.Config.FilterSubject)
		default:
			all = true
		}
	}
	if all {
		return nil
	}
	if err := consumers.Err(); err != nil {
		return fmt.Errorf("consumers of stream %s at %s: %w", event.Stream, p.conn.url, err)
	}
	if missing := uncovered(filters); len(missing) > 0 {
		return fmt.Errorf("%w for %v and would drop them: start 'valtrack consumer'", errNoConsumer, missing)
	}
	return nil
}

// checkRollback notices a broker that may have come back without events that it had
// acknowledged, to this process or the one before, as after a power cut or from an older
// copy of its store, and goes back to the oldest event that is still kept. Sequence
// numbers alone do not tell, when another sentry publishes first: so it goes back also
// for each run of a server that it has not met. Consumers remove what comes twice.
func (p *Publisher) checkRollback(info *jetstream.StreamInfo, server uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.mark
	p.mark.created, p.mark.server = info.Created.UnixNano(), server
	met := p.broker.known[server]
	p.broker.known[server] = true
	if p.rewind == nil || before.lastSeq == 0 {
		return
	}
	var reason string
	switch {
	case before.created != p.mark.created:
		reason = "the stream is another one"
	case info.State.LastSeq < before.lastSeq:
		reason = "the broker has lost events that it had acknowledged"
	case !met:
		reason = "the broker was restarted, or is another one"
	default:
		return
	}
	p.flight, p.queue, p.sent, p.bytes = nil, nil, 0, 0
	clear(p.byMsg)
	p.mark.lastSeq = info.State.LastSeq
	p.stats.Rewinds++
	n := p.rewind()
	p.signal()
	p.conn.log.Warn("sending the events that are kept again", slog.String("reason", reason),
		slog.Uint64("last_sequence", info.State.LastSeq), slog.Uint64("acknowledged", before.lastSeq), slog.Int("events", n))
}

// send sends what is queued.
func (p *Publisher) send(ctx context.Context) {
	p.mu.Lock()
	events := slices.DeleteFunc(p.queue, func(e *pending) bool { return e.state != queued }) // acknowledged after all
	p.queue = nil
	batch := p.sent == 0 && p.canBatch(events)
	for _, e := range events {
		e.state = sent
	}
	p.sent += len(events)
	p.mu.Unlock()
	if batch {
		p.sendBatch(ctx, events)
		return
	}
	for _, e := range events {
		if _, err := p.js.PublishMsgAsync(e.msg); err != nil {
			p.failed(e.msg, err)
		}
	}
}
