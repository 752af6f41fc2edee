package bus

import (
	"context"
	"log/slog"
	"time"

	"github.com/chainbound/valtrack/internal/loglimit"
)

// waitingLogPeriod limits how often waiting events are logged.
const waitingLogPeriod = time.Minute

// work sends events until ctx ends.
func (p *Publisher) work(ctx context.Context) {
	limit := loglimit.Every(logPeriod)
	for p.awaitEvents(ctx, limit) && p.pause(ctx, limit) && p.awaitBroker(ctx) {
		p.send()
	}
}

// awaitEvents fills the window and waits until something is to be sent, or the broker
// is one that may have lost what it acknowledged. It is false when ctx ended.
func (p *Publisher) awaitEvents(ctx context.Context, limit *loglimit.Limiter) bool {
	for {
		p.ackEvents()
		err := p.fill()
		if err != nil && limit.Allow() {
			p.conn.log.Error("cannot read the spool, will retry", slog.Any("error", err))
		}
		due := p.checkDue()
		p.mu.Lock()
		ready := len(p.window.queued) > 0 || due && p.mark.lastSeq > 0
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
		case <-p.cfg.Added:
		case <-time.After(checkPeriod):
		}
	}
}

// ackEvents acknowledges to the queue what the server has acknowledged, or is kept aside.
func (p *Publisher) ackEvents() {
	p.keepForged()
	p.mu.Lock()
	n, mark := p.window.acked, p.mark
	p.window.acked = 0
	p.mu.Unlock()
	if n > 0 {
		p.cfg.Queue.Ack(n, mark.encode(), mark.lastSeq)
	}
}

// fill takes events from the queue while the window has room.
func (p *Publisher) fill() error {
	for {
		p.mu.Lock()
		room, draining := p.window.room(), p.draining
		p.mu.Unlock()
		events, left, err := p.cfg.Queue.Take(room) // with all that was added before Close began
		p.mu.Lock()
		p.window.add(events, p.cfg.Own)
		p.left = left
		if draining && err == nil && room > 0 && len(p.window.flight) == 0 {
			p.drained = true
			notify(p.changed)
		}
		p.mu.Unlock()
		if err != nil || len(events) == 0 {
			return err
		}
	}
}

// pause waits after failures, longer after more of them in a row. It is false when
// ctx ended.
func (p *Publisher) pause(ctx context.Context, limit *loglimit.Limiter) bool {
	p.mu.Lock()
	failures, err, pending := p.failures, p.failure, p.pending()
	p.failure = nil
	p.mu.Unlock()
	if err == nil {
		return true
	}
	p.explain(ctx, err)
	if limit.Allow() {
		p.conn.log.Warn("events not acknowledged, resending them", slog.Int("pending", pending), slog.Any("error", err))
	}
	p.broker.checked = time.Time{} // the stream may be gone
	// One broken connection fails a window of events at once: count windows.
	wait := retryMin << min(failures/publishWindow, 6)
	return sleep(ctx, min(wait, retryMax))
}

// awaitBroker waits until an event published now would be kept for a consumer. It is
// false when ctx ended.
func (p *Publisher) awaitBroker(ctx context.Context) bool {
	b := &p.broker
	for {
		reason := p.checkBroker(ctx)
		if ctx.Err() != nil {
			return false
		}
		p.ackEvents()
		_ = p.fill() // awaitEvents reports the error
		p.mu.Lock()
		p.waiting = reason
		pending := p.pending()
		if reason != nil && pending > 0 {
			p.trouble.begin(reason)
		}
		p.mu.Unlock()
		notify(p.changed)
		if reason == nil {
			b.logged = ""
			return true
		}
		if pending > 0 && (b.waitingLog.Allow() || reason.Error() != b.logged) {
			b.logged = reason.Error()
			p.conn.log.Warn("events are waiting to be published", slog.Int("pending", pending), slog.Any("reason", reason))
		}
		if !sleep(ctx, checkRetry) {
			return false
		}
	}
}

// send sends what is queued.
func (p *Publisher) send() {
	p.mu.Lock()
	events := p.window.takeQueued()
	for _, e := range events {
		if e.own > p.newest {
			p.newest, e.first = e.own, true
		}
	}
	p.mu.Unlock()
	for _, e := range events {
		if _, err := p.js.PublishMsgAsync(e.msg); err != nil {
			p.failed(e.msg, err)
		}
	}
}
