package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// drainTimeout limits how long the messages already requested are handled when Run
	// ends. What is handled in that time must still be stored before the process ends.
	// The rest is given back to the server, for giveBackTimeout.
	drainTimeout, giveBackTimeout = 2 * time.Second, time.Second
)

// ErrAckLimit marks a durable that needs more unanswered messages than the server or
// account allows.
var ErrAckLimit = errors.New("the server limits the messages that a consumer may leave unacknowledged")

// Message is one delivery of an event.
type Message struct {
	Subject string
	// Key is the Nats-Msg-Id header, empty when the publisher set none.
	Key  string
	Data []byte
	// Seq is the message's sequence number in the stream and Time when the server
	// stored it.
	Seq  uint64
	Time time.Time
	// Delivery answers the message. It does not retain Data.
	Delivery
}

// Delivery answers one delivery of a message. A lost answer only means that the message
// is redelivered after AckWait.
type Delivery interface {
	// Ack says that the message is stored for good.
	Ack() error
	// Nak requests redelivery after the delay.
	Nak(delay time.Duration) error
	// Term marks the message as not to be redelivered.
	Term() error
}

// SubscribeOptions describes a durable consumer.
type SubscribeOptions struct {
	// Durable is the consumer's name, the same after every restart.
	Durable string
	// AckWait is after what time an unanswered message is redelivered.
	AckWait time.Duration
	// MaxAckPending limits the unanswered messages; at the limit the server stops
	// sending.
	MaxAckPending int
	// Exclusive makes this process the only one that receives messages of the durable:
	// Subscribe waits while another process has it, and messages that an earlier one
	// received and did not answer are redelivered at once, not after AckWait. Close
	// gives up the durable.
	Exclusive bool
	// Name is shown to processes that wait for this one, and StandBy is called, unless
	// it is nil, with the name of the process that this one waits for.
	Name    string
	StandBy func(name string)
}

// Subscription is a durable pull consumer on the stream. Run is called once at a time;
// Lag may be called from any goroutine.
type Subscription struct {
	conn  *Conn
	opts  SubscribeOptions
	owner *owner // nil unless Exclusive
	// received counts messages, for the watch that looks whether any come.
	received atomic.Uint64
	progress atomic.Pointer[Progress]
}

// Subscribe creates the stream and the durable consumer if they are missing. From then
// on the stream keeps events for it, whether Run runs or not.
func (c *Conn) Subscribe(ctx context.Context, o SubscribeOptions) (*Subscription, error) {
	if o.Durable == "" || o.AckWait <= 0 || o.MaxAckPending <= 0 {
		return nil, fmt.Errorf("subscribe %q: durable name, ack wait %v and max ack pending %d must be set", o.Durable, o.AckWait, o.MaxAckPending)
	}
	s := &Subscription{conn: c, opts: o}
	if o.Exclusive {
		s.owner = newOwner(c, o.Durable, o.Name)
		standBy := o.StandBy
		if standBy == nil {
			standBy = func(string) {}
		}
		if err := s.owner.acquire(ctx, standBy); err != nil {
			return nil, err
		}
	}
	consumer, err := s.ensureConsumer(ctx)
	if err != nil {
		s.Close()
		if errors.Is(err, ErrAckLimit) && c.created.Load() {
			err = errors.Join(err, c.js.DeleteStream(ctx, c.stream)) // nobody can use it yet
		}
		return nil, err
	}
	if o.Exclusive {
		s.reclaim(ctx, consumer)
	}
	return s, nil
}

// Close gives up the durable, once Run has returned and everything is answered. The end
// of the connection, or of the process, does the same.
func (s *Subscription) Close() {
	if s.owner != nil {
		s.owner.release()
	}
}

// AckWait is after what time an unanswered message is redelivered.
func (s *Subscription) AckWait() time.Duration { return s.opts.AckWait }

