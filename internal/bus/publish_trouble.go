package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// troubleAfter is how long events may wait before that is reported as trouble: longer than
// a restart of the broker, and several times ackTimeout.
const troubleAfter = 20 * time.Second

// trouble is why no event was acknowledged since a time; the zero value is none.
type trouble struct {
	since  time.Time
	cause  error
	advice string // what the stream itself says; empty when that was not asked
}

// begin is called with each failure and each reason to wait, until an event is
// acknowledged.
func (t *trouble) begin(cause error) {
	if t.since.IsZero() {
		t.since = time.Now()
	}
	t.cause = cause
}

// err is nil until the trouble has lasted for troubleAfter.
func (t *trouble) err(url string) error {
	lasted := time.Since(t.since)
	switch {
	case t.since.IsZero() || lasted < troubleAfter:
		return nil
	case t.advice != "" && hasCode(t.cause, codeStoreFailed):
		return fmt.Errorf("no event was acknowledged for %v: %s: %w", lasted.Round(time.Second), t.advice, t.cause)
	case errors.Is(t.cause, nats.ErrReconnectBufExceeded): // it publishes without a connection
		return fmt.Errorf("no event was acknowledged for %v: cannot reach NATS at %s", lasted.Round(time.Second), url)
	case errors.Is(t.cause, jetstream.ErrAsyncPublishTimeout):
		return fmt.Errorf("NATS at %s is connected, but has acknowledged no event for %v: its store may have failed, as on a full disk, and recovers only with a restart: make room if it is full, then restart that server; if the log has NATS errors about permissions, let this user publish", url, lasted.Round(time.Second))
	}
	return fmt.Errorf("no event was acknowledged for %v: %w", lasted.Round(time.Second), t.cause)
}

// codeStoreFailed says that a stream did not store a message, as one that is full.
const codeStoreFailed = 10077

// explain looks for what a person can do about a stream that refuses events.
func (p *Publisher) explain(ctx context.Context, cause error) {
	p.mu.Lock()
	period := waitingLogPeriod
	if p.trouble.advice == "" { // it has begun
		period = logPeriod
	}
	p.mu.Unlock()
	if !hasCode(cause, codeStoreFailed) || time.Since(p.explained) < period {
		return
	}
	p.explained = time.Now()
	advice, err := p.fullStream(ctx)
	if err != nil {
		p.conn.log.Debug("cannot determine why the stream refuses events", slog.Any("error", err))
		return
	}
	p.mu.Lock()
	p.trouble.advice = advice
	p.mu.Unlock()
	if advice != "" {
		p.conn.log.Error("the stream refuses events", slog.String("stream", p.conn.stream), slog.String("reason", advice), slog.Any("error", cause))
	}
}

// fullStream says what fills the stream and what to do about it; empty when it is not full.
func (p *Publisher) fullStream(ctx context.Context) (string, error) {
	c := p.conn
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, c.stream)
	if err != nil {
		return "", err
	}
	cfg, state := s.CachedInfo().Config, s.CachedInfo().State
	full := cfg.MaxMsgs > 0 && state.Msgs >= uint64(cfg.MaxMsgs) ||
		cfg.MaxBytes > 0 && state.Bytes+min(event.MaxSize, uint64(cfg.MaxBytes)/10) >= uint64(cfg.MaxBytes)
	if !full {
		return "", nil
	}
	unread, err := c.unread(ctx, s)
	if err != nil {
		return "", err
	}
	if len(unread) == 0 {
		return fmt.Sprintf("stream %s is full (%d messages, %d bytes): its consumers are behind, see their logs, or raise its limits", c.stream, state.Msgs, state.Bytes), nil
	}
	var names []string
	for _, d := range unread {
		command := "valtrack consumer --forget " + d.Name
		if p.cfg.ForgetCommand != nil {
			command = p.cfg.ForgetCommand(d.Name)
		}
		names = append(names, fmt.Sprintf("durable %s (%s): start its consumer, or delete it with '%s'", d.Name, d, command))
	}
	return fmt.Sprintf("stream %s is full (%d messages, %d bytes) and keeps events for durables that no process reads: %s",
		c.stream, state.Msgs, state.Bytes, strings.Join(names, "; ")), nil
}

// keepForged keeps events aside that the broker has, but not from this process: what it has
// under their keys may say anything. Only then do they count as acknowledged.
func (p *Publisher) keepForged() {
	p.mu.Lock()
	forged := p.forged
	p.mu.Unlock()
	if len(forged) == 0 || time.Since(p.asideFailed) < checkRetry {
		return
	}
	if p.cfg.KeepAside != nil {
		events := make([]event.Encoded, len(forged))
		for i, e := range forged {
			events[i] = e.encoded()
		}
		if err := p.cfg.KeepAside(events, errForged); err != nil {
			err = fmt.Errorf("cannot set events aside: %w", err)
			p.asideFailed = time.Now()
			p.mu.Lock()
			p.trouble.begin(err)
			p.mu.Unlock()
			if p.asideLog.Allow() {
				p.conn.log.Error("cannot set events aside, will retry", slog.Int("events", len(forged)), slog.Any("error", err))
			}
			return
		}
	}
	p.mu.Lock()
	p.forged = p.forged[len(forged):]
	for _, e := range forged {
		p.window.done(e)
	}
	total := p.stats.Forged
	p.mu.Unlock()
	if p.forgedLog.Allow() {
		p.conn.log.Error("NATS has an event under a key that was never sent: someone else is publishing under this sentry's keys",
			slog.String("key", forged[0].encoded().Key), slog.Uint64("events", total), slog.Bool("kept_aside", p.cfg.KeepAside != nil))
	}
}

// errForged is why an event is kept aside.
var errForged = errors.New("NATS already had an event under this key, which had never been sent")
