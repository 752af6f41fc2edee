package bus

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// reclaimAckWait makes every message that was delivered earlier overdue.
	reclaimAckWait = time.Millisecond
	// reclaimPause is how long it is in force: nats-server looks for overdue messages
	// 100 ms after AckWait has changed.
	reclaimPause = 300 * time.Millisecond
)

// reclaim makes the server redeliver what an earlier process received and did not
// answer: it shortens the durable's AckWait for a moment in which no messages are
// requested. When that fails they are redelivered after AckWait, so it only logs.
func (s *Subscription) reclaim(ctx context.Context, consumer jetstream.Consumer) {
	info := consumer.CachedInfo()
	if info.NumAckPending == 0 {
		return
	}
	cfg := info.Config
	cfg.AckWait = reclaimAckWait
	_, err := s.conn.js.UpdateConsumer(ctx, s.conn.stream, cfg)
	if err == nil {
		sleep(ctx, reclaimPause)
		// If this fails, Run sets AckWait right before it requests messages.
		cfg.AckWait = s.opts.AckWait
		_, err = s.conn.js.UpdateConsumer(ctx, s.conn.stream, cfg)
	}
	if err != nil {
		s.conn.log.Warn("messages left unhandled by an earlier process will be redelivered",
			slog.String("durable", s.opts.Durable), slog.Duration("after", s.opts.AckWait), slog.Any("error", err))
		return
	}
	s.conn.log.Info("requested redelivery of the messages that an earlier process left unacknowledged",
		slog.String("durable", s.opts.Durable), slog.Int("messages", info.NumAckPending))
}
