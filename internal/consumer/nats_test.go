package consumer

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// pipeline is an embedded JetStream with a connection to it.
func pipeline(t *testing.T) *bus.Conn {
	t.Helper()
	server, err := bus.StartEmbedded(t.TempDir(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	conn, err := bus.Connect(t.Context(), bus.Options{InProcess: server, Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func subscribe(t *testing.T, conn *bus.Conn, cfg Config) *bus.Subscription {
	t.Helper()
	sub, err := conn.Subscribe(t.Context(), bus.SubscribeOptions{Durable: "consumer-test", AckWait: cfg.AckWait(), MaxAckPending: cfg.MaxAckPending()})
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// Through JetStream, with a consumer that is restarted in the middle: every event
// is in its table once, and the stream is empty at the end.
func TestEveryEventOnceAcrossRestarts(t *testing.T) {
	conn := pipeline(t)
	dir, cfg := t.TempDir(), Config{SegmentRows: 100, SegmentAge: 100 * time.Millisecond}
	sub := subscribe(t, conn, cfg)
	publisher, err := newPublisher(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	publish := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			e := handshake()
			e.VisitID = strconv.Itoa(i)
			if err := publisher.Publish(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if err := publisher.Publish(t.Context(), visit(strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(0, n/2)
	c := start(t, dir, cfg, sub)
	until(t, "some events", func() bool { return c.Stats().Stored > 100 })
	c.stop(t)
	publish(n/2, n)
	c = start(t, dir, cfg, sub)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := publisher.Close(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "an empty stream", func() bool {
		lag, err := sub.Lag(t.Context())
		return err == nil && lag == bus.Lag{}
	})
	c.stop(t)

	seen := map[string]int{}
	for _, r := range rows[dataset.ValidatorRow](t, dir) {
		seen["handshake "+r.VisitID]++
	}
	for _, r := range rows[dataset.VisitRow](t, dir) {
		seen["visit "+r.VisitID]++
	}
	for i := range n {
		for _, key := range []string{fmt.Sprint("handshake ", i), fmt.Sprint("visit ", i)} {
			if seen[key] != 1 {
				t.Errorf("%s is there %d times", key, seen[key])
			}
		}
	}
	if s := c.Stats(); s.Missing["s"] != 0 || s.Rejected != 0 {
		t.Errorf("stats %+v", s)
	}
}

// What could not be written is redelivered by the server.
func TestRedeliveryAfterAFailedSegment(t *testing.T) {
	conn := pipeline(t)
	dir, cfg := t.TempDir(), Config{SegmentRows: 10, SegmentAge: 50 * time.Millisecond}
	sub := subscribe(t, conn, cfg)
	c := start(t, dir, cfg, sub)
	replaceByFile(t, dataset.Dir(dir, dataset.Discovery))
	publisher, err := newPublisher(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 25 {
		if err := publisher.Publish(t.Context(), visit(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "a failure", func() bool { return c.Stats().Failures > 0 })
	replaceByDir(t, dataset.Dir(dir, dataset.Discovery))
	until(t, "all events", func() bool { return c.Stats().Stored == 25 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := publisher.Close(ctx); err != nil {
		t.Error(err)
	}
	c.stop(t)
	if got := visitIDs(t, dir); len(got) != 25 {
		t.Errorf("%d rows, want 25", len(got))
	}
}

// One event that cannot be decoded must not block the rest.
func TestPoisonDoesNotComeAgain(t *testing.T) {
	conn := pipeline(t)
	dir, cfg := t.TempDir(), Config{SegmentAge: 20 * time.Millisecond}
	sub := subscribe(t, conn, cfg)
	c := start(t, dir, cfg, sub)
	publisher, err := newPublisher(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := publisher.DirectPublisher.Publish(t.Context(), event.Encoded{Subject: event.SubjectMetadataReceived, Key: "s-2-1", Data: []byte(`{"metadata":null}`)}); err != nil {
		t.Fatal(err)
	}
	if err := publisher.Publish(t.Context(), visit("v1")); err != nil {
		t.Fatal(err)
	}
	until(t, "an empty stream", func() bool {
		lag, err := sub.Lag(t.Context())
		s := c.Stats()
		return err == nil && lag == bus.Lag{} && s.Stored == 1 && s.Rejected == 1
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := publisher.Close(ctx); err != nil {
		t.Error(err)
	}
	c.stop(t)
}

// What a consumer that died had received comes to the next at once, whatever
// AckWait is; and after a stop nothing is redelivered.
func TestNothingComesAgainAfterAStop(t *testing.T) {
	conn := pipeline(t)
	dir, cfg := t.TempDir(), Config{SegmentRows: 50, SegmentAge: time.Hour}
	options := bus.SubscribeOptions{Durable: "consumer-test", AckWait: cfg.AckWait(), MaxAckPending: cfg.MaxAckPending(), Exclusive: true}
	exclusive := func() *bus.Subscription {
		sub, err := conn.Subscribe(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	publisher, err := newPublisher(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	sub := exclusive()
	const n = 80 // less than MaxAckPending
	for i := range n {
		if err := publisher.Publish(t.Context(), visit(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	flushed, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := publisher.Close(flushed); err != nil {
		t.Fatal(err)
	}
	// One that receives all and answers nothing.
	dying, kill := context.WithCancel(t.Context())
	received := 0
	err = sub.Run(dying, func(context.Context, bus.Message) {
		if received++; received == n {
			kill()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	sub.Close() // as its connection's end
	second := exclusive()
	c := start(t, dir, cfg, second)
	until(t, "all events", func() bool { s := c.Stats(); return int(s.Stored)+s.Pending == n })
	c.stop(t)
	until(t, "the acks", func() bool {
		lag, err := sub.Lag(t.Context())
		return err == nil && lag == bus.Lag{}
	})
	second.Close()
	c = start(t, dir, cfg, exclusive())
	c.stop(t)
	if s := c.Stats(); s.Duplicates != 0 || s.Stored != 0 {
		t.Errorf("after the stop: %+v", s)
	}
}
