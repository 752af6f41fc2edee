package bus

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Durables of data directories that are gone make the stream keep events: they are told,
// and can be forgotten. One that a process consumes is neither.
func TestUnreadDurables(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	if unread, err := c.Unread(t.Context(), ""); err != nil || len(unread) != 0 {
		t.Errorf("without a stream: %v, %v", unread, err)
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
		unread, err = c.Unread(t.Context(), "own")
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
	if unread, err := c.Unread(t.Context(), ""); err != nil || len(unread) != 0 {
		t.Errorf("afterwards: %v, %v", unread, err)
	}
}
