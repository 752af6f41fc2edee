package bus

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// work sends what is queued until ctx ends.
func (p *Publisher) work(ctx context.Context) {
	complain := newEvery(complainEvery)
	interest := interestCheck{complain: newEvery(interestComplain)}
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		if !p.pause(ctx, complain) || !p.awaitInterest(ctx, &interest) {
			return
		}
		for _, m := range p.take() {
			if _, err := p.js.PublishMsgAsync(m); err != nil {
				p.failed(m, err)
			}
		}
	}
}

// pause waits after failures, the longer the more of them came in a row, and
// while the connection is down. It is false when ctx ended.
func (p *Publisher) pause(ctx context.Context, complain *every) bool {
	p.mu.Lock()
	failures, err, pending := p.failures, p.failure, p.stats.Pending
	p.failure = nil
	p.mu.Unlock()
	if err == nil {
		return true
	}
	if complain.due() {
		p.conn.log.Warn("events not acknowledged, sending them again", slog.Int("pending", pending), slog.Any("error", err))
	}
	// One broken connection fails a window of events at once: count windows.
	wait := retryMin << min(failures/publishWindow, 6)
	if !sleep(ctx, min(wait, retryMax)) {
		return false
	}
	for !p.conn.nc.IsConnected() {
		if !sleep(ctx, retryMin) {
			return false
		}
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) { // the stream is gone
		if _, err := p.conn.ensureStream(ctx); err != nil {
			if ctx.Err() != nil {
				return false
			}
			p.conn.log.Error("cannot create the stream again", slog.Any("error", err))
		}
	}
	return true
}

// interestCheck remembers when the stream was last seen to have a consumer.
type interestCheck struct {
	seen     time.Time
	complain *every
}

// awaitInterest waits until an event published now would be kept for a consumer.
// It is false when ctx ended.
func (p *Publisher) awaitInterest(ctx context.Context, i *interestCheck) bool {
	if time.Since(i.seen) < interestEvery {
		return true
	}
	for {
		kept, err := p.interest(ctx)
		p.mu.Lock()
		p.stats.Held = err == nil && !kept
		pending := p.stats.Pending
		p.mu.Unlock()
		if ctx.Err() != nil {
			return false
		}
		if err == nil && kept {
			i.seen = time.Now()
			return true
		}
		if i.complain.due() {
			p.complainOfInterest(err, pending)
		}
		if !sleep(ctx, interestRetry) {
			return false
		}
	}
}

func (p *Publisher) complainOfInterest(err error, pending int) {
	if err != nil {
		p.conn.log.Warn("cannot ask for the stream's consumers, events wait", slog.Int("pending", pending), slog.Any("error", err))
		return
	}
	p.conn.log.Warn("the stream has no consumer and would drop events: holding them until one subscribes (valtrack consumer)",
		slog.String("stream", event.Stream), slog.Int("pending", pending), slog.Int("capacity", publishWindow))
}

// interest reports whether the stream keeps what is published.
func (p *Publisher) interest(ctx context.Context) (bool, error) {
	s, err := p.conn.ensureStream(ctx)
	if err != nil {
		return false, err
	}
	info := s.CachedInfo()
	return info.Config.Retention != jetstream.InterestPolicy || info.State.Consumers > 0, nil
}
