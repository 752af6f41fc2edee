package bus

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// A stream whose limits drop what no consumer has stored says so; one that Valtrack made, or that is
// full and refuses events, drops none.
func TestStreamsThatDropEvents(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	if _, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: "d", AckWait: time.Minute, MaxAckPending: 10}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		change func(*jetstream.StreamConfig)
		want   []string
	}{
		{func(*jetstream.StreamConfig) {}, nil},
		{func(cfg *jetstream.StreamConfig) { cfg.MaxMsgs = 5 }, nil},
		{func(cfg *jetstream.StreamConfig) { cfg.MaxAge = time.Hour }, []string{"max_age 1h0m0s"}},
		{func(cfg *jetstream.StreamConfig) { cfg.MaxMsgsPerSubject = 1 }, []string{"max_msgs_per_subject 1"}},
		{func(cfg *jetstream.StreamConfig) { cfg.MaxMsgsPerSubject, cfg.DiscardNewPerSubject = 1, true }, nil},
		{func(cfg *jetstream.StreamConfig) {
			cfg.Discard, cfg.MaxBytes, cfg.MaxMsgs = jetstream.DiscardOld, 1<<20, 1
		}, []string{"max_msgs 1 with discard old", "max_bytes 1048576 with discard old"}},
		{func(cfg *jetstream.StreamConfig) { cfg.Discard, cfg.MaxBytes = jetstream.DiscardOld, -1 }, nil},
		{func(cfg *jetstream.StreamConfig) { cfg.AllowRollup, cfg.DenyPurge = true, false }, []string{"allow_rollup_hdrs"}},
		{func(cfg *jetstream.StreamConfig) { cfg.AllowMsgTTL = true }, []string{"allow_msg_ttl"}}, // last: it cannot be taken back
	} {
		s, err := c.js.Stream(t.Context(), event.Stream)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		tt.change(&cfg)
		if _, err := c.js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if state, err := c.State(t.Context()); err != nil || !slices.Equal(state.Drops, tt.want) {
			t.Errorf("%q, %v, want %q", state.Drops, err, tt.want)
		}
		if cfg = s.CachedInfo().Config; !slices.Contains(tt.want, "allow_msg_ttl") {
			if _, err := c.js.UpdateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Durables of data directories that are gone make the stream keep events: they are told,
// and can be forgotten. One that a process consumes is neither.
func TestUnreadDurables(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	if state, err := c.State(t.Context()); err != nil || len(state.Unread) != 0 {
		t.Errorf("without a stream: %+v, %v", state, err)
	}
	for _, name := range []string{"gone-1", "gone-2"} {
		if _, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: name, AckWait: time.Minute, MaxAckPending: 10}); err != nil {
			t.Fatal(err)
		}
	}
	live, err := c.Subscribe(t.Context(), SubscribeOptions{Durable: "live", AckWait: time.Minute, MaxAckPending: 10, Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(live.Close)
	p := publishDirectly(t, c, 1)
	for i := range 6 {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	closePublisher(t, p)
	// The server counts what a durable has still to get a moment after it stored it.
	var unread []Durable
	until(t, "6 messages kept for each", func() bool {
		var state StreamState
		state, err = c.State(t.Context())
		unread = state.Unread
		return err != nil || len(unread) == 2 && unread[0].Kept == 6 && unread[1].Kept == 6
	})
	var names []string
	for _, d := range unread {
		names = append(names, d.Name)
		if !strings.Contains(d.String(), "6 messages kept, created ") || !strings.Contains(d.String(), "never used") {
			t.Errorf("%+v: %s", d, d)
		}
	}
	if err != nil || strings.Join(names, " ") != "gone-1 gone-2" {
		t.Errorf("%v, %v", names, err)
	}
	if err := c.Forget(t.Context(), "live"); !errors.Is(err, ErrInUse) {
		t.Errorf("forget one in use: %v", err)
	}
	if err := c.Forget(t.Context(), "none"); !errors.Is(err, ErrNoDurable) || !strings.HasSuffix(err.Error(), ": none; it has gone-1, gone-2, live") {
		t.Errorf("forget an unknown one: %v", err)
	}
	for _, name := range names {
		if err := c.Forget(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if state, err := c.State(t.Context()); err != nil || len(state.Unread) != 0 {
		t.Errorf("afterwards: %v, %v", unread, err)
	}
}
