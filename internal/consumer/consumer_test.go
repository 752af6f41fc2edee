package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests.
const patience = 30 * time.Second

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out after %v waiting for: %s", patience, what)
		}
	}
}

// answers keeps what a message was answered.
type answers struct {
	mu   sync.Mutex
	list []string
	on   func(answer string)
}

func (a *answers) add(s string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, s)
	if a.on != nil {
		a.on(s)
	}
	return nil
}

func (a *answers) Ack() error              { return a.add("ack") }
func (a *answers) Term() error             { return a.add("term") }
func (a *answers) Nak(time.Duration) error { return a.add("nak") }

func (a *answers) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.list, " ")
}

// feed is a source that delivers what the test sends.
type feed struct {
	messages chan bus.Message
	wait     time.Duration
	stored   time.Time // by the broker; zero is the event's own time
}

func newFeed() *feed { return &feed{messages: make(chan bus.Message), wait: time.Hour} }

func (f *feed) AckWait() time.Duration { return f.wait }

func (f *feed) Run(ctx context.Context, handle func(context.Context, bus.Message)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-f.messages:
			handle(ctx, m)
		}
	}
}

func (f *feed) send(t *testing.T, key string, e event.Event) *answers {
	t.Helper()
	data, err := event.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	stored := f.stored
	if stored.IsZero() {
		stored = time.UnixMilli(event.CommonOf(e).Timestamp)
	}
	return f.deliver(bus.Message{Subject: e.Subject(), Key: key, Data: data, Seq: 1, Time: stored})
}

func (f *feed) sendRaw(subject, key string, data []byte) *answers {
	return f.deliver(bus.Message{Subject: subject, Key: key, Data: data, Seq: 1, Time: time.Unix(1763800000, 0)})
}

func (f *feed) deliver(m bus.Message) *answers {
	a := &answers{}
	m.Delivery = a
	f.messages <- m
	return a
}

// running is a consumer under test.
type running struct {
	*Consumer
	cancel context.CancelFunc
	done   chan error
}

// openIn makes a consumer on a directory.
func openIn(t testing.TB, dir string, cfg Config, s Source) *Consumer {
	t.Helper()
	cfg.Log = discardLog()
	w, err := dataset.Open(dir, cfg.Log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	c, err := New(cfg, w, s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, dir string, cfg Config, s Source) *running {
	t.Helper()
	return run(t, openIn(t, dir, cfg, s))
}

func run(t *testing.T, c *Consumer) *running {
	t.Helper()
	c.retryMin, c.writeEvery = 10*time.Millisecond, 10*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Consumer: c, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- c.Run(ctx) }()
	t.Cleanup(cancel)
	return r
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the consumer does not end")
	}
}

func common() event.Common {
	return event.Common{Network: "n", CrawlerID: "c", Timestamp: 1763800000000}
}

func visit(id string) *event.VisitEnded {
	return &event.VisitEnded{Common: common(), VisitID: id, ID: "16U", Started: 1763800000000, Ended: 1763800000000, Outcome: event.OutcomeOK}
}

func handshake() *event.MetadataReceived {
	return &event.MetadataReceived{
		Common: common(), ID: "16Uiu2HAm9dqnTSYPpqFevmJXXvRUavRzcEuYPVS2htkoQLumpu4w", Epoch: 286684, Multiaddr: "/ip4/127.0.0.1/tcp/9000",
		MetaData: &event.MetaData{SeqNumber: 82, Attnets: eth2.NewAttnets([]int{0, 12})}, SubscribedSubnets: []int{0, 11, 12, 63},
		ClientVersion: "Lighthouse/v5.1.3-3058b96/x86_64-linux",
	}
}

