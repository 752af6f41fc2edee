package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

// errClosed is the error of publishing after Close.
var errClosed = errors.New("publisher is closed")

// memoryEvents is how many events wait in memory before publishing blocks: a window in
// flight and one behind it.
const memoryEvents = 2 * publishWindow

// DirectPublisher publishes events that stay in memory until they are acknowledged: up
// to memoryEvents of them, then publishing blocks. It is for events that are on disk
// elsewhere. Its methods may be called from any goroutine.
type DirectPublisher struct {
	*Publisher
	queue *memoryQueue
}

// NewDirectPublisher makes a publisher without a spool. It creates the stream if it is
// missing. ctx limits only this call; Close the publisher.
func NewDirectPublisher(ctx context.Context, c *Conn) (*DirectPublisher, error) {
	if _, err := c.ensureStream(ctx); err != nil {
		return nil, err
	}
	q := newMemoryQueue()
	p, err := newPublisher(c, PublisherConfig{Queue: q, Added: q.added}, false)
	if err != nil {
		return nil, err
	}
	return &DirectPublisher{Publisher: p, queue: q}, nil
}

// Publish accepts the event under its key. event.ErrInvalid says that it is larger than
// the server accepts; others may be published.
func (p *DirectPublisher) Publish(ctx context.Context, e event.Encoded) error {
	const header = len("NATS/1.0\r\nNats-Msg-Id: \r\n\r\n")
	if size, limit := header+len(e.Key)+len(e.Data), p.conn.nc.MaxPayload(); limit > 0 && int64(size) > limit {
		return fmt.Errorf("%w: %s of %d bytes, the server accepts %d (max_payload)", event.ErrInvalid, e.Subject, size, limit)
	}
	return p.queue.put(ctx, e)
}

// Close stops accepting events and waits until every accepted one is acknowledged. When
// ctx ends before that, the error says how many are not.
func (p *DirectPublisher) Close(ctx context.Context) error {
	p.queue.shut()
	return p.Publisher.Close(ctx)
}

// memoryQueue is the Queue of a DirectPublisher. put and shut may be called from any
// goroutine.
type memoryQueue struct {
	added  chan struct{}
	slots  chan struct{} // one token per event
	closed chan struct{}
	once   sync.Once

	mu     sync.Mutex
	events []event.Encoded // not acknowledged
	taken  int             // of them, returned by Take
}

func newMemoryQueue() *memoryQueue {
	return &memoryQueue{added: make(chan struct{}, 1), slots: make(chan struct{}, memoryEvents), closed: make(chan struct{})}
}

// put waits while the queue is full.
func (q *memoryQueue) put(ctx context.Context, e event.Encoded) error {
	select {
	case <-q.closed:
		return errClosed
	default:
	}
	select {
	case q.slots <- struct{}{}:
	case <-q.closed:
		return errClosed
	case <-ctx.Done():
		return fmt.Errorf("publish %s: %w", e.Subject, ctx.Err())
	}
	q.mu.Lock()
	q.events = append(q.events, e)
	q.mu.Unlock()
	notify(q.added)
	return nil
}

// shut makes further puts fail.
func (q *memoryQueue) shut() { q.once.Do(func() { close(q.closed) }) }

func (q *memoryQueue) Take(n int) ([]event.Encoded, int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := q.events[q.taken:]
	n = min(n, len(rest))
	q.taken += n
	return rest[:n:n], len(rest) - n, nil
}

func (q *memoryQueue) Ack(n int, _ [32]byte, _ uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.events[:n]) // so that their memory can be reused
	q.events = q.events[n:]
	q.taken -= n
	for range n {
		<-q.slots
	}
}

// Keep does nothing: acknowledged events are not kept.
func (q *memoryQueue) Keep(uint64, time.Duration) {}

func (q *memoryQueue) Rewind(bool) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = 0
	return len(q.events)
}

// Close does nothing: the publisher's Close counts what is left.
func (q *memoryQueue) Close() error { return nil }
