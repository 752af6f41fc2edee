package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/crashpoint"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// ingest is the loop of one Run: from messages to committed segments.
type ingest struct {
	*Consumer
	decoder    event.Decoder
	deriver    Deriver
	keys       dataset.Coverage // of the open segment
	deliveries []bus.Delivery   // to be acknowledged with it
	events     uint64           // stored with it
	written    time.Time        // when the tracker was; zero before
	taken      bool             // the open segment is another process's; read after messages' end

	// due is when the open segment is old enough, or, while blocked, when to try
	// again. It runs only while there is something to wait for.
	due     *time.Timer
	blocked error // why the dataset cannot be written
	backoff time.Duration
}

func newIngest(c *Consumer) *ingest {
	due := time.NewTimer(time.Hour)
	due.Stop()
	return &ingest{Consumer: c, keys: dataset.Coverage{}, due: due}
}

// run reads messages until the channel is closed, which the source does after
// ctx has ended. While blocked it reads nothing, so that the source stands still.
func (in *ingest) run(ctx context.Context, messages <-chan bus.Message) {
	defer in.due.Stop()
	stopping := ctx.Done()
	for {
		from := messages
		if in.blocked != nil && stopping != nil {
			from = nil
		}
		select {
		case m, ok := <-from:
			if !ok {
				in.finish()
				return
			}
			in.take(m)
		case <-in.due.C:
			in.tick()
		case <-stopping:
			stopping = nil // from here on only the channel's end counts
		}
	}
}

func (in *ingest) tick() {
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
}

// finish commits what there is, if it is still this process's to store.
func (in *ingest) finish() {
	switch {
	case in.taken:
		in.log.Warn("leaving the last events to the other process", slog.Int("events", len(in.deliveries)))
		in.dropTracked()
		in.reset()
	case in.blocked == nil:
		in.commit()
	}
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
	e, err := in.decoder.Decode(m.Subject, m.Data)
	if err != nil {
		in.reject(m, err)
		return
	}
	if err := in.store(e); err != nil {
		in.deliveries = append(in.deliveries, m.Delivery)
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
		return in.writer.AppendDiscovery(dataset.FromPeerDiscovered(e))
	case *event.MetadataReceived:
		return in.writer.AppendMetadata(in.deriver.Rows(e))
	case *event.VisitEnded:
		return in.writer.AppendVisit(dataset.FromVisitEnded(e))
	}
	return fmt.Errorf("no table for event %T", e)
}

// hold keeps a message's delivery until the commit. The first starts the
// segment's age.
func (in *ingest) hold(d bus.Delivery) {
	if len(in.deliveries) == 0 {
		in.due.Reset(in.cfg.SegmentAge)
	}
	in.deliveries = append(in.deliveries, d)
	in.count(func(s *Stats) { s.Pending = len(in.deliveries) })
	if len(in.deliveries) >= in.cfg.SegmentRows {
		in.commit()
	}
}

// commit makes the open segment durable and only then acknowledges its messages.
func (in *ingest) commit() {
	in.due.Stop()
	if len(in.deliveries) == 0 {
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
	in.flush(segment, len(in.deliveries) >= in.cfg.SegmentRows)
	crashpoint.At("acknowledge")
	for _, d := range in.deliveries {
		in.answer("ack", d.Ack())
		crashpoint.At("acknowledged")
	}
	in.backoff = 0
	in.log.Debug("committed segment", slog.Uint64("segment", segment), slog.Uint64("events", in.events))
	missing := in.missing()
	in.count(func(s *Stats) {
		s.Stored += in.events
		s.Segments++
		s.Missing = missing
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
		slog.String("dir", in.writer.Dir()), slog.Int("events", len(in.deliveries)), slog.Duration("retry_in", in.backoff), slog.Any("error", err))
	for _, d := range in.deliveries {
		in.answer("nak", d.Nak(in.backoff))
	}
	in.count(func(s *Stats) {
		s.Failures++
		s.Err = err
	})
	in.reset()
	in.due.Reset(in.backoff)
}

func (in *ingest) reset() {
	in.keys, in.deliveries, in.events = dataset.Coverage{}, nil, 0
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
		return key.Producer(), key.Counter
	}
	return m.Time.UTC().Format("@200601021504"), m.Seq
}