func rows[T dataset.Row](t *testing.T, dir string) (out []T) {
	t.Helper()
	err := dataset.Scan(t.Context(), dir, dataset.Range{}, func(r T) error {
		out = append(out, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func visitIDs(t *testing.T, dir string) (out []string) {
	t.Helper()
	for _, r := range rows[dataset.VisitRow](t, dir) {
		out = append(out, r.VisitID)
	}
	return out
}

func TestAckOnlyAfterTheRowsAreThere(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{SegmentRows: 2}, f)
	first := f.send(t, "s-1-1", visit("v1"))
	f.messages <- bus.Message{Subject: "nothing", Key: "s-1-2", Delivery: &answers{}} // the first was taken before this
	if first.String() != "" {
		t.Errorf("answered %q before the commit", first)
	}
	// When the ack comes the row must be readable already.
	second := &answers{on: func(string) {
		if d := cmp.Diff([]string{"v1", "v3"}, visitIDs(t, dir)); d != "" {
			t.Errorf("rows at the ack (-want +got):\n%s", d)
		}
	}}
	data, err := event.Encode(visit("v3"))
	if err != nil {
		t.Fatal(err)
	}
	f.messages <- bus.Message{Subject: event.SubjectVisitEnded, Key: "s-1-3", Data: data, Delivery: second}
	until(t, "both acks", func() bool { return first.String() == "ack" && second.String() == "ack" })
	c.stop(t)
}

func TestSegmentAge(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{SegmentAge: 20 * time.Millisecond}, f)
	a := f.send(t, "s-1-1", visit("v1"))
	until(t, "the ack", func() bool { return a.String() == "ack" })
	if s := c.Stats(); s.Stored != 1 || s.Segments != 1 || s.Pending != 0 || s.LastCommit.IsZero() {
		t.Errorf("stats %+v", s)
	}
	c.stop(t)
}

func TestStopCommitsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{}, f)
	a := f.send(t, "s-1-1", visit("v1"))
	c.stop(t)
	if a.String() != "ack" {
		t.Errorf("answered %q", a)
	}
	if d := cmp.Diff([]string{"v1"}, visitIDs(t, dir)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDuplicatesAreStoredOnce(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{SegmentRows: 3}, f)
	sent := []*answers{f.send(t, "s-1-1", visit("v1")), f.send(t, "s-1-1", visit("v1")), f.send(t, "s-1-2", visit("v2"))}
	until(t, "the commit", func() bool { return c.Stats().Segments == 1 })
	late := f.send(t, "s-1-1", visit("v1")) // after its commit
	until(t, "its ack", func() bool { return late.String() == "ack" })
	c.stop(t)
	for i, a := range sent {
		if a.String() != "ack" {
			t.Errorf("message %d answered %q", i, a)
		}
	}
	if s := c.Stats(); s.Stored != 2 || s.Duplicates != 2 {
		t.Errorf("stats %+v", s)
	}

	c = start(t, dir, Config{}, f) // and after a restart
	again := f.send(t, "s-1-2", visit("v2"))
	other := f.send(t, "s-2-2", visit("v3")) // the counter of another boot
	c.stop(t)
	if again.String() != "ack" || other.String() != "ack" {
		t.Errorf("answers %q and %q", again, other)
	}
	if d := cmp.Diff([]string{"v1", "v2", "v3"}, visitIDs(t, dir)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestMessagesWithoutAKey(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{}, f)
	data, err := event.Encode(visit("v"))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, m := range []bus.Message{
		{Seq: 1, Time: at}, {Seq: 2, Time: at}, {Seq: 2, Time: at}, // a redelivery
		{Seq: 1, Time: at.Add(time.Hour)},          // the broker's sequence began again
		{Seq: 3, Time: at, Key: "not one of ours"}, // some other publisher's id
	} {
		m.Subject, m.Data, m.Delivery = event.SubjectVisitEnded, data, &answers{}
		f.messages <- m
	}
	c.stop(t)
	if s := c.Stats(); s.Stored != 4 || s.Duplicates != 1 {
		t.Errorf("stats %+v", s)
	}
}

// takenFeed is a feed whose durable goes to another process at the end.
type takenFeed struct{ *feed }

func (f takenFeed) Run(ctx context.Context, handle func(context.Context, bus.Message)) error {
	return errors.Join(f.feed.Run(ctx, handle), bus.ErrTaken)
}

// What another process has been given already must not be stored here as well.
func TestNothingIsStoredOfATakenDurable(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{}, takenFeed{f})
	a := f.send(t, "s-1-1", visit("v1"))
	c.cancel()
	if err := <-c.done; !errors.Is(err, bus.ErrTaken) {
		t.Errorf("error %v", err)
	}
	if s := c.Stats(); s.Stored != 0 || a.String() != "" {
		t.Errorf("answered %q, stats %+v", a, s)
	}
}

func TestNewChecksItsConfig(t *testing.T) {
	w, err := dataset.Open(t.TempDir(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	f := newFeed()
	f.wait = time.Minute
	cfg := Config{Log: discardLog()}
	if _, err := New(cfg, w, f); err == nil || !strings.Contains(err.Error(), "1m0s") {
		t.Errorf("ack wait of one segment age: %v", err)
	}
	f.wait = cfg.AckWait()
	if _, err := New(Config{SegmentRows: -1, Log: discardLog()}, w, f); err == nil {
		t.Error("negative rows are taken")
	}
	c, err := New(cfg, w, f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dataset.Open(w.Dir(), discardLog()); !errors.Is(err, dataset.ErrLocked) {
		t.Errorf("second writer: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
	again, err := dataset.TakeLock(w.Dir())
	if err != nil {
		t.Fatalf("after the run: %v", err)
	}
	again.Close()
}

// Parts are merged and removed while events come in.
func TestPartsAreMergedAndRemoved(t *testing.T) {
	dir := t.TempDir()
	f := newFeed()
	c := start(t, dir, Config{SegmentRows: 1, SegmentAge: time.Millisecond, CompactEvery: 100 * time.Millisecond}, f)
	const sent = 30
	for i := 1; i <= sent; i++ {
		f.send(t, fmt.Sprintf("s-1-%d", i), visit(fmt.Sprint(i)))
	}
	until(t, "a merge", func() bool { return c.Stats().Merged > 0 })
	c.stop(t)
	if ids := visitIDs(t, dir); len(ids) != sent {
		t.Errorf("%d rows of %d", len(ids), sent)
	}
	h, err := dataset.Check(t.Context(), dir, nil)
	if err != nil || !h.OK() || h.Missing() != 0 {
		t.Errorf("%+v, %v", h, err)
	}

	c = start(t, dir, Config{SegmentAge: time.Millisecond, CompactEvery: 10 * time.Millisecond, Retention: 10 * time.Millisecond}, f)
	newer := f.send(t, fmt.Sprintf("s-1-%d", sent+1), visit("newer")) // the newest part stays
	until(t, "the ack", func() bool { return newer.String() == "ack" })
	until(t, "old parts to go", func() bool { return c.Stats().Removed > 0 })
	late := f.send(t, "s-1-1", visit("1"))
	until(t, "the ack", func() bool { return late.String() == "ack" })
	c.stop(t)
	if s := c.Stats(); s.Duplicates != 1 {
		t.Errorf("an event whose row was removed was stored again: %+v", s)
	}
}

func TestConfigThatDoesNotFit(t *testing.T) {
	for want, cfg := range map[string]Config{
		"segments of 3000000 rows: want 1 to 2000000; up to 6000000 unacknowledged": {SegmentRows: 3_000_000},
		"segments of 2h0m0s: .* messages wait 4h0m30s":                              {SegmentAge: 2 * time.Hour},
		"merging the parts of each 30s: want at least .* 1m0s":                      {CompactEvery: 30 * time.Second},
		"retention 30m0s: want 0, or at least 1h0m0s":                               {Retention: 30 * time.Minute},
	} {
		if err := cfg.Check(); err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
			t.Errorf("%+v: %v, want %s", cfg, err, want)
		}
	}
	if err := (Config{CompactEvery: -1, Retention: time.Second}).Check(); err != nil {
		t.Error(err)
	}
}