// Run passes every message to handle, one after another, until ctx ends. Then it
// requests no more, waits until handle has had what was requested, and returns nil. Once
// Run has returned, handle is not running and is not called again; a handle that waits
// has to return when its context ends, which is as soon as Run is to end for any reason.
// It survives restarts of the server, and recreates the durable when somebody deletes
// it. ErrTaken says that another process has taken an Exclusive durable over, with the
// messages that were not answered until then.
func (s *Subscription) Run(ctx context.Context, handle func(context.Context, Message)) error {
	g, ctx := errgroup.WithContext(ctx)
	if s.owner != nil {
		g.Go(func() error { return s.owner.watch(ctx) })
	}
	g.Go(func() error { return s.watchProgress(ctx) })
	g.Go(func() error { return s.run(ctx, handle) })
	return g.Wait()
}

func (s *Subscription) run(ctx context.Context, handle func(context.Context, Message)) error {
	ctx, cancel := context.WithCancel(ctx)
	g := &gate{handle: func(m Message) { handle(ctx, m) }, log: s.conn.log}
	defer g.shut() // after handle's context has ended
	defer cancel()
	for ctx.Err() == nil {
		consumer, err := s.ensureConsumer(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			err = s.consume(ctx, s.batch(consumer), pullLimit(consumer), g)
		}
		if ctx.Err() == nil {
			s.conn.log.Warn("subscription ended, subscribing again", slog.String("durable", s.opts.Durable), slog.Any("error", err))
			sleep(ctx, reconnectWait)
		}
	}
	return nil
}

// batch is how many messages a request may ask for.
func (s *Subscription) batch(consumer jetstream.Consumer) int {
	n := min(pullMessages, s.opts.MaxAckPending)
	if limit := consumer.CachedInfo().Config.MaxRequestBatch; limit > 0 {
		n = min(n, limit)
	}
	return n
}

// pullLimit is how many bytes a request may ask for.
func pullLimit(consumer jetstream.Consumer) int {
	if limit := consumer.CachedInfo().Config.MaxRequestMaxBytes; limit > 0 {
		return min(pullBytes, limit)
	}
	return pullBytes
}

func (s *Subscription) ensureConsumer(ctx context.Context) (jetstream.Consumer, error) {
	limit := loglimit.Every(logPeriod)
	for {
		stream, err := s.conn.findStream(ctx)
		if err != nil {
			return nil, err
		}
		consumer, err := s.tryEnsureConsumer(ctx, stream)
		if err == nil {
			return consumer, nil
		}
		switch {
		case hasCode(err, codeMaxAckPending):
			return nil, fmt.Errorf("consumer %s: %w: this one needs %d: %w", s.opts.Durable, ErrAckLimit, s.opts.MaxAckPending, err)
		case !isTransient(err):
			return nil, fmt.Errorf("consumer %s: %w", s.opts.Durable, err)
		}
		if limit.Allow() {
			s.conn.log.Warn("JetStream does not respond, retrying", slog.String("url", s.conn.url), slog.Any("error", err))
		}
		if !sleep(ctx, reconnectWait) {
			return nil, fmt.Errorf("consumer %s: %w (last: %w)", s.opts.Durable, ctx.Err(), err)
		}
	}
}

// tryEnsureConsumer keeps what an operator changed on the durable, except for the two
// settings on which the order of commits depends.
func (s *Subscription) tryEnsureConsumer(ctx context.Context, stream jetstream.Stream) (jetstream.Consumer, error) {
	consumer, err := stream.Consumer(ctx, s.opts.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable:       s.opts.Durable,
			AckPolicy:     jetstream.AckExplicitPolicy,
			DeliverPolicy: jetstream.DeliverAllPolicy,
			AckWait:       s.opts.AckWait,
			MaxAckPending: s.opts.MaxAckPending,
			// Other messages of the stream are not ours to take and acknowledge.
			FilterSubjects: event.Subjects(),
		})
	}
	if err != nil {
		return nil, err
	}
	cfg := consumer.CachedInfo().Config
	unfiltered := cfg.FilterSubject == "" && len(cfg.FilterSubjects) == 0 && holdsOthers(stream.CachedInfo().Config)
	if cfg.AckWait == s.opts.AckWait && cfg.MaxAckPending == s.opts.MaxAckPending && !unfiltered {
		return consumer, nil
	}
	cfg.AckWait, cfg.MaxAckPending = s.opts.AckWait, s.opts.MaxAckPending
	if unfiltered {
		cfg.FilterSubjects = event.Subjects()
	}
	return stream.UpdateConsumer(ctx, cfg)
}
