package consumer

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// rejectDelay and maxRejects limit how long and how many rejected messages wait for
	// the fsync that they share.
	rejectDelay = 500 * time.Millisecond
	maxRejects  = 1000
	// maxForeign is the size of the file of rejected events, in bytes, up to which it keeps
	// events of other networks. There may be as many of them as of our own, and they must
	// not displace invalid ones.
	maxForeign = 64 << 20
	// Log lines about rejected events are this far apart: those about other networks may
	// be sent for as long as both run.
	invalidLogEvery, foreignLogEvery = 10 * time.Second, 10 * time.Minute
)

// rejectedFile is the data directory's file of rejected events, and what is known of them.
//
// Rejected events are not covered by the datasets, so that a replay can store them once
// a consumer understands them. Until then their keys count as known, not as missing.
// The keys of events that the file drops stay known until the next start.
type rejectedFile struct {
	file *eventlog.RejectedFile
	// keys are those of kept events, within maxRejectedProducers and maxRejectedRuns.
	keys dataset.Coverage
	runs int // in keys
	// seen are the rejected events by their content too: whoever publishes something under a
	// key must not decide what happens to others under it.
	seen *messageSet
	rejectBatch
}

// The keys of rejected events are chosen by whoever publishes. Those beyond these limits
// count as missing, although their events are kept: 16 MiB of runs, and the names.
const (
	maxRejectedProducers = 10_000
	maxRejectedRuns      = 1 << 20
)

// rejectBatch are the rejected messages since the last fsync. The zero value is empty.
type rejectBatch struct {
	unsynced map[uint64]struct{} // hashes of seen
	keptKeys dataset.Coverage    // of those that are kept
	waiting  []bus.Delivery      // redelivered ones, too
	events   uint64
	foreign  uint64 // of these, events of other networks
	dropped  uint64 // of these, events that are not kept, as the file has no room for them
}

func openRejected(dir string, log *slog.Logger) (*rejectedFile, error) {
	r := &rejectedFile{keys: dataset.Coverage{}, seen: newMessageSet()}
	kept := dataset.Coverage{}
	var err error
	r.file, err = eventlog.OpenRejected(dir, log, func(k event.Key, e eventlog.RejectedEvent) {
		addRejected(kept, k.Producer(), k.Counter)
		r.seen.add(r.seen.hash(k.Producer(), k.Counter, e.Subject, e.Data()))
	})
	r.remember(kept)
	return r, err
}

// Rejected reads the keys of the events that a data directory keeps as rejected.
func Rejected(dir string) (dataset.Coverage, error) {
	keys := dataset.Coverage{}
	return keys, eventlog.ReadRejected(dir, func(k event.Key, _ eventlog.RejectedEvent) { addRejected(keys, k.Producer(), k.Counter) })
}

// remember adds keys within the limits.
func (r *rejectedFile) remember(keys dataset.Coverage) {
	for producer, runs := range keys {
		before, known := r.keys[producer]
		if !known && len(r.keys) >= maxRejectedProducers || r.runs+len(runs) > maxRejectedRuns {
			continue
		}
		r.runs -= len(before)
		r.keys.Merge(dataset.Coverage{producer: runs})
		r.runs += len(r.keys[producer])
	}
}

// add appends the message to the file, unless it is of another network and there is no room
// for those, and to the batch.
func (r *rejectedFile) add(m bus.Message, reason error, foreign bool) (kept bool, err error) {
	kept = true
	if foreign {
		size, err := r.file.Size()
		if err != nil {
			return false, err
		}
		kept = size < maxForeign
	}
	if kept {
		if err := r.file.Append(event.Encoded{Subject: m.Subject, Key: m.Key, Data: m.Data}, m.Seq, reason); err != nil {
			return false, err
		}
	} else {
		r.dropped++
	}
	if foreign {
		r.foreign++
	}
	if r.unsynced == nil {
		r.unsynced, r.keptKeys = map[uint64]struct{}{}, dataset.Coverage{}
	}
	r.unsynced[r.hash(m)] = struct{}{}
	if kept {
		producer, counter := keyOf(m)
		addRejected(r.keptKeys, producer, counter)
	}
	r.events++
	return kept, nil
}

func (r *rejectedFile) hash(m bus.Message) uint64 {
	producer, counter := keyOf(m)
	return r.seen.hash(producer, counter, m.Subject, m.Data)
}

// sync fsyncs the batch; its events are known from then on.
func (r *rejectedFile) sync() error {
	err := r.file.Sync()
	if err == nil {
		r.remember(r.keptKeys)
		for hash := range r.unsynced {
			r.seen.add(hash)
		}
	}
	return err
}

