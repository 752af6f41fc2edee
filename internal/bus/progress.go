package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/telemetry"
)

const (
	// progressPeriod is how often the server is asked how far a subscription is behind and
	// who owns its durable, stalledAfter how long no message may come while some wait, and
	// busyAfter how long one may be handled: commits of a large backlog take half a minute.
	progressPeriod = 2 * time.Second
	stalledAfter   = 30 * time.Second
	busyAfter      = 2 * time.Minute
)

// Lag is how far a subscription is behind, by the server's own count.
type Lag struct {
	Pending    uint64 // messages never delivered yet
	AckPending int    // delivered and not answered
}

// Progress is what a running subscription knows of its durable.
type Progress struct {
	Lag
	// Known is false while the server has not said how far behind it is, because of Unknown.
	Known   bool
	Unknown error
	// Stalled is why messages are waiting and none is delivered; nil while they come.
	Stalled error
}

// Ready is nil unless messages wait and do not come, or the server does not say.
func (p Progress) Ready() error {
	switch {
	case p.Stalled != nil:
		return p.Stalled
	case !p.Known && p.Unknown != nil:
		return p.Unknown
	case !p.Known:
		return errors.New("NATS does not report how many messages are waiting")
	}
	return nil
}

// Progress is at most seconds old while Run runs. It may be called at any time.
func (s *Subscription) Progress() Progress {
	if p := s.progress.Load(); p != nil {
		return *p
	}
	return Progress{}
}

// Lag queries the server.
func (s *Subscription) Lag(ctx context.Context) (Lag, error) {
	info, err := s.info(ctx)
	if err != nil {
		return Lag{}, err
	}
	return lagOf(info), nil
}

func (s *Subscription) info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	consumer, err := s.conn.js.Consumer(ctx, s.conn.stream, s.opts.Durable)
	if err != nil {
		return nil, fmt.Errorf("lag of consumer %s: %w", s.opts.Durable, err)
	}
	return consumer.CachedInfo(), nil
}

func lagOf(info *jetstream.ConsumerInfo) Lag {
	return Lag{Pending: info.NumPending, AckPending: info.NumAckPending}
}

// watch looks at the durable until ctx ends. ErrTaken says that it has another owner.
func (s *Subscription) watch(ctx context.Context) error {
	last := flow{since: time.Now()}
	for {
		info, err := s.look(ctx)
		if errors.Is(err, ErrTaken) {
			return err
		}
		before := s.Progress()
		now := before
		now.Known, now.Unknown = err == nil, nil
		switch {
		case err != nil && !s.conn.nc.IsConnected():
			now.Unknown = s.conn.unreachable()
		case err != nil:
			now.Unknown = fmt.Errorf("NATS does not report how many messages are waiting: %w", err)
		}
		last = last.next(s.received.Load(), s.handled.Load(), err == nil && info.NumPending == 0)
		if err == nil {
			now.Lag, now.Stalled = lagOf(info), s.stalled(info, last.busy(), time.Since(last.since))
		}
		s.progress.Store(&now)
		s.logChange(before.Stalled, now.Stalled)
		if !sleep(ctx, progressPeriod) {
			return nil
		}
	}
}

// look asks the server about the durable.
func (s *Subscription) look(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	info, err := s.info(ctx)
	if err != nil || s.owner == nil {
		return info, err
	}
	if err := s.owner.check(info.Config.Metadata); err != nil {
		return nil, err
	}
	if _, missing := s.owner.record(info.Config.Metadata); missing { // somebody edited it
		stream, err := s.conn.js.Stream(ctx, s.conn.stream)
		if err == nil {
			_, err = s.tryEnsureConsumer(ctx, stream)
		}
		return info, err
	}
	return info, nil
}

// flow is whether messages come, and are handled.
type flow struct {
	received, handled uint64
	since             time.Time // when either changed, or nothing waited on either side
}

func (f flow) next(received, handled uint64, nonePending bool) flow {
	if received != f.received || handled != f.handled || nonePending && received == handled {
		return flow{received, handled, time.Now()}
	}
	return f
}

// busy: a message is being handled.
func (f flow) busy() bool { return f.received != f.handled }

// stalled is why messages are waiting and none is delivered, or one is not handled (busy), which was so
// for that long; nil when they come.
func (s *Subscription) stalled(info *jetstream.ConsumerInfo, busy bool, quiet time.Duration) error {
	switch {
	case busy && quiet >= busyAfter:
		return fmt.Errorf("the consumer has been handling one message for %v: its disk is stuck or far too slow", quiet.Round(time.Second))
	case info.NumPending == 0 || busy:
		return nil
	case info.Paused:
		return fmt.Errorf("durable %s is paused on the server for another %v, and %d messages are waiting: 'nats consumer resume %s %s' resumes it",
			s.opts.Durable, info.PauseRemaining.Round(time.Second), info.NumPending, s.conn.stream, s.opts.Durable)
	case quiet >= stalledAfter:
		return fmt.Errorf("%d messages are waiting for durable %s, and none has been delivered for %v", info.NumPending, s.opts.Durable, quiet.Round(time.Second))
	}
	return nil
}

func (s *Subscription) logChange(before, now error) {
	switch {
	case before == nil && now != nil:
		s.conn.log.Warn("messages are waiting and none is delivered", slog.String("durable", s.opts.Durable), slog.Any("reason", now))
	case before != nil && now == nil:
		s.conn.log.Info("messages are being delivered again", slog.String("durable", s.opts.Durable))
	}
}

// NewSubscriptionMetrics registers the metrics of a subscription, by its Progress.
func NewSubscriptionMetrics(reg *telemetry.Registry, progress func() Progress) {
	telemetry.Register(reg, progress,
		telemetry.Gauge("valtrack_consumer_lag", "Messages in the stream that were never delivered, as counted by the server; NaN while unknown.", func(p Progress) float64 {
			if !p.Known {
				return math.NaN()
			}
			return float64(p.Pending)
		}),
		telemetry.Gauge("valtrack_consumer_stalled", "1 while messages are waiting in the stream and none is delivered or handled.", func(p Progress) int {
			if p.Stalled != nil {
				return 1
			}
			return 0
		}),
	)
}
