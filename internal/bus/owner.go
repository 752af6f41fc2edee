package bus

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/loglimit"
)

// ErrTaken is the error of Subscription.Run when another process owns the durable: it
// took over while this one could not be reached.
var ErrTaken = errors.New("another process has taken over the durable")

const (
	// ownerTimeout is how long an owner has to answer.
	ownerTimeout = time.Second
	// claimTimeout is how long a candidate waits until it looks whether its claim has held,
	// and claimContested how much longer if there are other candidates.
	claimTimeout   = 300 * time.Millisecond
	claimContested = 2 * time.Second
	// ownerPoll is the pause between two queries of a process that stands by, ownerFree
	// how many queries in a row must find no owner: owners reconnect after a broker's
	// restart.
	ownerPoll = time.Second
	ownerFree = 3
	// standByPeriod is how often it is reported that this process stands by.
	standByPeriod = 10 * time.Minute
	// maxAnswers is how many answers to a query leave no doubt that there are no others, and
	// nonceSize is that of a query, in bytes.
	maxAnswers = 1000
	nonceSize  = 32
)

// Entries of a durable's metadata: the owner's id, which is random and the secret with which
// it answers, and its name for messages.
const (
	metaOwner     = "valtrack_owner"
	metaOwnerName = "valtrack_owner_name"
)

// owner is a process's lease on a durable. Who owns it is recorded in the durable's metadata,
// so that nobody can claim it who may not change the durable. Whether that process still
// lives is asked on a subject on which it answers, with a proof that it has the recorded id:
// so the lease ends with the connection, however the process ends. When nobody answers for
// a durable, the server says so at once.
// docs/adr/0010-owner-lease.md compares it with what JetStream offers.
//
// Its methods are called one after another, except answer, which the client calls.
type owner struct {
	conn    *Conn
	durable string
	name    string
	id      string
	// replaces is the recorded id that this process may replace with its own.
	replaces string
	sub      *nats.Subscription // nil while this process is not the owner
}

// ownerAnswer is what an owner answers. Proof is the HMAC-SHA256 of the query under its id.
type ownerAnswer struct {
	Name  string `json:"name"`
	Proof []byte `json:"proof"`
}

// subject is where the durable's owner answers.
func (o *owner) subject() string { return "valtrack.owner." + o.conn.stream + "." + o.durable }

func newOwner(c *Conn, durable, name string) *owner {
	return &owner{conn: c, durable: durable, name: name, id: rand.Text()}
}

