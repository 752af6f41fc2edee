package bus

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

func TestStreamIsCreatedAsDesigned(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	if _, err := c.ensureStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := c.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	type settings struct {
		Subjects   []string
		Retention  jetstream.RetentionPolicy
		Storage    jetstream.StorageType
		Discard    jetstream.DiscardPolicy
		Duplicates time.Duration
		Atomic     bool
	}
	want := settings{
		[]string{"events.metadata_received", "events.peer_discovered", "events.visit_ended"},
		jetstream.InterestPolicy, jetstream.FileStorage, jetstream.DiscardNew, 2 * time.Minute, false,
	}
	got := settings{cfg.Subjects, cfg.Retention, cfg.Storage, cfg.Discard, cfg.Duplicates, cfg.AllowAtomicPublish}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if cfg.MaxBytes < streamMinBytes/2 || cfg.MaxBytes > streamMaxBytes {
		t.Errorf("max bytes %d", cfg.MaxBytes)
	}
}

func TestOperatorsStreamKeepsItsSettings(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	theirs := jetstream.StreamConfig{
		Name: "EVENTS", Description: "ours", Subjects: []string{"events.metadata_received", "other.*"}, Retention: jetstream.LimitsPolicy,
		Storage: jetstream.MemoryStorage, Discard: jetstream.DiscardOld, MaxBytes: 12345678, MaxAge: time.Hour, MaxMsgSize: 99999,
		Duplicates: time.Minute, Compression: jetstream.S2Compression, Metadata: map[string]string{"team": "x"}, Replicas: 1,
	}
	if _, err := c.js.CreateStream(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to add
		if _, err := c.ensureStream(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	theirs.Subjects = append(theirs.Subjects, "events.peer_discovered", "events.visit_ended")
	ignoreDefaults := cmpopts.IgnoreFields(jetstream.StreamConfig{}, "MaxConsumers", "MaxMsgs", "MaxMsgsPerSubject", "AllowDirect", "Metadata")
	if d := cmp.Diff(theirs, s.CachedInfo().Config, ignoreDefaults, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("(-theirs +now):\n%s", d)
	}
	if s.CachedInfo().Config.Metadata["team"] != "x" {
		t.Error("metadata is gone")
	}
}

func TestWildcardSubjectIsEnough(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	if _, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ensureStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := c.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"events.>"}, s.CachedInfo().Config.Subjects); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestServerWithoutJetStream(t *testing.T) {
	e := startServer(t, func(o *server.Options) { o.JetStream = false })
	c := connect(t, e.URL(), discardLog())
	if _, err := c.ensureStream(t.Context()); err == nil || !strings.Contains(err.Error(), "-js") {
		t.Errorf("error %v does not say what to do", err)
	}
	if err := c.CheckJetStream(t.Context()); err == nil || !strings.Contains(err.Error(), "-js") {
		t.Errorf("check: error %v does not say what to do", err)
	}
}

func TestCheckJetStreamMakesNothing(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	if err := c.CheckJetStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.js.Stream(t.Context(), "EVENTS"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("stream: %v", err)
	}
}

func TestSubjectMatches(t *testing.T) {
	for _, c := range []struct {
		pattern string
		want    bool
	}{
		{"events.visit_ended", true}, {"events.*", true}, {"*.*", true}, {">", true}, {"events.>", true}, {"*.visit_ended", true},
		{"events", false}, {"events.visit", false}, {"events.*.*", false}, {"events.visit_ended.>", false}, {"*", false}, {"", false},
	} {
		if got := subjectMatches(c.pattern, "events.visit_ended"); got != c.want {
			t.Errorf("%q: %v", c.pattern, got)
		}
	}
}

// A stream of another application is left alone.
func TestForeignStream(t *testing.T) {
	for name, theirs := range map[string]jetstream.StreamConfig{
		"limits":     {Name: "EVENTS", Subjects: []string{"orders.>"}},
		"work queue": {Name: "EVENTS", Subjects: []string{"orders.new", "events.other"}, Retention: jetstream.WorkQueuePolicy},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, startServer(t).URL(), discardLog())
			if _, err := c.js.CreateStream(t.Context(), theirs); err != nil {
				t.Fatal(err)
			}
			for range 50 {
				if _, err := c.js.Publish(t.Context(), "orders.new", []byte("{}")); err != nil {
					t.Fatal(err)
				}
			}
			options := SubscribeOptions{Durable: "d", AckWait: time.Minute, MaxAckPending: 100}
			_, subscribed := c.Subscribe(t.Context(), options)
			_, published := NewDirectPublisher(t.Context(), c)
			for _, err := range []error{subscribed, published} {
				if !errors.Is(err, ErrForeignStream) || !strings.Contains(err.Error(), theirs.Subjects[0]) || !strings.Contains(err.Error(), "--stream") {
					t.Errorf("error %v", err)
				}
			}
			s, err := c.js.Stream(t.Context(), "EVENTS")
			if err != nil {
				t.Fatal(err)
			}
			info := s.CachedInfo()
			if d := cmp.Diff(theirs.Subjects, info.Config.Subjects); d != "" || info.State.Msgs != 50 || info.State.Consumers != 0 {
				t.Errorf("%d messages, %d consumers, subjects %s", info.State.Msgs, info.State.Consumers, d)
			}
			other, err := Connect(t.Context(), Options{URL: c.nc.ConnectedUrl(), Access: Access{Stream: "VALTRACK"}, Log: discardLog()})
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			if _, err := other.Subscribe(t.Context(), options); err != nil {
				t.Errorf("with another name: %v", err)
			}
		})
	}
}

