package consumer

import (
	"context"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/event"
)

// publisher publishes events under the keys of one start of sentry "s".
type publisher struct {
	*bus.DirectPublisher
	key event.Key // the last one used
}

func newPublisher(ctx context.Context, conn *bus.Conn) (*publisher, error) {
	p, err := bus.NewDirectPublisher(ctx, conn)
	return &publisher{p, event.Key{Sentry: "s", Boot: 1}}, err
}

func (p *publisher) Publish(ctx context.Context, e event.Event) error {
	data, err := event.Encode(e)
	if err != nil {
		return err
	}
	p.key.Counter++
	return p.DirectPublisher.Publish(ctx, event.Encoded{Subject: e.Subject(), Key: p.key.String(), Data: data})
}
