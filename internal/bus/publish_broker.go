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
// number that it has acknowledged (0: none yet), and the run of the server (serverRun).
type streamMark struct {
	created int64
	lastSeq uint64
	server  uint64
}

// encode is the form that a queue keeps.
func (m streamMark) encode() (b [24]byte) {
	binary.LittleEndian.PutUint64(b[:], uint64(m.created))
	binary.LittleEndian.PutUint64(b[8:], m.lastSeq)
	binary.LittleEndian.PutUint64(b[16:], m.server)
	return b
}

func decodeMark(b [24]byte) streamMark {
	return streamMark{
		created: int64(binary.LittleEndian.Uint64(b[:])),
		lastSeq: binary.LittleEndian.Uint64(b[8:]),
		server:  binary.LittleEndian.Uint64(b[16:]),
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
}

func newBrokerState() brokerState {
	return brokerState{waitingLog: loglimit.Every(waitingLogPeriod), known: make(map[uint64]bool), reconnects: math.MaxUint64}
}

// reconnected is true when checkRollback has not seen this connection.
func (p *Publisher) reconnected() bool {
	return p.persistent && p.conn.nc.IsConnected() && p.conn.nc.Stats().Reconnects != p.broker.reconnects
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
	s, err := p.conn.tryEnsureStream(bounded)
	switch {
	case missingJetStream(err):
		return p.conn.noJetStream(err)
	case err != nil:
		return fmt.Errorf("stream %s at %s: %w", p.conn.stream, p.conn.url, err)
	}
	info := s.CachedInfo()
	if err := p.checkInterest(bounded, s); err != nil {
		return err
	}
	p.checkRollback(info, server)
	b.checked, b.reconnects = time.Now(), reconnects
	return nil
}

// checkInterest is errNoConsumer when the server would drop an event at once.
func (p *Publisher) checkInterest(ctx context.Context, s jetstream.Stream) error {
	if s.CachedInfo().Config.Retention != jetstream.InterestPolicy || p.cfg.WithoutConsumers {
		return nil
	}
	var filters []string
	all := false
	consumers := s.ListConsumers(ctx)
	for c := range consumers.Info() { // to the end: the client waits for that
		switch {
		case len(c.Config.FilterSubjects) > 0:
			filters = append(filters, c.Config.FilterSubjects...)
		case c.Config.FilterSubject != "":
			filters = append(filters, c.Config.FilterSubject)
		default:
			all = true
		}
	}
	if all {
		return nil
	}
	if err := consumers.Err(); err != nil {
		return fmt.Errorf("consumers of stream %s at %s: %w", p.conn.stream, p.conn.url, err)
	}
	if missing := uncovered(filters); len(missing) > 0 {
		return fmt.Errorf("%w for %v and would drop them: start 'valtrack consumer'", errNoConsumer, missing)
	}
	return nil
}

// checkRollback notices a broker that may have come back without events that it had
// acknowledged, to this process or an earlier one, as after a power cut or from an older
// copy of its store, and rewinds to the oldest event that is still kept. Sequence
// numbers alone do not show it when another sentry publishes first, so it also rewinds
// for each run of a server that it has not seen. Consumers remove duplicates.
func (p *Publisher) checkRollback(info *jetstream.StreamInfo, server uint64) {
	p.mu.Lock()
	before := p.mark
	p.mark.created, p.mark.server = info.Created.UnixNano(), server
	reason := ""
	if before.lastSeq > 0 {
		reason = rollbackReason(before, p.mark, info.State.LastSeq, p.broker.known[server] || !p.persistent)
	}
	p.broker.known[server] = true
	if reason != "" {
		p.window.clear()
		p.mark.lastSeq = info.State.LastSeq
		p.stats.Rewinds++
	}
	p.mu.Unlock()
	if reason == "" {
		return
	}
	if !p.persistent {
		p.conn.log.Error("the broker may have lost events: publish all of them again", slog.String("reason", reason))
		p.mu.Lock()
		p.lost = fmt.Errorf("%w: %s", errNotPublished, reason)
		p.mu.Unlock()
	}
	n := p.cfg.Queue.Rewind()
	notify(p.wake)
	p.conn.log.Warn("sending the events in the spool again", slog.String("reason", reason),
		slog.Uint64("last_sequence", info.State.LastSeq), slog.Uint64("acknowledged", before.lastSeq), slog.Int("events", n))
}

// rollbackReason returns why a broker may have lost what it acknowledged, "" when it has
// not. lastSeq is its stream's, and met whether this run of the server is known.
func rollbackReason(before, now streamMark, lastSeq uint64, met bool) string {
	switch {
	case before.created != now.created:
		return "the stream is another one"
	case lastSeq < before.lastSeq:
		return "the broker has lost events that it had acknowledged"
	case !met:
		return "the broker was restarted, or is another one"
	}
	return ""
}
