package consumer

import (
	"log/slog"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
)

// block drops the open segment, whose rows could not be written, and returns its
// messages to the stream, to be redelivered after the pause.
func (in *ingest) block(err error) {
	in.dropAdded()
	in.backoff = min(max(2*in.backoff, in.retryMin), retryMax)
	in.blocked = err
	in.log.Error("cannot write the data directory, nothing is acknowledged, will retry",
		slog.String("dir", in.writer.Dir()), slog.Int("events", len(in.pending)), slog.Duration("retry_in", in.backoff), slog.Any("error", err))
	for _, d := range in.pending {
		in.logFailed("nak", d.Nak(in.backoff))
	}
	in.count(func(s *Stats) {
		s.Failures++
		s.Err = err
	})
	in.reset()
	in.arm(in.backoff)
}

// reset begins a new open segment.
func (in *ingest) reset() {
	clear(in.pending)
	in.keys, in.pending, in.events, in.excluded, in.clocks = dataset.Coverage{}, in.pending[:0], 0, 0, nil
	in.count(func(s *Stats) { s.Pending = 0 })
}

// dropAdded has the sinks forget the open segment's events.
func (in *ingest) dropAdded() {
	for _, s := range in.sinks {
		s.Drop()
	}
}

// arm has tick called after d.
func (in *ingest) arm(d time.Duration) {
	in.due = time.Now().Add(d)
	in.timer.Reset(d)
}

func (in *ingest) disarm() {
	in.timer.Stop()
	in.due = time.Time{}
}

// tick is called by the timer. It may come late, when nothing is due any more.
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
	in.log.Debug("trying to write the data directory again", slog.String("dir", in.writer.Dir()))
	in.blocked = nil // Stats.Err stays until a segment is committed
	in.resume.Broadcast()
}

// stop has the message that waits, and those that follow, returned to the stream.
func (in *ingest) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stopping = true
	in.resume.Broadcast()
}

// finish commits the open segment after the last message, unless another process has
// taken the subscription over.
func (in *ingest) finish(taken bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stopping = true
	switch {
	case taken:
		in.log.Warn("leaving the last events to the other process", slog.Int("events", len(in.pending)))
		in.dropAdded()
		in.reset()
		in.rejected.rejectBatch = rejectBatch{}
	case in.blocked == nil:
		in.commit()
	}
	in.syncRejected()
	in.disarm()
	if in.blocked != nil {
		in.log.Warn("leaving the last events in the stream for the next start", slog.String("dir", in.writer.Dir()), slog.Any("error", in.blocked))
	}
}
