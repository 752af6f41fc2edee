package bus

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
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
