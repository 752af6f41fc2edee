package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chainbound/valtrack/internal/loglimit"
)

// ErrTaken is the error of Subscription.Run when another process owns the durable: it
// took over while this one could not be reached.
var ErrTaken = errors.New("another process has taken over the durable")

const (
	// ownerTimeout is how long an owner has to answer.
	ownerTimeout = time.Second
	// claimTimeout is how long other candidates have to answer, twice.
	claimTimeout = 150 * time.Millisecond
	// ownerPoll is the pause between two queries of a process that stands by, ownerFree
	// how many queries in a row must find no owner: owners reconnect after a broker's
	// restart.
	ownerPoll = time.Second
	ownerFree = 3
	// standByPeriod is how often it is reported that this process stands by.
	standByPeriod = 10 * time.Minute
	// ownerCheck is how often an owner checks for another one.
	ownerCheck = 2 * time.Second
	// maxOwners limits the answers that are read.
	maxOwners = 16
)

// owner is a process's lease on a durable. Nothing is stored anywhere: the lease is a
// subscription that answers who has the durable, so it ends with the connection, however
// the process ends. When nobody answers for a durable, the server says so at once.
// docs/adr/0010-owner-lease.md compares it with what JetStream offers.
//
// acquire, watch and release are called one after another; the client calls answer from
// its own goroutine.
type owner struct {
	conn    *Conn
	durable string
	name    string
	id      string
	sub     *nats.Subscription // nil while this process is not the owner
	since   atomic.Int64       // when it became the owner, Unix ns; 0 for a candidate
}

// ownerAnswer is what an owner or candidate answers.
type ownerAnswer struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Since int64  `json:"since"` // Unix ns; 0 for a candidate
}

// subject is where the durable's owner answers.
func (o *owner) subject() string { return "valtrack.owner." + o.conn.stream + "." + o.durable }

func newOwner(c *Conn, durable, name string) *owner {
	return &owner{conn: c, durable: durable, name: name, id: rand.Text()}
}

// acquire waits until no other process owns the durable and becomes its owner. standBy is
// called with the owner's name when the wait begins, and again from time to time.
func (o *owner) acquire(ctx context.Context, standBy func(name string)) error {
	report := loglimit.Every(standByPeriod)
	waited := false
	free := 0
	for {
		other, sure := o.findOwner(ctx)
		if other == "" {
			free++
		} else {
			free, waited = 0, true
			if report.Allow() {
				standBy(other)
			}
		}
		if free >= ownerFree || free > 0 && sure && !waited {
			if o.claim() {
				return nil
			}
			free = 0
		}
		// Two candidates that started at the same time must not collide again.
		if !sleep(ctx, ownerPoll/2+mathrand.N(ownerPoll)) {
			return fmt.Errorf("wait for durable %s: %w", o.durable, ctx.Err())
		}
	}
}

// findOwner returns the name of the durable's owner, empty for none. That is certain when the server
// says so, but not when there is an owner that neither answers nor requests messages,
// such as one behind a dead connection that the server has not noticed yet.
func (o *owner) findOwner(ctx context.Context) (name string, sure bool) {
	const silent = "a process that does not answer"
	others, err := o.query(ownerTimeout, func(a ownerAnswer) bool { return a.Since > 0 })
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return "", true
	case err != nil:
		return silent, false
	case len(others) > 0:
		return others[len(others)-1].Name, true
	}
	consumer, err := o.conn.js.Consumer(ctx, o.conn.stream, o.durable)
	if err != nil || consumer.CachedInfo().NumWaiting > 0 {
		return silent, false
	}
	return "", false
}

// claim makes this process the owner, unless another one answers as well: of two that
// start at the same time neither becomes the owner, and both try again.
func (o *owner) claim() bool {
	sub, err := o.conn.nc.Subscribe(o.subject(), o.answer)
	if err != nil {
		return false
	}
	if err = o.conn.nc.FlushTimeout(flushTimeout); err == nil {
		// Twice: the subscription of a candidate at another server of the cluster becomes
		// known some milliseconds later.
		for range 2 {
			var others []ownerAnswer
			others, err = o.query(claimTimeout, func(ownerAnswer) bool { return true })
			if err == nil && len(others) > 0 {
				err = ErrTaken
			}
			if err != nil {
				break
			}
		}
	}
	if err != nil {
		_ = sub.Unsubscribe() // if it fails, it ends with the connection
		return false
	}
	o.sub = sub
	o.since.Store(time.Now().UnixNano())
	return true
}

// release gives up the durable, after the acks that were sent before.
func (o *owner) release() {
	if o.sub != nil {
		_ = o.sub.Unsubscribe() // if it fails, it ends with the connection
	}
}

func (o *owner) self() ownerAnswer {
	return ownerAnswer{ID: o.id, Name: o.name, Since: o.since.Load()}
}

func (o *owner) answer(m *nats.Msg) {
	b, err := json.Marshal(o.self())
	if err == nil {
		err = m.Respond(b)
	}
	if err != nil {
		o.conn.log.Debug("cannot answer a query for the durable's owner", slog.String("durable", o.durable), slog.Any("error", err))
	}
}

// query returns the answers of other processes within the time, or until one is enough;
// nats.ErrNoResponders when no process answers, not even this one.
func (o *owner) query(within time.Duration, enough func(ownerAnswer) bool) ([]ownerAnswer, error) {
	inbox := o.conn.nc.NewInbox()
	replies, err := o.conn.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer replies.Unsubscribe() //nolint:errcheck // if it fails, it ends with the connection
	if err := o.conn.nc.PublishRequest(o.subject(), inbox, nil); err != nil {
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

// watch looks for another owner until ctx ends. There can be one when this process was
// mistaken for dead; the later of the two keeps the durable, since it has requested the
// messages that the first left unanswered. ErrTaken says that the later one is the
// other.
func (o *owner) watch(ctx context.Context) error {
	mine := o.self()
	later := func(a ownerAnswer) bool {
		return a.Since > mine.Since || a.Since == mine.Since && a.ID > mine.ID
	}
	for sleep(ctx, ownerCheck) {
		others, err := o.query(ownerTimeout, later)
		if err != nil || len(others) == 0 {
			continue // unreachable: then messages are, too
		}
		if a := others[len(others)-1]; later(a) {
			return fmt.Errorf("%w: %s is now consumed by %s", ErrTaken, o.durable, a.Name)
		}
	}
	return nil
}
