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

var (
	// ErrAckLimit marks a durable that needs more unanswered messages than the server or
	// account allows.
	ErrAckLimit = errors.New("the server limits the messages that a consumer may leave unacknowledged")
	// ErrUnfit marks a durable that somebody made in a way in which events would be lost.
	ErrUnfit = errors.New("the durable cannot be used")
)

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

	// grace is how much longer than usual Run waits for the server at its end: for tests, on
	// machines that stand still for seconds.
	grace time.Duration
}

// Subscription is a durable pull consumer on the stream. Run is called once at a time;
// Lag may be called from any goroutine.
type Subscription struct {
	conn  *Conn
	opts  SubscribeOptions
	owner *owner // nil unless Exclusive
	// received and handled count messages, for the watch that looks whether any come, and
	// whether they are handled.
	received, handled atomic.Uint64
	progress          atomic.Pointer[Progress]
}

// Subscribe creates the stream and the durable consumer if they are missing. From then
// on the stream keeps events for it, whether Run runs or not.
func (c *Conn) Subscribe(ctx context.Context, o SubscribeOptions) (*Subscription, error) {
	if o.Durable == "" || o.AckWait <= 0 || o.MaxAckPending <= 0 {
		return nil, fmt.Errorf("subscribe %q: durable name, ack wait %v and max ack pending %d must be set", o.Durable, o.AckWait, o.MaxAckPending)
	}
	s := &Subscription{conn: c, opts: o}
	err := s.acquire(ctx)
	var consumer jetstream.Consumer
	if err == nil {
		consumer, err = s.ensureConsumer(ctx)
	}
	if err != nil {
		s.Close()
		if errors.Is(err, ErrAckLimit) {
			err = errors.Join(err, c.deleteUnused(ctx))
		}
		return nil, err
	}
	if o.Exclusive {
		s.reclaim(ctx, consumer)
	}
	return s, nil
}

// acquire makes this process the owner of an exclusive durable.
func (s *Subscription) acquire(ctx context.Context) error {
	if !s.opts.Exclusive {
		return nil
	}
	if _, err := s.conn.findStream(ctx); err != nil { // says what is wrong before any wait
		return err
	}
	s.owner = newOwner(s.conn, s.opts.Durable, s.opts.Name)
	standBy := s.opts.StandBy
	if standBy == nil {
		standBy = func(string) {}
	}
	return s.owner.acquire(ctx, standBy, s.claim)
}

// claim records this process in the durable, unless another one has been recorded since
// findOwner looked. Of two that do so at the same time the later stays.
func (s *Subscription) claim(ctx context.Context) (bool, error) {
	var info *jetstream.ConsumerInfo
	err := s.owner.listen()
	if err == nil {
		_, err = s.ensureConsumer(ctx)
	}
	contested := false
	if err == nil {
		contested, err = s.owner.contested()
	}
	if err == nil && (!contested || sleep(ctx, claimContested)) {
		info, err = s.info(ctx)
	}
	if err == nil && info != nil {
		switch info.Config.Metadata[metaOwner] {
		case s.owner.id:
			s.owner.replaces = ""
			return true, nil
		case "":
			err = fmt.Errorf("NATS at %s keeps no metadata of consumers: use nats-server 2.10 or newer", s.conn.url)
		}
	}
	s.owner.release()
	if errors.Is(err, ErrTaken) || errors.Is(err, jetstream.ErrConsumerNotFound) || isTransient(err) || ctx.Err() != nil {
		err = nil // acquire goes on
	}
	return false, err
}

// deleteUnused deletes the stream that this connection has created, unless somebody uses it
// by now.
func (c *Conn) deleteUnused(ctx context.Context) error {
	if !c.created.Load() {
		return nil
	}
	s, err := c.js.Stream(ctx, c.stream)
	if err != nil || s.CachedInfo().State.Consumers > 0 || s.CachedInfo().State.Msgs > 0 {
		return err
	}
	return c.js.DeleteStream(ctx, c.stream)
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
	g.Go(func() error { return s.watch(ctx) })
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
			s.conn.log.Warn("subscription ended, resubscribing", slog.String("durable", s.opts.Durable), slog.Any("error", err))
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
		case !isTransient(err) && !errors.Is(err, jetstream.ErrConsumerExists): // another process was first
			return nil, fmt.Errorf("consumer %s: %w", s.opts.Durable, err)
		}
		if limit.Allow() {
			s.conn.warnRetry(err)
		}
		if !sleep(ctx, reconnectWait) {
			return nil, fmt.Errorf("consumer %s: %w (last: %w)", s.opts.Durable, ctx.Err(), err)
		}
	}
}

// tryEnsureConsumer keeps what an operator changed on the durable, except for the two
// settings on which the order of commits depends. It records the owner of an exclusive
// one, and is ErrTaken when there is another.
func (s *Subscription) tryEnsureConsumer(ctx context.Context, stream jetstream.Stream) (jetstream.Consumer, error) {
	consumer, err := stream.Consumer(ctx, s.opts.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return s.createConsumer(ctx, stream)
	}
	if errors.Is(err, jetstream.ErrNotPullConsumer) {
		return nil, s.unfit("is a push consumer")
	}
	if err != nil {
		return nil, err
	}
	cfg := consumer.CachedInfo().Config
	if cfg.AckPolicy != jetstream.AckExplicitPolicy {
		return nil, s.unfit(fmt.Sprintf("has ack policy %v, with which the stream drops events before they are stored", cfg.AckPolicy))
	}
	claimed := false
	if s.owner != nil {
		if err := s.owner.check(cfg.Metadata); err != nil {
			return nil, err
		}
		cfg.Metadata, claimed = s.owner.record(cfg.Metadata)
	}
	unfiltered := cfg.FilterSubject == "" && len(cfg.FilterSubjects) == 0 && holdsOthers(stream.CachedInfo().Config)
	if cfg.AckWait == s.opts.AckWait && cfg.MaxAckPending == s.opts.MaxAckPending && !unfiltered && !claimed {
		return consumer, nil
	}
	cfg.AckWait, cfg.MaxAckPending = s.opts.AckWait, s.opts.MaxAckPending
	if unfiltered {
		cfg.FilterSubjects = event.Subjects()
	}
	return stream.UpdateConsumer(ctx, cfg)
}

func (s *Subscription) createConsumer(ctx context.Context, stream jetstream.Stream) (jetstream.Consumer, error) {
	cfg := jetstream.ConsumerConfig{
		Durable:       s.opts.Durable,
		AckPolicy:     jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait:       s.opts.AckWait,
		MaxAckPending: s.opts.MaxAckPending,
		// Other messages of the stream are not ours to take and acknowledge.
		FilterSubjects: event.Subjects(),
	}
	if s.owner != nil {
		cfg.Metadata, _ = s.owner.record(nil)
	}
	return stream.CreateConsumer(ctx, cfg)
}

func (s *Subscription) unfit(why string) error {
	return fmt.Errorf("%w: it %s; delete it with 'valtrack consumer --forget %s', or give another --name", ErrUnfit, why, s.opts.Durable)
}
