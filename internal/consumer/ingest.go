package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/crashpoint"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// ingest takes the messages of one Run to committed segments. A message goes through
// the functions of this file in their order: handle, process (dedupe, decode), store
// (rows, enriched), hold, commit, ackMessages. What cannot be stored goes to reject, in
// rejected.go. What happens while writes fail, and when the consumer stops, is in retry.go.
//
// Messages come one after another, on the source's goroutine; the timer and the end of
// ctx on others.
type ingest struct {
	*Consumer
	enrichers []Enricher
	sinks     []sink
	row       dataset.ValidatorRow // being enriched; here, as a local one would be allocated each time
	root      eth2.Root            // of the network's genesis validators; zero while not known

	mu       sync.Mutex
	keys     dataset.Coverage // of the open segment
	contents *contents        // of these, and of earlier segments
	pending  []bus.Delivery   // to be acknowledged with it
	events   uint64           // stored with it
	excluded uint64           // left out of it
	clocks   clockErrors      // of these events
	stopping bool
	// rejectTimer runs while rejected messages wait for their fsync; see rejected.go.
	rejectTimer *time.Timer
	// One log per kind of line.
	invalidLog, foreignLog, dropLog, keepLog limitedLog

	// timer runs while something is due: the open segment's commit or, while blocked,
	// the next attempt to write.
	timer   *time.Timer
	due     time.Time // zero while it does not run
	blocked error     // why writes fail; nil when they do not
	resume  *sync.Cond
	backoff time.Duration
}

// newIngest prepares a Run. Call finish after the last message was handled.
func newIngest(c *Consumer) *ingest {
	in := &ingest{
		Consumer: c, enrichers: Enrichers(), keys: dataset.Coverage{}, contents: newContents(), root: c.cfg.GenesisValidatorsRoot,
		invalidLog: newLimitedLog(invalidLogEvery), keepLog: newLimitedLog(invalidLogEvery),
		foreignLog: newLimitedLog(foreignLogEvery), dropLog: newLimitedLog(foreignLogEvery),
	}
	if c.cfg.Places != nil {
		in.enrichers = append(in.enrichers, &placeColumns{c.cfg.Places, &c.places})
	}
	in.resume = sync.NewCond(&in.mu)
	in.timer = time.AfterFunc(time.Hour, in.tick)
	in.timer.Stop()
	in.rejectTimer = time.AfterFunc(time.Hour, in.syncRejectedLate)
	in.rejectTimer.Stop()
	return in
}

// handle processes a message. While blocked it waits, so that the source pauses,
// but not when the source is to end.
func (in *ingest) handle(ctx context.Context, m bus.Message) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.blocked != nil {
		defer context.AfterFunc(ctx, in.stop)()
	}
	for in.blocked != nil && !in.stopping {
		in.resume.Wait()
	}
	in.process(m)
}

// process puts a message's event into the open segment, or answers the message.
func (in *ingest) process(m bus.Message) {
	if in.blocked != nil { // stopping
		in.logFailed("nak", m.Nak(0))
		return
	}
	producer, counter := keyOf(m)
	stored, open := in.writer.Covered().Has(producer, counter), in.keys.Has(producer, counter)
	switch {
	case (stored || open) && in.contents.conflict(producer, counter, m):
		in.count(func(s *Stats) { s.Conflicts++ })
		in.reject(m, errConflict)
		return
	case stored:
		in.count(func(s *Stats) { s.Duplicates++ })
		in.logFailed("ack", m.Ack())
		return
	case open:
		in.count(func(s *Stats) { s.Duplicates++ })
		in.hold(m.Delivery)
		return
	}
	// Nobody changes a message's data. Copying it takes a quarter of the decoder's time.
	e, err := event.DecodeString(m.Subject, unsafe.String(unsafe.SliceData(m.Data), len(m.Data)))
	var common event.Common
	if err == nil {
		common = event.CommonOf(e)
		err = in.refuseForeign(&common)
	}
	if err == nil {
		err = in.refuseFar(producer, counter)
	}
	if err != nil {
		in.reject(m, err)
		return
	}
	if in.cfg.Excluded != nil && in.cfg.Excluded(e, m.Data) {
		in.leaveOut(m, e)
		return
	}
	off := event.ClockError(e, m.Time)
	err = in.learnRoot(common.GenesisValidatorsRoot)
	if err == nil {
		err = in.store(e, dataset.ClockError(off))
	}
	if err != nil {
		in.pending = append(in.pending, m.Delivery)
		in.block(err)
		return
	}
	if off == 0 {
		for _, s := range in.sinks {
			s.Add(e, sentryIn(producer))
		}
	} else {
		in.clocks.add(sentryOf(m.Key, e), off)
	}
	in.events++
	in.keys.Add(producer, counter)
	in.contents.remember(producer, counter, m)
	in.hold(m.Delivery)
}

// leaveOut covers an event about an excluded node without its rows, as a purge would leave it: it is
// not missing, and not stored when it comes again.
func (in *ingest) leaveOut(m bus.Message, e event.Event) {
	var tables []string
	switch e.(type) {
	case *event.PeerDiscovered:
		tables = []string{dataset.Discovery}
	case *event.MetadataReceived:
		tables = []string{dataset.Metadata, dataset.ValidatorMetadata}
	case *event.VisitEnded:
		tables = []string{dataset.Visit}
	}
	if err := in.writer.LeaveOut(tables...); err != nil {
		in.pending = append(in.pending, m.Delivery)
		in.block(err)
		return
	}
	in.excluded++
	in.keys.Add(keyOf(m))
	in.hold(m.Delivery)
}

