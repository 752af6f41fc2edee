package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/crashpoint"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// ingest is one Run's way from messages to committed segments. Messages come one after
// another, on the source's goroutine; the timer and the end of ctx on others.
type ingest struct {
	*Consumer

	mu       sync.Mutex
	deriver  Deriver
	keys     dataset.Coverage // of the open segment
	pending  []bus.Delivery   // to be acknowledged with it
	events   uint64           // stored with it
	written  time.Time        // when the tracker was, or Run began
	stopping bool

	// timer runs while there is something to wait for: until due the open segment grows
	// old, or, while blocked, it is not tried again.
	timer   *time.Timer
	due     time.Time // zero while it does not run
	blocked error     // why the dataset cannot be written
	resume  *sync.Cond
	backoff time.Duration
}

// newIngest is to be finished when the last message was handled.
func newIngest(c *Consumer) *ingest {
	in := &ingest{Consumer: c, keys: dataset.Coverage{}, written: time.Now()}
	in.resume = sync.NewCond(&in.mu)
	in.timer = time.AfterFunc(time.Hour, in.tick)
	in.timer.Stop()
	return in
}

// handle takes a message. While blocked it waits, so that the source stands still, but
// not when the source is to end.
func (in *ingest) handle(ctx context.Context, m bus.Message) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.blocked != nil {
		defer context.AfterFunc(ctx, in.stop)()
	}
	for in.blocked != nil && !in.stopping {
		in.resume.Wait()
	}
	in.take(m)
}

// stop gives back what waits and what is still to come.
func (in *ingest) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stopping = true
	in.resume.Broadcast()
}

// tick is the timer's. It may come late, when there is nothing due any more.
func (in *ingest) tick() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.due.IsZero() || time.Now().Before(in.due) {
		return
	}
	in.due = time.Time{}
	if in.blocked == nil {
		in.commit()
		return
	}
	if err := in.writer.Recover(); err != nil {
		in.block(err)
		return
	}
	in.log.Info("the data directory can be written again", slog.String("dir", in.writer.Dir()))
	in.blocked = nil
	in.count(func(s *Stats) { s.Err = nil })
	in.resume.Broadcast()
}

// wait and rest start and stop the timer.
func (in *ingest) wait(d time.Duration) {
	in.due = time.Now().Add(d)
	in.timer.Reset(d)
}

func (in *ingest) rest() {
	in.timer.Stop()
	in.due = time.Time{}
}

// finish commits what there is, after the last message, unless the open segment is
// another process's by now.
func (in *ingest) finish(taken bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stopping = true
	switch {
	case taken:
		in.log.Warn("leaving the last events to the other process", slog.Int("events", len(in.pending)))
		in.dropTracked()
		in.reset()
	case in.blocked == nil:
		in.commit()
	}
	in.rest()
	if in.blocked != nil {
		in.log.Warn("the last events stay in the stream for the next start", slog.String("dir", in.writer.Dir()), slog.Any("error", in.blocked))
	}
}

// take stores one message's event in the open segment, or answers the message.
func (in *ingest) take(m bus.Message) {
	in.count(func(s *Stats) { s.Behind = m.Behind })
	if in.blocked != nil { // stopping
		in.answer("nak", m.Nak(0))
		return
	}
	producer, counter := keyOf(m)
	if in.writer.Covered().Has(producer, counter) {
		in.count(func(s *Stats) { s.Duplicates++ })
		in.answer("ack", m.Ack())
		return
	}
	if in.keys.Has(producer, counter) {
		in.count(func(s *Stats) { s.Duplicates++ })
		in.hold(m.Delivery)
		return
	}
	e, err := event.Decode(m.Subject, m.Data)
	if err != nil {
		in.reject(m, err)
		return
	}
	if err := in.store(e); err != nil {
		in.pending = append(in.pending, m.Delivery)
		in.block(err)
		return
	}
	in.track(e)
	in.events++
	in.keys.Add(producer, counter)
	in.hold(m.Delivery)
}

