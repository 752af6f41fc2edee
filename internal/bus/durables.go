package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Durable is a durable consumer of the stream that nobody consumes. The stream keeps
// events for it until it is deleted.
type Durable struct {
	Name    string
	Created time.Time
	Active  time.Time // when it last had a message or an acknowledgement; zero for never
	Kept    uint64    // messages that the stream keeps for it
}

// String is a sentence about it, without the name.
func (d Durable) String() string {
	age := func(t time.Time) string { return time.Since(t).Round(time.Second).String() }
	active := "never used"
	if !d.Active.IsZero() {
		active = "last used " + age(d.Active) + " ago"
	}
	return fmt.Sprintf("%d messages kept, created %s ago, %s", d.Kept, age(d.Created), active)
}

// StreamState is how full the stream is and what it keeps for nobody.
type StreamState struct {
	Bytes uint64
	// Limit is the stream's maximum size in bytes; 0 for none.
	Limit uint64
	// Unread are the durables that keep events in the stream while nobody consumes them.
	Unread []Durable
	// Drops are the settings of the stream by which it drops events that a durable has not
	// acknowledged yet, such as "max_age 1h0m0s", or lets who publishes drop them; empty for one
	// that Valtrack has created.
	Drops []string
}

// drops lists the settings of StreamState.Drops. A full stream that refuses new events drops none.
func drops(cfg jetstream.StreamConfig) (out []string) {
	if cfg.MaxAge > 0 {
		out = append(out, "max_age "+cfg.MaxAge.String())
	}
	if cfg.AllowRollup {
		out = append(out, "allow_rollup_hdrs")
	}
	if cfg.AllowMsgTTL {
		out = append(out, "allow_msg_ttl")
	}
	if cfg.MaxMsgsPerSubject > 0 && (cfg.Discard != jetstream.DiscardNew || !cfg.DiscardNewPerSubject) {
		out = append(out, fmt.Sprintf("max_msgs_per_subject %d", cfg.MaxMsgsPerSubject))
	}
	if cfg.Discard == jetstream.DiscardNew {
		return out
	}
	if cfg.MaxMsgs > 0 {
		out = append(out, fmt.Sprintf("max_msgs %d with discard old", cfg.MaxMsgs))
	}
	if cfg.MaxBytes > 0 {
		out = append(out, fmt.Sprintf("max_bytes %d with discard old", cfg.MaxBytes))
	}
	return out
}

// State queries the server. A stream that does not exist is empty.
func (c *Conn) State(ctx context.Context) (state StreamState, err error) {
	s, err := c.js.Stream(ctx, c.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return state, nil
	}
	if err != nil {
		return state, fmt.Errorf("stream %s at %s: %w", c.stream, c.url, err)
	}
	info := s.CachedInfo()
	state.Bytes, state.Limit = info.State.Bytes, uint64(max(0, info.Config.MaxBytes))
	state.Drops = drops(info.Config)
	state.Unread, err = c.unread(ctx, s)
	return state, err
}

func (c *Conn) unread(ctx context.Context, s jetstream.Stream) (out []Durable, err error) {
	consumers := s.ListConsumers(ctx)
	for info := range consumers.Info() {
		d := Durable{Name: info.Name, Created: info.Created, Kept: info.NumPending + uint64(info.NumAckPending)}
		for _, last := range []*time.Time{info.Delivered.Last, info.AckFloor.Last} {
			if last != nil && last.After(d.Active) {
				d.Active = *last
			}
		}
		idle := info.NumWaiting == 0 && !info.PushBound && info.Config.Durable != ""
		if idle && d.Kept > 0 && !c.owned(info) {
			out = append(out, d)
		}
	}
	if err := consumers.Err(); err != nil {
		return nil, fmt.Errorf("consumers of stream %s at %s: %w", c.stream, c.url, err)
	}
	return out, nil
}

// owned reports whether a process has the durable, or may have it.
func (c *Conn) owned(info *jetstream.ConsumerInfo) bool {
	_, err := c.queryOwner(newOwner(c, info.Name, "").subject(), info.Config.Metadata[metaOwner])
	return !errors.Is(err, nats.ErrNoResponders)
}

// Errors of Forget.
var (
	ErrNoDurable = errors.New("the stream has no such durable consumer")
	ErrInUse     = errors.New("a process is using the durable consumer")
)

// maxNamed is how many durables an error names.
const maxNamed = 20

// itHas names the stream's durables, as the end of an error; empty where it has none, or they cannot
// be read.
func (c *Conn) itHas(ctx context.Context) string {
	s, err := c.js.Stream(ctx, c.stream)
	if err != nil {
		return ""
	}
	var names []string
	for info := range s.ListConsumers(ctx).Info() { // to the end: the client waits for that
		if info.Config.Durable != "" {
			names = append(names, info.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	more := ""
	if n := len(names) - maxNamed; n > 0 {
		names, more = names[:maxNamed], fmt.Sprintf(" and %d more", n)
	}
	return "; it has " + strings.Join(names, ", ") + more
}

// Forget deletes a durable that nobody consumes; the stream then drops what it kept for it
// alone.
func (c *Conn) Forget(ctx context.Context, durable string) error {
	consumer, err := c.js.Consumer(ctx, c.stream, durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("stream %s at %s: %w: %s%s", c.stream, c.url, ErrNoDurable, durable, c.itHas(ctx))
	case err != nil:
		return fmt.Errorf("durable %s at %s: %w", durable, c.url, err)
	case consumer.CachedInfo().NumWaiting > 0 || consumer.CachedInfo().PushBound || c.owned(consumer.CachedInfo()):
		return fmt.Errorf("stream %s at %s: %w %s: stop it first", c.stream, c.url, ErrInUse, durable)
	}
	if err := c.js.DeleteConsumer(ctx, c.stream, durable); err != nil {
		return fmt.Errorf("delete durable %s at %s: %w", durable, c.url, err)
	}
	return nil
}
