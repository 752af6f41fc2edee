package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chainbound/valtrack/internal/event"
)

// ErrTaken is Run's error when another process has the durable: it took over while
// this one could not be reached.
var ErrTaken = errors.New("another process has taken the durable over")

const (
	// ownerSubject and a durable's name are where its owner answers.
	ownerSubject = "valtrack.owner." + event.Stream + "."
	// ownerWait is how long an owner has to answer.
	ownerWait = time.Second
	// ownerAsk is how long other candidates have to, twice.
	ownerAsk = 150 * time.Millisecond
	// ownerPoll is the pause between two looks of one that stands by, ownerFree how
	// many looks in a row must find nobody: owners reconnect after a broker's restart.
	ownerPoll = time.Second
	ownerFree = 3
	// ownerRemind is how often a wait is told of.
	ownerRemind = 10 * time.Minute
	// ownerWatch is how often an owner looks for another.
	ownerWatch = 2 * time.Second
	// maxOwners bounds the answers that are read.
	maxOwners = 16
)

// owner is a process's claim on a durable. It is no record anywhere but a
// subscription that answers who has the durable, and so goes with the connection,
// however the process ends: where nobody answers for a durable, the server tells so
// at once.
type owner struct {
	conn    *Conn
	durable string
	name    string
	id      string
	sub     *nats.Subscription // nil while not claimed

	mu    sync.Mutex
	since int64 // when it became the owner, Unix ns; 0 for a candidate
}

// ownerAnswer is what a claim answers.
type ownerAnswer struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Since int64  `json:"since"` // Unix ns; 0 for a candidate
}

func newOwner(c *Conn, durable, name string) *owner {
	return &owner{conn: c, durable: durable, name: name, id: rand.Text()}
}

// take waits until nobody else has the durable and claims it; tell is called with
// the other's name at the wait's beginning and from time to time.
func (o *owner) take(ctx context.Context, tell func(name string)) error {
	var told time.Time
	free := 0
	for {
		other, sure := o.look(ctx)
		if other == "" {
			free++
		} else {
			free = 0
			if time.Since(told) > ownerRemind {
				tell(other)
				told = time.Now()
			}
		}
		if free >= ownerFree || free > 0 && sure && told.IsZero() {
			if o.claim() {
				return nil
			}
			free = 0
		}
		// Two that began at once must not meet again.
		if !sleep(ctx, ownerPoll/2+mathrand.N(ownerPoll)) {
			return fmt.Errorf("wait for durable %s: %w", o.durable, ctx.Err())
		}
	}
}

// look names who has the durable; empty is nobody. It is sure when the server says
// so, and not when an owner is there that neither answers nor asks for messages,
// such as one behind a connection that has not been found dead yet.
func (o *owner) look(ctx context.Context) (name string, sure bool) {
	const silent = "a process that does not answer"
	others, err := o.ask(ownerWait, func(a ownerAnswer) bool { return a.Since > 0 })
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return "", true
	case err != nil:
		return silent, false
	case len(others) > 0:
		return others[len(others)-1].Name, true
	}
	consumer, err := o.conn.js.Consumer(ctx, event.Stream, o.durable)
	if err != nil || consumer.CachedInfo().NumWaiting > 0 {
		return silent, false
	}
	return "", false
}

// claim makes this process the owner, unless another answers as well: of two that
// begin at once neither gets it, and both try again.
func (o *owner) claim() bool {
	sub, err := o.conn.nc.Subscribe(ownerSubject+o.durable, o.answer)
	if err != nil {
		return false
	}
	if err = o.conn.nc.FlushTimeout(flushTimeout); err == nil {
		// Twice: a candidate at another server of the cluster is heard of some
		// milliseconds later.
		for range 2 {
			var others []ownerAnswer
			others, err = o.ask(ownerAsk, func(ownerAnswer) bool { return true })
			if err == nil && len(others) > 0 {
				err = ErrTaken
			}
			if err != nil {
				break
			}
		}
	}
	if err != nil {
		_ = sub.Unsubscribe() // else it goes with the connection
		return false
	}
	o.sub = sub
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since = time.Now().UnixNano()
	return true
}

// release gives the durable back, after the acks that were sent before.
func (o *owner) release() {
	if o.sub != nil {
		_ = o.sub.Unsubscribe() // else it goes with the connection
	}
}

func (o *owner) self() ownerAnswer {
	o.mu.Lock()
	defer o.mu.Unlock()
	return ownerAnswer{ID: o.id, Name: o.name, Since: o.since}
}

func (o *owner) answer(m *nats.Msg) {
	b, err := json.Marshal(o.self())
	if err == nil {
		err = m.Respond(b)
	}
	if err != nil {
		o.conn.log.Debug("cannot tell who has the durable", slog.String("durable", o.durable), slog.Any("error", err))
	}
}

// ask gives the answers of others within the time, or until one is enough;
// nats.ErrNoResponders when there is nobody, not even this process.
func (o *owner) ask(within time.Duration, enough func(ownerAnswer) bool) ([]ownerAnswer, error) {
	inbox := o.conn.nc.NewInbox()
	replies, err := o.conn.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer replies.Unsubscribe() //nolint:errcheck // else it goes with the connection
	if err := o.conn.nc.PublishRequest(ownerSubject+o.durable, inbox, nil); err != nil {
		return nil, err
	}
	var others []ownerAnswer
	deadline := time.Now().Add(within)
	for range maxOwners {
		m, err := replies.NextMsg(time.Until(deadline))
		if errors.Is(err, nats.ErrTimeout) {
			break
		}
		if err != nil {
			return nil, err
		}
		var a ownerAnswer
		if json.Unmarshal(m.Data, &a) != nil || a.ID == o.id {
			continue
		}
		others = append(others, a)
		if enough(a) {
			break
		}
	}
	return others, nil
}

// watch looks for another owner until ctx ends. There can be one when this process
// was taken for dead; of two the one that came later keeps the durable, as it has
// asked for what the first left unanswered. ErrTaken says that it is the other.
func (o *owner) watch(ctx context.Context) error {
	mine := o.self()
	later := func(a ownerAnswer) bool {
		return a.Since > mine.Since || a.Since == mine.Since && a.ID > mine.ID
	}
	for sleep(ctx, ownerWatch) {
		others, err := o.ask(ownerWait, later)
		if err != nil || len(others) == 0 {
			continue // not to be reached: nor are messages
		}
		if a := others[len(others)-1]; later(a) {
			return fmt.Errorf("%w: %s, which is consumed by %s now", ErrTaken, o.durable, a.Name)
		}
	}
	return nil
}
