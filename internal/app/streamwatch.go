package app

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/telemetry"
)

// streamPeriod is how often the server is asked how full the stream is and for whom it keeps
// events, and streamLogPeriod how often a durable that nobody reads, or a limit that loses events, is
// logged.
const streamPeriod, streamLogPeriod = time.Minute, time.Hour

// watchStream asks the server about the stream until the broker is closed: sentries and
// consumers do, since the other may be the one that is gone.
func (b *Broker) watchStream(ctx context.Context, dataDir string, svc *Service) {
	state := &atomic.Pointer[bus.StreamState]{}
	newStreamMetrics(svc.metrics, b.conn.Stream(), state.Load)
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := streamWatch{forget: func(durable string) string { return ForgetCommand(b.conn, dataDir, durable) }, log: svc.log}
		tick := time.NewTicker(streamPeriod)
		defer tick.Stop()
		for {
			state.Store(b.streamState(ctx, svc.log))
			w.look(time.Now(), state.Load())
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	b.stopWatch = func() { stop(); <-done }
}

// streamState is nil when the server does not answer.
func (b *Broker) streamState(ctx context.Context, log *slog.Logger) *bus.StreamState {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	state, err := b.conn.State(bounded)
	if err != nil {
		log.Debug("cannot determine how full the stream is", slog.Any("error", err))
		return nil
	}
	return &state
}

// newStreamMetrics registers what is known of the stream: nothing while that is nil.
func newStreamMetrics(reg *telemetry.Registry, stream string, state func() *bus.StreamState) {
	of := func(figure func(*bus.StreamState) uint64) func(*bus.StreamState) map[string]uint64 {
		return func(s *bus.StreamState) map[string]uint64 {
			if s == nil {
				return nil
			}
			return map[string]uint64{stream: figure(s)}
		}
	}
	const known = " Absent while NATS does not say; asked once a minute."
	telemetry.Register(reg, state,
		telemetry.GaugeBy("valtrack_stream_bytes", "stream", "Size of the stream in NATS."+known, of(func(s *bus.StreamState) uint64 { return s.Bytes })),
		telemetry.GaugeBy("valtrack_stream_limit_bytes", "stream", "Maximum size of the stream, at which it refuses events; 0 for none."+known, of(func(s *bus.StreamState) uint64 { return s.Limit })),
		telemetry.GaugeBy("valtrack_stream_unread_durables", "stream", "Durable consumers for which the stream keeps events and that no process reads."+known, of(func(s *bus.StreamState) uint64 { return uint64(len(s.Unread)) })),
	)
}

// streamWatch logs limits by which the stream loses events, and durables that two looks in a row
// found unread: between two runs of its consumer any durable is.
type streamWatch struct {
	forget func(durable string) string // the command that deletes it
	log    *slog.Logger
	// found are those of the last look, with when they were logged: zero for not yet.
	found map[string]time.Time
	// drops are the limits of the last look that lose events, and logged when they were.
	drops  string
	logged time.Time
}

func (w *streamWatch) look(now time.Time, s *bus.StreamState) {
	if s == nil {
		return
	}
	found := make(map[string]time.Time, len(s.Unread))
	for _, d := range s.Unread {
		logged, again := w.found[d.Name]
		if again && now.Sub(logged) >= streamLogPeriod {
			logged = now
			w.log.Warn("the stream keeps events for a durable consumer that no process reads", slog.String("durable", d.Name),
				slog.String("state", d.String()), slog.String("to_delete_it", w.forget(d.Name)))
		}
		found[d.Name] = logged
	}
	w.found = found
	drops := strings.Join(s.Drops, ", ")
	if drops != "" && (drops != w.drops || now.Sub(w.logged) >= streamLogPeriod) {
		w.logged = now
		w.log.Warn("the stream drops events before consumers have stored them", slog.String("limits", drops))
	}
	w.drops = drops
}