func (in *ingest) store(e event.Event) error {
	switch e := e.(type) {
	case *event.PeerDiscovered:
		return dataset.Append(in.writer, dataset.FromPeerDiscovered(e))
	case *event.MetadataReceived:
		handshake, validator := in.deriver.Rows(e)
		if err := dataset.Append(in.writer, handshake); err != nil {
			return err
		}
		return dataset.Append(in.writer, validator)
	case *event.VisitEnded:
		return dataset.Append(in.writer, dataset.FromVisitEnded(e))
	}
	return fmt.Errorf("no table for event %T", e)
}

// hold keeps a message's delivery until the commit. The first starts the
// segment's age.
func (in *ingest) hold(d bus.Delivery) {
	if len(in.pending) == 0 {
		in.wait(in.cfg.SegmentAge)
	}
	in.pending = append(in.pending, d)
	in.count(func(s *Stats) { s.Pending = len(in.pending) })
	if len(in.pending) >= in.cfg.SegmentRows {
		in.commit()
	}
}

// commit makes the open segment durable and only then acknowledges its messages.
func (in *ingest) commit() {
	in.rest()
	if len(in.pending) == 0 {
		return
	}
	segment := in.writer.Segment()
	err := in.estimates()
	if err == nil {
		err = in.writer.Commit(in.keys)
	}
	if err != nil {
		in.block(err)
		return
	}
	crashpoint.At("flush")
	in.flush(segment)
	crashpoint.At("acknowledge")
	for _, d := range in.pending {
		in.answer("ack", d.Ack())
		crashpoint.At("acknowledged")
	}
	in.backoff = 0
	in.log.Debug("committed segment", slog.Uint64("segment", segment), slog.Uint64("events", in.events))
	in.count(func(s *Stats) {
		s.Stored += in.events
		s.Pending = 0
		s.Segments++
		in.tell(s)
		s.LastCommit = time.Now()
	})
	in.reset()
}

// block drops the open segment and gives its messages back to the stream, to come
// again after the pause.
func (in *ingest) block(err error) {
	in.dropTracked()
	in.backoff = min(max(2*in.backoff, in.retryMin), retryMax)
	in.blocked = err
	in.log.Error("cannot write the data directory, nothing is acknowledged, trying again",
		slog.String("dir", in.writer.Dir()), slog.Int("events", len(in.pending)), slog.Duration("retry_in", in.backoff), slog.Any("error", err))
	for _, d := range in.pending {
		in.answer("nak", d.Nak(in.backoff))
	}
	in.count(func(s *Stats) {
		s.Failures++
		s.Err = err
	})
	in.reset()
	in.wait(in.backoff)
}

func (in *ingest) reset() {
	clear(in.pending)
	in.keys, in.pending, in.events = dataset.Coverage{}, in.pending[:0], 0
	in.count(func(s *Stats) { s.Pending = 0 })
}

// reject keeps an invalid event beside the datasets, once, and ends its
// redelivery.
func (in *ingest) reject(m bus.Message, reason error) {
	if in.rejected.keys.Has(keyOf(m)) {
		in.count(func(s *Stats) { s.Duplicates++ })
		in.answer("term", m.Term())
		return
	}
	in.log.Warn("rejected an event", slog.String("subject", m.Subject), slog.String("key", m.Key), slog.Any("reason", reason))
	if err := in.rejected.append(m, reason); err != nil {
		in.log.Error("cannot keep a rejected event, it comes again", slog.Any("error", err))
		in.answer("nak", m.Nak(retryMax))
		return
	}
	in.count(func(s *Stats) { s.Rejected++ })
	in.answer("term", m.Term())
}

// answer notes an answer that did not leave: its message only comes again.
func (in *ingest) answer(what string, err error) {
	if err != nil {
		in.log.Debug("answer to a message failed", slog.String("answer", what), slog.Any("error", err))
	}
}

// keyOf gives the event's producer and counter. A message without a key of ours
// has the minute of its arrival and its stream sequence: the sequence alone may
// come twice for two events, when the broker's disk went back in time.
func keyOf(m bus.Message) (producer string, counter uint64) {
	if key, err := event.ParseKey(m.Key); err == nil {
		return m.Key[:strings.LastIndexByte(m.Key, '-')], key.Counter // as key.Producer makes it
	}
	return m.Time.UTC().Format("@200601021504"), m.Seq
}
