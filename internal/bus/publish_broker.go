package bus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// checkPeriod is how often the stream is asked whether it has consumers and is as it
	// was, and checkRetry how often while nothing can be sent.
	checkPeriod, checkRetry = 2 * time.Second, 500 * time.Millisecond
	// checkTimeout limits one such check.
	checkTimeout = 5 * time.Second
)

var (
	errStarting     = errors.New("not connected yet")
	errDisconnected = errors.New("the server cannot be reached")
	errNoConsumer   = errors.New("the stream has no consumer")
)

// streamMark identifies the broker and the state of its store that has
// acknowledged events: the stream's creation in Unix nanoseconds, the highest sequence
// number that it has acknowledged (0: none yet), the run of the server (serverRun), and
// the durables that it kept events for (durables.hash; 0 where that is not known, or a
// rewind for one that has gone is still due).
type streamMark struct {
	created  int64
	lastSeq  uint64
	server   uint64
	durables uint64
}

// encode is the form that a queue keeps.
func (m streamMark) encode() (b [32]byte) {
	binary.LittleEndian.PutUint64(b[:], uint64(m.created))
	binary.LittleEndian.PutUint64(b[8:], m.lastSeq)
	binary.LittleEndian.PutUint64(b[16:], m.server)
	binary.LittleEndian.PutUint64(b[24:], m.durables)
	return b
}

func decodeMark(b [32]byte) streamMark {
	return streamMark{
		created:  int64(binary.LittleEndian.Uint64(b[:])),
		lastSeq:  binary.LittleEndian.Uint64(b[8:]),
		server:   binary.LittleEndian.Uint64(b[16:]),
		durables: binary.LittleEndian.Uint64(b[24:]),
	}
}

// brokerState is what the worker remembers about the server.
type brokerState struct {
	checked time.Time // when the last check succeeded
	// reconnects is the connection's count then, or an impossible count: a broker that
	// was unreachable may have come back with an older store.
	reconnects uint64
	waitingLog *loglimit.Limiter
	logged     string // the last reason to wait that was logged
	// known are the server runs that need no rewind when we connect to them again.
	known map[uint64]bool
	// durables are those of the last check, nil before the first.
	durables durables
	// rewindAt is when to rewind for durables that have gone; zero when none have.
	rewindAt time.Time
}

// keep is how long the queue must keep acknowledged events for a rewind that comes after
// the stream's duplicate window, or may.
func (b *brokerState) keep(window time.Duration) time.Duration {
	if !b.rewindAt.IsZero() {
		return untilRewound
	}
	return window + keepMargin
}

func newBrokerState() brokerState {
	return brokerState{waitingLog: loglimit.Every(waitingLogPeriod), known: make(map[uint64]bool), reconnects: math.MaxUint64}
}

// checkDue is true when the broker may have lost what it acknowledged and that was not
// checked yet: also while there is nothing to send, what was sent may be gone.
func (p *Publisher) checkDue() bool {
	return p.persistent && p.conn.nc.IsConnected() &&
		(p.conn.nc.Stats().Reconnects != p.broker.reconnects || time.Since(p.broker.checked) >= checkPeriod)
}

// checkBroker returns the reason why nothing can be published now, or nil.
func (p *Publisher) checkBroker(ctx context.Context) error {
	b := &p.broker
	if !p.conn.nc.IsConnected() {
		b.checked = time.Time{}
		return errDisconnected
	}
	reconnects, server := p.conn.nc.Stats().Reconnects, p.conn.serverRun() // in this order: a reconnect between them is seen next time
	if reconnects != b.reconnects {
		b.checked = time.Time{}
	}
	if time.Since(b.checked) < checkPeriod {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	acked := p.lastSeq() // before the stream's own number, which acknowledgements overtake meanwhile
	s, err := p.conn.tryEnsureStream(bounded)
	switch {
	case missingJetStream(err):
		return p.conn.noJetStream(err)
	case err != nil:
		return fmt.Errorf("stream %s at %s: %w", p.conn.stream, p.conn.url, err)
	}
	stored, err := p.checkInterest(bounded, s)
	if err == nil {
		p.checkRollback(s.CachedInfo(), server, acked)
		p.rewindIfDue(s.CachedInfo())
	}
	if err != nil || p.conn.nc.Stats().Reconnects != reconnects { // the numbers may be another run's
		stored = 0
	}
	p.cfg.Queue.Keep(stored, b.keep(s.CachedInfo().Config.Duplicates))
	if err != nil {
		return err
	}
	b.checked, b.reconnects = time.Now(), reconnects
	return nil
}

// checkRollback notices a broker that may have come back without events that it had
// acknowledged, to this process or an earlier one, as after a power cut or from an older
// copy of its store, and rewinds to the oldest event that is still kept. Sequence
// numbers alone do not show it when another sentry publishes first, so it also rewinds
// for each run of a server that it has not seen. Consumers remove duplicates. acked is the
// newest sequence number that was acknowledged before info was asked for.
func (p *Publisher) checkRollback(info *jetstream.StreamInfo, server, acked uint64) {
	p.mu.Lock()
	before := p.mark
	before.lastSeq = acked
	p.mark.created, p.mark.server = info.Created.UnixNano(), server
	reason, lost := "", false
	if before.lastSeq > 0 {
		reason, lost = rollbackReason(before, p.mark, info.State.LastSeq, p.broker.known[server] || !p.persistent)
	}
	p.broker.known[server] = true
	p.mu.Unlock()
	if reason != "" {
		p.rewind(info, reason, lost)
	}
}

// lastSeq is the newest sequence number that was acknowledged.
func (p *Publisher) lastSeq() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mark.lastSeq
}

// rewind sends every event that is still kept, and that consumers have not stored, again.
// lost says that some are lost, not only that they may be.
func (p *Publisher) rewind(info *jetstream.StreamInfo, reason string, lost bool) {
	p.mu.Lock()
	acked := p.mark.lastSeq
	p.window.clear()
	p.mark.lastSeq = info.State.LastSeq
	p.stats.Rewinds++
	p.mu.Unlock()
	if !p.persistent {
		p.reportLoss(reason)
	}
	n := p.cfg.Queue.Rewind(lost)
	notify(p.wake)
	level := slog.LevelInfo // each restart of an embedded server, as a precaution
	if lost {
		level = slog.LevelWarn
	}
	p.conn.log.Log(context.Background(), level, "republishing the events in the spool", slog.String("reason", reason),
		slog.Uint64("last_sequence", info.State.LastSeq), slog.Uint64("acknowledged", acked), slog.Int("events", n))
}

// reportLoss makes Close fail, for a queue that has acknowledged events no more.
func (p *Publisher) reportLoss(reason string) {
	p.conn.log.Error("the broker may have lost events: republish all of them", slog.String("reason", reason))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = fmt.Errorf("%w: %s", errNotPublished, reason)
}

// rollbackReason returns why a broker may have lost what it acknowledged, "" when it has
// not, and whether it certainly has. lastSeq is its stream's, and met whether this run of
// the server is known.
func rollbackReason(before, now streamMark, lastSeq uint64, met bool) (reason string, lost bool) {
	switch {
	case before.created != now.created:
		return "the stream has been replaced by another one", true
	case lastSeq < before.lastSeq:
		return "the broker lost events that it had acknowledged", true
	case !met:
		return "the broker was restarted or replaced", false
	}
	return "", false
}