var errOtherNetwork = errors.New("an event of network")

// refuseForeign is an error for an event of another network: rows of two networks in one
// dataset cannot be told apart later. A replay brings it to a consumer of its own network.
func (in *ingest) refuseForeign(common *event.Common) error {
	root := common.GenesisValidatorsRoot
	switch {
	case in.cfg.Network == "":
		return nil
	case common.Network != in.cfg.Network:
		return fmt.Errorf("%w %q: the data directory belongs to %s", errOtherNetwork, common.Network, in.cfg.Network)
	case root != eth2.Root{} && in.root != eth2.Root{} && root != in.root:
		return fmt.Errorf("%w %q with genesis validators root %s: the data directory belongs to the %s with root %s", errOtherNetwork, common.Network, root, in.cfg.Network, in.root)
	}
	return nil
}

// learnRoot makes the first root of the network's events that of the data directory.
func (in *ingest) learnRoot(root eth2.Root) error {
	if in.cfg.OnRoot == nil || in.root != (eth2.Root{}) || root == (eth2.Root{}) {
		return nil
	}
	if err := in.cfg.OnRoot(root); err != nil {
		return err
	}
	in.root = root
	return nil
}

// keyOf gives the event's producer and counter. A message without a key of ours
// has the minute of its arrival and its stream sequence: the sequence alone may
// be used again for another event, when the broker's disk went back in time.
func keyOf(m bus.Message) (producer string, counter uint64) {
	if key, err := event.ParseKey(m.Key); err == nil {
		return m.Key[:strings.LastIndexByte(m.Key, '-')], key.Counter // as key.Producer makes it
	}
	return m.Time.UTC().Format("@200601021504"), m.Seq
}

// sentryIn is the sentry id in a producer of keyOf; empty for a message without a key.
func sentryIn(producer string) string {
	if strings.HasPrefix(producer, "@") {
		return ""
	}
	return producer[:max(0, strings.LastIndexByte(producer, '-'))]
}

// store appends the event's rows to the open segment, with their clock_error_ms.
func (in *ingest) store(e event.Event, clockError *int64) error {
	switch e := e.(type) {
	case *event.PeerDiscovered:
		row := dataset.FromPeerDiscovered(e)
		row.ClockErrorMS = clockError
		return dataset.Append(in.writer, row)
	case *event.MetadataReceived:
		handshake := dataset.FromMetadataReceived(e)
		handshake.ClockErrorMS = clockError
		if err := dataset.Append(in.writer, handshake); err != nil {
			return err
		}
		in.row = dataset.ValidatorRowOf(&handshake)
		for _, enricher := range in.enrichers {
			enricher.Enrich(e, &in.row)
		}
		return dataset.Append(in.writer, in.row)
	case *event.VisitEnded:
		row := dataset.FromVisitEnded(e)
		row.ClockErrorMS = clockError
		return dataset.Append(in.writer, row)
	}
	return fmt.Errorf("no table for event %T", e)
}

// hold keeps a message's delivery until the commit. The first starts the
// segment's age.
func (in *ingest) hold(d bus.Delivery) {
	if len(in.pending) == 0 {
		in.arm(in.cfg.SegmentAge)
		in.count(func(s *Stats) { s.CommitDue = time.Now().Add(in.cfg.SegmentAge) })
	}
	in.pending = append(in.pending, d)
	in.count(func(s *Stats) { s.Pending = len(in.pending) })
	if len(in.pending) >= in.cfg.SegmentRows {
		in.commit()
	}
}

// commit makes the open segment durable and only then acknowledges its messages.
func (in *ingest) commit() {
	in.syncRejected()
	in.disarm()
	if len(in.pending) == 0 {
		return
	}
	s := segment{number: in.writer.Segment(), full: len(in.pending) >= in.cfg.SegmentRows, last: in.stopping}
	err := in.appendEstimates()
	if err == nil {
		err = in.writer.Commit(in.keys)
	}
	if err != nil {
		in.block(err)
		return
	}
	crashpoint.At("flush")
	for _, sink := range in.sinks {
		sink.Commit(s)
	}
	in.ackMessages()
	in.backoff = 0
	in.log.Debug("committed segment", slog.Uint64("segment", s.number), slog.Uint64("events", in.events))
	in.clocks.warn(in.log)
	failed := false
	in.count(func(s *Stats) {
		failed, s.Err = s.Err != nil, nil
		s.Stored += in.events
		s.Excluded += in.excluded
		s.ClockErrors = in.clocks.addTo(s.ClockErrors)
		s.Pending = 0
		s.Segments++
		in.updateCoverageStats(s)
		s.LastCommit = time.Now()
	})
	if failed {
		in.log.Info("the data directory is writable again", slog.String("dir", in.writer.Dir()))
	}
	in.reset()
}

func (in *ingest) ackMessages() {
	crashpoint.At("acknowledge")
	for _, d := range in.pending {
		in.logFailed("ack", d.Ack())
		crashpoint.At("acknowledged")
	}
}

// logFailed logs an answer to a message that could not be sent: the message will be
// redelivered, which costs nothing else.
func (in *ingest) logFailed(answer string, err error) {
	if err != nil {
		in.log.Debug("cannot acknowledge or reject a message", slog.String("answer", answer), slog.Any("error", err))
	}
}
