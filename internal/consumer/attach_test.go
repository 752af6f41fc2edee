package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/tracker"
)

// A tracker that cannot be opened at the start has every stored event once when it can be:
// of segments before and after the start, merged or not, and of the open one.
func TestTrackerThatIsOpenedLater(t *testing.T) {
	const every = 100 * time.Millisecond
	dir := t.TempDir()
	k := newTracked(dir)
	var last *answers
	send := func(f *feed, n int) {
		for range n {
			key, e := k.next()
			last = f.send(t, key, e)
		}
	}
	acked := func() bool { return last.String() == "ack" }
	tr, f := k.open(t), newFeed()
	c := start(t, dir, Config{SegmentRows: 2, CompactEvery: -1, Tracker: tr}, f)
	send(f, 6)
	until(t, "the acks", acked)
	c.stop(t)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	f = newFeed()
	c = start(t, dir, Config{SegmentRows: 2, CompactEvery: -1}, f) // without
	send(f, 4)
	until(t, "the acks", acked)
	c.stop(t)

	var unlocked atomic.Bool
	var attempts atomic.Int32
	f = newFeed()
	later := openIn(t, dir, Config{SegmentRows: 2, SegmentAge: every, CompactEvery: every, NoTracker: tracker.ErrBusy,
		OpenTracker: func(ctx context.Context) (*tracker.Tracker, error) {
			if attempts.Add(1); !unlocked.Load() {
				return nil, fmt.Errorf("open: %w", tracker.ErrBusy)
			}
			return tracker.Open(ctx, k.config)
		}}, f)
	later.attachEvery = 10 * time.Millisecond
	c = run(t, later)
	until(t, "attempts", func() bool { return attempts.Load() > 2 })
	send(f, 6)
	until(t, "commits without the tracker", acked)
	if err := c.Stats().Estimates; !errors.Is(err, tracker.ErrBusy) || c.Tracker() != nil {
		t.Errorf("estimates: %v", err)
	}
	time.Sleep(4 * every) // only gives merges the time that they would need
	send(f, 1)            // into the open segment
	unlocked.Store(true)
	until(t, "the tracker", func() bool { return c.Stats().Estimates == nil && c.Tracker() != nil })
	send(f, 3)
	until(t, "commits with the tracker", acked)
	c.stop(t)
	if err := c.Tracker().Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range peers(t, dir) {
		if p.Observations != 2 || p.Watches != 2 {
			t.Errorf("peer %s: %d observations, %d watches, want 2", p.ID, p.Observations, p.Watches)
		}
	}
}

// A tracker that somebody has to rebuild is given up, and holds back no merges.
func TestTrackerThatNeedsAPerson(t *testing.T) {
	const every = 50 * time.Millisecond
	dir := t.TempDir()
	k, f := newTracked(dir), newFeed()
	c := openIn(t, dir, Config{SegmentRows: 1, CompactEvery: every, SegmentAge: every, NoTracker: tracker.ErrBusy,
		OpenTracker: func(context.Context) (*tracker.Tracker, error) { return nil, tracker.ErrDamaged }}, f)
	c.attachEvery = 10 * time.Millisecond
	r := run(t, c)
	until(t, "the reason", func() bool { return errors.Is(c.Stats().Estimates, tracker.ErrDamaged) })
	until(t, "a merge", func() bool {
		key, e := k.next()
		f.send(t, key, e)
		return c.Stats().Merged > 0
	})
	r.stop(t)
}

// A consumer that stops while it tries leaves no tracker behind.
func TestStoppedBeforeItsTracker(t *testing.T) {
	k, f := newTracked(t.TempDir()), newFeed()
	c := openIn(t, k.config.Dir, Config{SegmentAge: time.Minute, NoTracker: tracker.ErrBusy,
		OpenTracker: func(ctx context.Context) (*tracker.Tracker, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}, f)
	c.attachEvery = time.Millisecond
	r := run(t, c)
	h := handshake()
	m := f.send(t, "s-1-1", h)
	until(t, "the event", func() bool { return c.Stats().Pending == 1 })
	r.stop(t)
	if m.String() != "ack" || c.Tracker() != nil || !errors.Is(c.Stats().Estimates, tracker.ErrBusy) {
		t.Errorf("%s, %v, %v", m, c.Tracker(), c.Stats().Estimates)
	}
}