// acquire waits until no other process owns the durable and makes this one its owner, with
// claim. standBy is called with the owner's name when the wait begins, and again from time to time.
func (o *owner) acquire(ctx context.Context, standBy func(name string), claim func(context.Context) (bool, error)) error {
	report, failed := loglimit.Every(standByPeriod), loglimit.Every(logPeriod)
	waited := false
	free := 0
	for {
		other, sure, err := o.findOwner(ctx)
		switch {
		case err != nil && !isTransient(err) && !missingJetStream(err):
			return fmt.Errorf("owner of durable %s: %w", o.durable, err)
		case err != nil:
			free = 0
			if failed.Allow() {
				o.conn.warnRetry(err)
			}
		case other == "":
			free++
		default:
			free, waited = 0, true
			if report.Allow() {
				standBy(other)
			}
		}
		if free >= ownerFree || free > 0 && sure && !waited {
			if done, err := claim(ctx); done || err != nil {
				return err
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
func (o *owner) findOwner(ctx context.Context) (name string, sure bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	consumer, err := o.conn.js.Consumer(bounded, o.conn.stream, o.durable)
	pulls := false
	switch {
	case err == nil:
		info := consumer.CachedInfo()
		o.replaces, pulls = info.Config.Metadata[metaOwner], info.NumWaiting > 0
	case errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound):
		o.replaces = ""
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		return "", true, nil // the claim refuses it
	default:
		return "", false, err
	}
	name, err = o.conn.queryOwner(o.subject(), o.replaces)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return "", true, nil
	case errors.Is(err, errAnswerFlood):
		return "an unknown process: " + err.Error(), false, nil
	case err != nil:
		return "", false, err
	case name == "" && pulls:
		name = "a process that does not respond"
	}
	return name, false, nil
}

// errAnswerFlood says that the owner's answer may have been lost among others.
var errAnswerFlood = fmt.Errorf("more than %d answers without proof came from NATS clients that may use valtrack.owner.>", maxAnswers)

// queryOwner returns the name of the process that proves that it has the id; empty when none
// does in time, and nats.ErrNoResponders when no process can. Answers without proof are
// anybody's; too many of them are errAnswerFlood.
func (c *Conn) queryOwner(subject, id string) (name string, err error) {
	err = c.queryAll(subject, ownerTimeout, func(a ownerAnswer, proven func(id string) bool) (enough bool) {
		if id != "" && proven(id) {
			name = cmp.Or(a.Name, "a process without a name")
		}
		return name != ""
	})
	return name, err
}

// queryAll passes each answer to a query to take, until the time is over or enough was
// answered. It is errAnswerFlood when there were too many and never enough.
func (c *Conn) queryAll(subject string, within time.Duration, take func(a ownerAnswer, proven func(id string) bool) (enough bool)) error {
	inbox := c.nc.NewInbox()
	replies, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer replies.Unsubscribe() //nolint:errcheck // if it fails, it ends with the connection
	nonce := make([]byte, nonceSize)
	rand.Read(nonce) // never fails
	if err := c.nc.PublishRequest(subject, inbox, nonce); err != nil {
		return err
	}
	deadline := time.Now().Add(within)
	answers, dropped := 0, false
	for time.Now().Before(deadline) {
		m, err := replies.NextMsg(time.Until(deadline))
		if errors.Is(err, nats.ErrTimeout) {
			break
		}
		if errors.Is(err, nats.ErrSlowConsumer) {
			dropped = true
			continue
		}
		if err != nil {
			return err
		}
		answers++
		var a ownerAnswer
		_ = json.Unmarshal(m.Data, &a) // what cannot be read proves nothing
		if take(a, func(id string) bool { return hmac.Equal(a.Proof, proof(id, nonce)) }) {
			return nil
		}
	}
	if dropped || answers > maxAnswers {
		return errAnswerFlood
	}
	return nil
}

// contested reports whether other processes answer too, after claimTimeout.
func (o *owner) contested() (bool, error) {
	others := 0
	err := o.conn.queryAll(o.subject(), claimTimeout, func(_ ownerAnswer, proven func(string) bool) bool {
		if !proven(o.id) {
			others++
		}
		return false
	})
	if errors.Is(err, errAnswerFlood) {
		return true, nil
	}
	return others > 0, err
}

func proof(id string, nonce []byte) []byte {
	mac := hmac.New(sha256.New, []byte(id))
	mac.Write(nonce)
	return mac.Sum(nil)
}

// listen begins to answer queries, before anybody can find this process's id in the durable.
func (o *owner) listen() error {
	sub, err := o.conn.nc.Subscribe(o.subject(), o.answer)
	if err != nil {
		return err
	}
	o.sub = sub
	return o.conn.nc.FlushTimeout(flushTimeout)
}

func (o *owner) answer(m *nats.Msg) {
	// Who asks chooses where the answer goes: it must not be a request of this user.
	if len(m.Data) != nonceSize || !strings.HasPrefix(m.Reply, nats.InboxPrefix) {
		return
	}
	b, err := json.Marshal(ownerAnswer{Name: o.name, Proof: proof(o.id, m.Data)})
	if err == nil {
		err = m.Respond(b)
	}
	if err != nil {
		o.conn.log.Debug("cannot answer a query about the durable's owner", slog.String("durable", o.durable), slog.Any("error", err))
	}
}

// release gives up the durable, after the acks that were sent before.
func (o *owner) release() {
	if o.sub != nil {
		_ = o.sub.Unsubscribe() // if it fails, it ends with the connection
		o.sub = nil
	}
}

// check is ErrTaken when the durable's metadata has another owner, which has requested the
// messages that this one left unanswered.
func (o *owner) check(meta map[string]string) error {
	if id := meta[metaOwner]; id == "" || id == o.id || id == o.replaces { // "" after somebody edited it
		return nil
	}
	return fmt.Errorf("%w: %s is now consumed by %s", ErrTaken, o.durable, meta[metaOwnerName])
}

// record puts this process into the metadata; false when it is there already.
func (o *owner) record(meta map[string]string) (map[string]string, bool) {
	if meta[metaOwner] == o.id {
		return meta, false
	}
	recorded := map[string]string{metaOwner: o.id, metaOwnerName: o.name}
	for k, v := range meta {
		if _, ok := recorded[k]; !ok {
			recorded[k] = v
		}
	}
	return recorded, true
}