// In a stream that an operator shares with others only events are taken.
func TestSharedStream(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	if _, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>", "orders.>"}}); err != nil {
		t.Fatal(err)
	}
	// A durable of an earlier version had no filter.
	if _, err := c.js.CreateConsumer(t.Context(), "EVENTS", jetstream.ConsumerConfig{Durable: "consumer-test", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"orders.new", "events.other", "events.visit_ended"} {
		if _, err := c.js.Publish(t.Context(), subject, nil, jetstream.WithMsgID("s-1-"+subject)); err != nil {
			t.Fatal(err)
		}
	}
	got := collect(t, subscribe(t, c))
	until(t, "the event", func() bool { return got.distinct() == 1 })
	lag, err := subscribe(t, c).Lag(t.Context())
	if err != nil || lag.Pending != 0 || got.keys["s-1-events.visit_ended"] != 1 {
		t.Errorf("keys %v, lag %+v, %v", got.keys, lag, err)
	}
}

// A consumer takes a stream as it is, since it may be a copy of another.
func TestConsumerOfAMirror(t *testing.T) {
	for name, cfg := range map[string]jetstream.StreamConfig{
		"mirror":  {Name: "COPY", Mirror: &jetstream.StreamSource{Name: "EVENTS"}},
		"sources": {Name: "COPY", Sources: []*jetstream.StreamSource{{Name: "EVENTS"}}},
	} {
		t.Run(name, func(t *testing.T) {
			e := startServer(t)
			c := connect(t, e.URL(), discardLog())
			if _, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: event.Subjects()}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			copied, err := Connect(t.Context(), Options{URL: e.URL(), Access: Access{Stream: "COPY"}, Log: discardLog()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { copied.Close() })
			got := collect(t, subscribe(t, copied))
			p := publishDirectly(t, c, 1)
			if err := p.Publish(t.Context(), discovered(1)); err != nil {
				t.Fatal(err)
			}
			closePublisher(t, p)
			until(t, "the event of the copy", func() bool { return got.distinct() == 1 })
			if s, err := c.js.Stream(t.Context(), "COPY"); err != nil || len(s.CachedInfo().Config.Subjects) != 0 {
				t.Errorf("the copy was changed: %v", err)
			}
		})
	}
}

// A consumer needs no right to change the stream.
func TestConsumerWithoutRightsToTheStream(t *testing.T) {
	e := startServer(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "p"},
			{Username: "reader", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{
				Allow: []string{"$JS.API.INFO", "$JS.API.STREAM.INFO.EVENTS", "$JS.API.CONSUMER.>", "$JS.ACK.EVENTS.>", "valtrack.owner.>"},
			}}},
		}
	})
	as := func(user string) *Conn {
		return connect(t, strings.Replace(e.URL(), "://", "://"+user+":p@", 1), discardLog())
	}
	admin := as("admin")
	// Made by an operator, with one subject less than this version has.
	if _, err := admin.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: event.Subjects()[:2]}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sub, err := as("reader").Subscribe(ctx, SubscribeOptions{Durable: "d", AckWait: time.Minute, MaxAckPending: 10, Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	got := collect(t, sub)
	if _, err := admin.js.Publish(t.Context(), event.Subjects()[0], nil, jetstream.WithMsgID("s-1-1")); err != nil {
		t.Fatal(err)
	}
	until(t, "the event, acknowledged", func() bool {
		lag, err := sub.Lag(t.Context())
		return got.distinct() == 1 && err == nil && lag == Lag{}
	})
}