// addRejected leaves out counters that refuseFar may have refused: what is below them would
// count as missing. Messages without a key of ours are never missing.
func addRejected(keys dataset.Coverage, producer string, counter uint64) {
	if counter <= dataset.MaxJump && !strings.HasPrefix(producer, "@") {
		keys.Add(producer, counter)
	}
}

func (r *rejectedFile) Close() error { return r.file.Close() }

// reject ends the redelivery of a message that cannot be stored, as soon as it is kept next
// to the datasets. Messages share an fsync.
func (in *ingest) reject(m bus.Message, reason error) {
	if in.cfg.Excluded != nil && in.cfg.Excluded(nil, m.Data) {
		in.rejectExcluded(m)
		return
	}
	hash := in.rejected.hash(m)
	if in.rejected.seen.has(hash) {
		in.count(func(s *Stats) { s.Duplicates++ })
		in.logFailed("term", m.Term())
		return
	}
	if _, waits := in.rejected.unsynced[hash]; waits {
		in.count(func(s *Stats) { s.Duplicates++ })
	} else if !in.keepRejected(m, reason) {
		return
	}
	if len(in.rejected.waiting) == 0 {
		in.rejectTimer.Reset(rejectDelay)
	}
	in.rejected.waiting = append(in.rejected.waiting, m.Delivery)
	if len(in.rejected.waiting) >= maxRejects {
		in.syncRejected()
	}
}

// rejectExcluded ends the redelivery of a message about an excluded node that cannot be stored, and
// keeps no more of it than its key, until the next start.
func (in *ingest) rejectExcluded(m bus.Message) {
	producer, counter := keyOf(m)
	key := dataset.Coverage{}
	addRejected(key, producer, counter)
	in.rejected.remember(key)
	in.count(func(s *Stats) { s.Excluded++ })
	in.logFailed("term", m.Term())
}

// keepRejected adds a message to the batch, or returns it to the stream.
func (in *ingest) keepRejected(m bus.Message, reason error) bool {
	foreign := errors.Is(reason, errOtherNetwork)
	line := &in.invalidLog
	if foreign {
		line = &in.foreignLog
	}
	line.warn(in.log, "rejected an event", slog.String("subject", m.Subject), slog.String("key", m.Key), slog.Any("reason", reason))
	err := in.writer.Check() // in another directory the file would be created again
	var kept bool
	if err == nil {
		kept, err = in.rejected.add(m, reason, foreign)
	}
	if err != nil {
		in.keepLog.warn(in.log, "cannot keep a rejected event, it will be redelivered", slog.Any("error", err))
		in.logFailed("nak", m.Nak(retryMax))
		return false
	}
	if !kept {
		in.dropLog.warn(in.log, "events of other networks are no longer kept, because the file of rejected events is full: give that network a consumer with its own data directory, or its sentries another stream",
			slog.String("file", filepath.Join(in.writer.Dir(), eventlog.RejectedName)), slog.Int("limit_bytes", maxForeign))
	}
	return true
}

// syncRejected makes the batch durable and only then ends the redelivery of its messages.
func (in *ingest) syncRejected() {
	in.rejectTimer.Stop()
	batch := in.rejected.rejectBatch
	if len(batch.waiting) == 0 {
		return
	}
	err := in.rejected.sync()
	in.rejected.rejectBatch = rejectBatch{}
	if err != nil {
		in.keepLog.warn(in.log, "cannot keep rejected events, they will be redelivered", slog.Int("events", len(batch.waiting)), slog.Any("error", err))
	}
	for _, d := range batch.waiting {
		if err != nil {
			in.logFailed("nak", d.Nak(retryMax))
		} else {
			in.logFailed("term", d.Term())
		}
	}
	if err == nil {
		in.count(func(s *Stats) {
			s.Rejected += batch.events
			s.OtherNetwork += batch.foreign
			s.NotKept += batch.dropped
		})
	}
}

// syncRejectedLate is called by the timer.
func (in *ingest) syncRejectedLate() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.syncRejected()
}

// limitedLog limits log lines, and says how many were left out.
type limitedLog struct {
	limit   *loglimit.Limiter
	skipped uint64
}

func newLimitedLog(every time.Duration) limitedLog { return limitedLog{limit: loglimit.Every(every)} }

func (l *limitedLog) warn(log *slog.Logger, message string, attrs ...any) {
	if !l.limit.Allow() {
		l.skipped++
		return
	}
	if l.skipped > 0 {
		attrs = append(attrs, slog.Uint64("lines_left_out", l.skipped))
	}
	l.skipped = 0
	log.Warn(message, attrs...)
}
