package app

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/loglimit"
)

// firstEvent receives the messages of a subscription before anybody can store them, to learn
// the network of the first valid event. It holds that event until Run, so that a consumer
// that is stopped right then stores what was delivered, like any other.
type firstEvent struct {
	*bus.Subscription
	first   chan event.Common // of the first valid event
	stop    context.CancelFunc
	ended   chan struct{}
	err     error                              // of the subscription's Run, after ended
	handle  func(context.Context, bus.Message) // set before ready is closed; nil when nobody stores
	ready   chan struct{}
	release sync.Once // closes ready
	log     *slog.Logger
	limit   *loglimit.Limiter
}

// receiveFirst begins to receive. abandon must be called, after Run when that is called.
func receiveFirst(ctx context.Context, sub *bus.Subscription, log *slog.Logger) *firstEvent {
	f := &firstEvent{Subscription: sub, first: make(chan event.Common, 1), ended: make(chan struct{}), ready: make(chan struct{}), log: log, limit: loglimit.Every(time.Minute)}
	ctx, f.stop = context.WithCancel(ctx)
	go func() {
		defer close(f.ended)
		f.err = sub.Run(ctx, f.receive)
	}()
	return f
}

func (f *firstEvent) receive(ctx context.Context, m bus.Message) {
	select {
	case <-f.ready:
	default:
		e, err := event.Decode(m.Subject, m.Data)
		if err == nil {
			err = impostor(event.CommonOf(e))
		}
		if err != nil { // to be rejected by the consumer, which is not there yet
			if f.limit.Allow() {
				f.log.Warn("an invalid event is held until a valid one names the network; --network would name it as well",
					slog.String("key", m.Key), slog.Any("reason", err))
			}
			_ = m.Nak(time.Second)
			return
		}
		f.first <- event.CommonOf(e)
		<-f.ready
	}
	if f.handle == nil {
		_ = m.Nak(0)
		return
	}
	f.handle(ctx, m)
}

// Run is the subscription's, with the event that is held.
func (f *firstEvent) Run(ctx context.Context, handle func(context.Context, bus.Message)) error {
	f.release.Do(func() { f.handle = handle; close(f.ready) })
	defer context.AfterFunc(ctx, f.stop)()
	<-f.ended
	return f.err
}

// abandon ends receiving. Without Run, the messages stay in the stream.
func (f *firstEvent) abandon() {
	f.release.Do(func() { close(f.ready) })
	f.stop()
	<-f.ended
}

// wait returns what the first valid event says of its network, also of one that comes while
// the subscription ends with ctx.
func (f *firstEvent) wait(ctx context.Context) (event.Common, error) {
	defer context.AfterFunc(ctx, f.stop)()
	select {
	case first := <-f.first:
		return first, nil
	case <-f.ended:
	}
	select {
	case first := <-f.first:
		return first, nil
	default:
		return event.Common{}, cmp.Or(f.err, ctx.Err())
	}
}
