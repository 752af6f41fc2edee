package bus

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// More replicas than servers are an error that says what to do; a stream that an operator has
// made stays as it is, with a warning; numbers that no cluster takes are refused at once.
func TestReplicas(t *testing.T) {
	url := startServer(t).URL()
	var log bytes.Buffer
	c, err := Connect(t.Context(), Options{URL: url, Access: Access{Replicas: 3}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ensureStream(t.Context()); !errors.Is(err, ErrNoCluster) || !strings.Contains(err.Error(), "--stream-replicas") {
		t.Errorf("error %v", err)
	}
	if _, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: event.Stream, Subjects: event.Subjects()}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.ensureStream(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "fewer replicas"); n != 1 || !strings.Contains(log.String(), "nats stream edit EVENTS --replicas 3") {
		t.Errorf("log %s", &log)
	}
	for _, n := range []int{-1, 6} {
		if err := (Access{Replicas: n}).Check(); !errors.Is(err, ErrAccess) || !strings.Contains(err.Error(), "replicas") {
			t.Errorf("%d replicas: %v", n, err)
		}
	}
}
