package bus

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A connection that is lost is said to be lost, by the connection and by a subscription, and
// in the log by one kind of line.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	dir, log := t.TempDir(), newRecorder()
	e, err := startEmbedded(dir, discardLog(), listening)
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(t, e)
	c := connect(t, e.URL(), slog.New(log))
	s := subscribe(t, c)
	collect(t, s)
	until(t, "the subscription is ready", func() bool { return s.Progress().Ready() == nil })
	if err := c.Lost(); err != nil {
		t.Errorf("it is there: %v", err)
	}
	e.Close()
	until(t, "the connection says it", func() bool { return c.Lost() != nil })
	until(t, "the subscription says it", func() bool { return s.Progress().Ready() != nil })
	for _, err := range []error{c.Lost(), s.Progress().Ready()} {
		if !strings.Contains(err.Error(), "cannot reach NATS at nats://127.0.0.1:") {
			t.Errorf("%v", err)
		}
	}
	bounded, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.ensureStream(bounded); err == nil {
		t.Error("a stream without a server")
	}
	until(t, "the log says it", func() bool { return log.has("cannot reach NATS, retrying") })
	if log.has("does not respond") {
		t.Errorf("two kinds of lines for one cause: %q", log.lines)
	}
	// A server with another password.
	other, err := startEmbedded(t.TempDir(), discardLog(), onPort(port), func(o *server.Options) { o.Username, o.Password = "other", "secret" })
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it says that it is refused", func() bool {
		err := c.Lost()
		return err != nil && strings.Contains(strings.ToLower(err.Error()), "authorization violation")
	})
	other.Close()
	again, err := startEmbedded(dir, discardLog(), onPort(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Close)
	until(t, "both are there again", func() bool { return c.Lost() == nil && s.Progress().Ready() == nil })
}
