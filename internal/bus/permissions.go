package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// Uses are what a process does with the stream.
type Uses struct {
	Publishes, Consumes bool
	// Durable is that of a process that consumes; empty while it is not known.
	Durable string
}

// unknownDurable stands for a durable whose name is not known yet.
const unknownDurable = "valtrack-check"

// deniedTimeout limits Denied, which needs some 15 answers of the server, one after another.
const deniedTimeout = 15 * time.Second

// badRequest is no JSON: the API of JetStream refuses it and does nothing.
const badRequest = "{"

// Denied lists what the server does not let this user do although the uses need it, such as
// "publish to events.visit". It changes nothing: each subject is published to with a message that
// the server refuses to act on, and only the refusal for lack of a permission counts.
func (c *Conn) Denied(ctx context.Context, u Uses) (denied []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, deniedTimeout)
	defer cancel()
	try := func(what string, attempt func() error) bool {
		if err != nil {
			return false
		}
		var violates bool
		if violates, err = c.violates(ctx, attempt); violates {
			denied = append(denied, what)
		}
		return err == nil && !violates
	}
	publish := func(subject, data string, header ...string) bool {
		m := nats.NewMsg(subject)
		m.Data = []byte(data)
		if len(header) == 2 {
			m.Header.Set(header[0], header[1])
		}
		return try("publish to "+subject, func() error { return c.nc.PublishMsg(m) })
	}
	api := func(request string) bool {
		return publish(c.apiPrefix()+fmt.Sprintf(request, c.stream), badRequest)
	}

	inbox := c.nc.NewInbox()
	answers := try("subscribe to "+inbox[:strings.LastIndexByte(inbox, '.')]+".>", func() error { return c.subscribeBriefly(inbox) })
	asks := api("STREAM.INFO.%s")
	api("CONSUMER.LIST.%s")
	if err != nil || !answers || !asks {
		return denied, err // else no answer would come
	}
	missing := event.Subjects() // of the stream
	s, err := c.js.Stream(ctx, c.stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err = nil
		api("STREAM.CREATE.%s")
	case err != nil:
		return nil, fmt.Errorf("stream %s at %s: %w", c.stream, c.url, err)
	default:
		missing = uncovered(s.CachedInfo().Config.Subjects)
	}
	if u.Publishes {
		for _, subject := range event.Subjects() {
			publish(subject, "", jetstream.ExpectedStreamHeader, unknownDurable)
		}
		publish(newOwner(c, unknownDurable, "").subject(), "") // whether anybody reads a durable
		if s != nil && len(missing) > 0 && !copies(s.CachedInfo().Config) {
			api("STREAM.UPDATE.%s")
		}
	}
	if u.Consumes {
		durable := cmp.Or(u.Durable, unknownDurable)
		api("CONSUMER.INFO.%s." + durable)
		api("CONSUMER.CREATE.%s." + durable)
		api("CONSUMER.MSG.NEXT.%s." + durable)
		// That a message is being worked on, which does nothing without the number of one.
		publish("$JS.ACK."+c.stream+"."+durable+"."+unknownDurable, "+WPI")
		owner := newOwner(c, durable+"."+unknownDurable, "").subject()
		if publish(owner, "") && try("subscribe to "+owner, func() error { return c.subscribeBriefly(owner) }) {
			try("answer to requests (allow_responses)", func() error { return c.answerItself(ctx, owner) })
		}
	}
	slices.Sort(denied)
	return slices.Compact(denied), err
}

// violates reports whether the server answers the attempt with a violation of permissions.
func (c *Conn) violates(ctx context.Context, attempt func() error) (bool, error) {
	before := c.nc.LastError()
	if err := attempt(); err != nil {
		return false, err
	}
	if err := c.nc.FlushWithContext(ctx); err != nil {
		return false, fmt.Errorf("permissions at %s: %w", c.url, err)
	}
	err := c.nc.LastError()
	return !errors.Is(err, before) && errors.Is(err, nats.ErrPermissionViolation), nil
}

func (c *Conn) subscribeBriefly(subject string) error {
	sub, err := c.nc.SubscribeSync(subject)
	if err != nil {
		return err
	}
	return sub.Unsubscribe()
}

// answerItself asks on the subject and answers.
func (c *Conn) answerItself(ctx context.Context, subject string) error {
	sub, err := c.nc.SubscribeSync(subject)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is about to be closed
	if err := c.nc.PublishRequest(subject, c.nc.NewInbox(), nil); err != nil {
		return err
	}
	m, err := sub.NextMsgWithContext(ctx)
	if err != nil {
		return err
	}
	return m.Respond(nil)
}
