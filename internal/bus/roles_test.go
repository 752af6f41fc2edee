package bus

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// The users of contrib/nats/nats.conf may do what their role needs, on a server without a stream
// too: a consumer first, then a sentry, and a second consumer that waits.
func TestUsersOfTheExampleConfiguration(t *testing.T) {
	t.Parallel()
	url := startConfigured(t, exampleConfiguration(t))
	log := newRecorder()
	as := func(user, password string) *Conn { return connectAs(t, url(user, password), user, slog.New(log)) }
	admin := as("admin", "pa")
	at := eventsAt(t, admin, "_INBOX.>", "_INBOX.consumer.>", "_INBOX.sentry.>")
	checkDenied(t, as("consumer", "pc"), Uses{Consumes: true}) // without a stream
	options := SubscribeOptions{Durable: "consumer-test", AckWait: time.Minute, MaxAckPending: 1000, Exclusive: true, Name: "the first"}
	sub, err := as("consumer", "pc").Subscribe(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	got := collect(t, sub)
	p := publishDirectly(t, as("sentry", "ps"), 1)
	const n = 20
	for i := range n {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	closePublisher(t, p)
	got.checkAll(t, keyRange(1, 1, n))
	checkDenied(t, as("consumer", "pc"), Uses{Consumes: true, Durable: "consumer-test"})
	checkDenied(t, as("sentry", "ps"), Uses{Publishes: true})
	checkDenied(t, as("admin", "pa"), Uses{Publishes: true, Consumes: true})
	waiting, stop := context.WithCancel(t.Context())
	options.Name, options.StandBy = "the second", func(name string) {
		if name != "the first" {
			t.Errorf("waits for %q", name)
		}
		stop()
	}
	if _, err := as("consumer", "pc").Subscribe(waiting, options); err == nil {
		t.Error("two consumers have one durable")
	}
	info, err := as("admin", "pa").js.Stream(t.Context(), sub.conn.stream)
	if err != nil || info.CachedInfo().State.LastSeq != n || info.CachedInfo().State.Consumers != 1 {
		t.Errorf("the checks changed the stream: %v, %+v", err, info.CachedInfo().State)
	}
	if log.has("ermissions violation") {
		t.Errorf("%q", log.lines)
	}
	// What a consumer fetches comes where a sentry may not listen.
	until(t, "all events come to a consumer's inbox", func() bool {
		own := at["_INBOX.consumer.>"].Load()
		return own >= n && own == at["_INBOX.>"].Load()
	})
	if got := at["_INBOX.sentry.>"].Load(); got > 0 {
		t.Errorf("%d events come to sentries", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	curious := connectAs(t, url("sentry", "ps"), "sentry", discardLog())
	for subject, want := range map[string]bool{"_INBOX.sentry.>": false, "_INBOX.consumer.>": true, "_INBOX.>": true, "events.>": true} {
		refused, err := curious.violates(ctx, func() error { return curious.subscribeBriefly(subject) })
		if refused != want || err != nil {
			t.Errorf("a sentry may not subscribe to %s: %v, %v", subject, refused, err)
		}
	}
}

// connectAs connects as a user of the example configuration; sentry and consumer have an inbox.
func connectAs(t *testing.T, url, user string, log *slog.Logger) *Conn {
	t.Helper()
	o := Options{URL: url, Name: "test", Log: log}
	if user == SentryInbox || user == ConsumerInbox {
		o.Inbox = user
	}
	c, err := Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// eventsAt counts the events that come to subscribers of each subject.
func eventsAt(t *testing.T, c *Conn, subjects ...string) map[string]*atomic.Int64 {
	t.Helper()
	out := map[string]*atomic.Int64{}
	for _, subject := range subjects {
		n := new(atomic.Int64)
		out[subject] = n
		_, err := c.nc.Subscribe(subject, func(m *nats.Msg) {
			if strings.Contains(string(m.Data), `"enr":`) {
				n.Add(1)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return out
}

// Each permission of contrib/nats/nats.conf is needed, and is missed when it is not given.
func TestEachPermissionIsMissed(t *testing.T) {
	t.Parallel()
	text := exampleConfiguration(t)
	begin := strings.Index(text, "authorization {")
	quoted := regexp.MustCompile(`"([^"]+)"`)
	roles := []struct {
		block, user, password string
		uses                  Uses
	}{
		{"SENTRY {", "sentry", "ps", Uses{Publishes: true}},
		{"CONSUMER {", "consumer", "pc", Uses{Consumes: true}},
	}
	tried := 0
	for _, r := range roles {
		given := deniedOf(t, text, r.user, r.password, r.uses) // what a role is not meant to have
		from := begin + strings.Index(text[begin:], r.block)
		to := from + strings.Index(text[from:], "  }\n")
		without := map[string]string{"allow_responses: true": strings.Replace(text[from:to], "allow_responses: true", "", 1)}
		for _, at := range quoted.FindAllStringIndex(text[from:to], -1) {
			list := "publish to "
			if strings.LastIndex(text[from:from+at[0]], "subscribe:") > strings.LastIndex(text[from:from+at[0]], "publish:") {
				list = "subscribe to "
			}
			without[list+text[from+at[0]:from+at[1]]] = text[from:from+at[0]] + `"nothing"` + text[from+at[1]:to]
		}
		for permission, block := range without {
			if block == text[from:to] {
				continue // this role has none
			}
			tried++
			missed := slices.DeleteFunc(deniedOf(t, text[:from]+block+text[to:], r.user, r.password, r.uses), func(what string) bool { return slices.Contains(given, what) })
			if len(missed) == 0 {
				t.Errorf("%s without %s: nothing is missed", r.user, permission)
			}
			t.Logf("%s without %s: %q", r.user, permission, missed)
		}
		want := map[string][]string{"sentry": {"publish to $JS.API.STREAM.CREATE.EVENTS", "publish to $JS.API.STREAM.UPDATE.EVENTS"}}[r.user]
		if !slices.Equal(given, want) {
			t.Errorf("%s is denied %q, want %q", r.user, given, want)
		}
	}
	if tried < 15 {
		t.Errorf("%d permissions tried", tried)
	}
}

// deniedOf is what a user misses on a server with the configuration, without a stream and then with
// one of an earlier version, which lacks one of the subjects.
func deniedOf(t *testing.T, configuration, user, password string, u Uses) []string {
	t.Helper()
	url := startConfigured(t, configuration)
	c := connectAs(t, url(user, password), user, discardLog())
	before, err := c.Denied(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	admin := connect(t, url("admin", "pa"), discardLog())
	if _, err := admin.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: event.Stream, Subjects: event.Subjects()[1:], Retention: jetstream.InterestPolicy}); err != nil {
		t.Fatal(err)
	}
	after, err := c.Denied(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(before, after)
	slices.Sort(all)
	return slices.Compact(all)
}

func checkDenied(t *testing.T, c *Conn, u Uses) {
	t.Helper()
	if denied, err := c.Denied(t.Context(), u); len(denied) > 0 || err != nil {
		t.Errorf("%+v: denied %q, %v", u, denied, err)
	}
}

func exampleConfiguration(t *testing.T) string {
	text, err := os.ReadFile("../../contrib/nats/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// startConfigured starts a server with a configuration file and returns its URL for a user.
func startConfigured(t *testing.T, text string) func(user, password string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"nats.conf": text, "passwords.conf": "SENTRY_PASSWORD: \"ps\"\nCONSUMER_PASSWORD: \"pc\"\nADMIN_PASSWORD: \"pa\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	o.Host, o.Port, o.HTTPPort, o.StoreDir, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, 0, filepath.Join(dir, "store"), true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Addr().(*net.TCPAddr).Port))
	return func(user, password string) string { return fmt.Sprintf("nats://%s:%s@%s", user, password, at) }
}
