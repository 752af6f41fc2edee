package bus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

// DirectPublisher publishes events that stay in memory until they are
// acknowledged: up to publishWindow of them wait, then publishing blocks. It is for
// events that are on disk elsewhere.
type DirectPublisher struct {
	*Publisher
	memory *memoryQueue
}

// Publisher makes a publisher without a spool; the counter of its keys starts at
// 1, so (sentryID, boot) must never have published before. It creates the stream
// if it is missing. ctx bounds only this call; Close the publisher.
func (c *Conn) Publisher(ctx context.Context, sentryID string, boot uint64) (*DirectPublisher, error) {
	if _, err := c.ensureStream(ctx); err != nil {
		return nil, err
	}
	q := &memoryQueue{
		key:    event.Key{Sentry: sentryID, Boot: boot},
		slots:  make(chan struct{}, publishWindow),
		closed: make(chan struct{}),
	}
	p, err := c.newPublisher(q, q, PublisherOptions{})
	if err != nil {
		return nil, err
	}
	q.grown = p.signal
	p.finish = func(unsent int, reason error) error {
		if unsent == 0 {
			return nil
		}
		return fmt.Errorf("%w: %d to %s: %w", ErrNotPublished, unsent, c.url, reason)
	}
	p.start()
	return &DirectPublisher{Publisher: p, memory: q}, nil
}

// PublishRaw accepts an encoded event that has a key already.
func (p *DirectPublisher) PublishRaw(ctx context.Context, subject, key string, data []byte) error {
	if limit := p.conn.nc.MaxPayload(); limit > 0 && int64(len(data)) > limit {
		return fmt.Errorf("%w: %s of %d bytes, the server takes %d", event.ErrInvalid, subject, len(data), limit)
	}
	return p.memory.put(ctx, subject, data, func() string { return key })
}

// Close accepts no more events and waits until every accepted one is acknowledged.
// When ctx ends before that, the error (ErrNotPublished) says how many are not.
func (p *DirectPublisher) Close(ctx context.Context) error {
	p.memory.once.Do(func() { close(p.memory.closed) })
	return p.Publisher.Close(ctx)
}

// memoryQueue is the intake and source of a DirectPublisher.
type memoryQueue struct {
	grown  func()
	slots  chan struct{} // one token an event that take has not given
	closed chan struct{}
	once   sync.Once

	mu     sync.Mutex
	key    event.Key // the last one given
	events []*pending
}

func (q *memoryQueue) Publish(ctx context.Context, e event.Event) error {
	data, err := event.Encode(e)
	if err != nil {
		return err
	}
	return q.put(ctx, e.Subject(), data, func() string {
		q.key.Counter++
		return q.key.String()
	})
}

// put calls key with the lock held, so that keys and queue have one order.
func (q *memoryQueue) put(ctx context.Context, subject string, data []byte, key func() string) error {
	select {
	case <-q.closed:
		return ErrClosed
	default:
	}
	select {
	case q.slots <- struct{}{}:
	case <-q.closed:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("publish %s: %w", subject, ctx.Err())
	}
	q.mu.Lock()
	q.events = append(q.events, newPending(frame{at: time.Now(), key: key(), subject: subject, data: data}, position{}))
	q.mu.Unlock()
	q.grown()
	return nil
}

func (q *memoryQueue) take(n int) ([]*pending, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.events))
	out := q.events[:n:n]
	q.events = q.events[n:]
	for range out {
		<-q.slots
	}
	return out, nil
}

func (q *memoryQueue) settle(*pending, streamMark) {}

func (q *memoryQueue) backlog() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.events)
}
