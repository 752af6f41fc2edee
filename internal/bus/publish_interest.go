package bus

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// rewindMargin is how much longer than the stream's duplicate window a rewind waits: events
// may be under way when a durable is found missing, and the server forgets ids by a timer.
const rewindMargin = 5 * time.Second

// keepMargin is how much longer than the duplicate window acknowledged events are kept: the
// wait for the rewind, and the time in which nobody looked.
const keepMargin = time.Minute

// untilRewound is for how long acknowledged events are kept while a rewind is due: a
// durable that goes again, or a restart of the process, postpones it.
const untilRewound = math.MaxInt64 * time.Nanosecond

// durables are the durables of a stream that make it keep events: their names and when they
// were created, in Unix nanoseconds. One of the same name that was created later does not
// have the events that the earlier one had.
type durables map[string]int64

// hash identifies the set; it is not 0.
func (d durables) hash() uint64 {
	h := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(d)) {
		fmt.Fprintf(h, "%s %d ", name, d[name])
	}
	return max(h.Sum64(), 1)
}

// gone is one that is not in now as it was; empty when all are.
func (d durables) gone(now durables) string {
	for name, created := range d {
		if now[name] != created {
			return name
		}
	}
	return ""
}

// interest are the durables that keep events, and the subjects that none of them wants. Up
// to the number stored each of them has acknowledged every message that it wants.
// Consumers that a person made for a moment do not count, nor do those without explicit
// acknowledgements: what they have got is dropped before anybody has stored it.
func interest(ctx context.Context, s jetstream.Stream) (found durables, missing []string, stored uint64, err error) {
	found, stored = durables{}, math.MaxUint64
	var filters []string
	consumers := s.ListConsumers(ctx)
	for c := range consumers.Info() { // to the end: the client waits for that
		if c.Config.Durable == "" || c.Config.AckPolicy != jetstream.AckExplicitPolicy {
			continue
		}
		found[c.Name] = c.Created.UnixNano()
		stored = min(stored, c.AckFloor.Stream)
		switch {
		case len(c.Config.FilterSubjects) > 0:
			filters = append(filters, c.Config.FilterSubjects...)
		case c.Config.FilterSubject != "":
			filters = append(filters, c.Config.FilterSubject)
		default:
			filters = append(filters, ">")
		}
	}
	return found, uncovered(filters), stored, consumers.Err()
}

// checkInterest is errNoConsumer when the server would drop an event at once. Up to the
// number stored in the stream consumers have stored all events; 0 when that is not known:
// also while a rewind is due, since a durable that was created again begins beyond what the
// earlier one had not stored.
func (p *Publisher) checkInterest(ctx context.Context, s jetstream.Stream) (stored uint64, err error) {
	cfg := s.CachedInfo().Config
	if cfg.Retention != jetstream.InterestPolicy || p.cfg.WithoutConsumers {
		return 0, nil
	}
	found, missing, stored, err := interest(ctx, s)
	if err != nil {
		return 0, fmt.Errorf("consumers of stream %s at %s: %w", p.conn.stream, p.conn.url, err)
	}
	p.checkDurables(found, cfg.Duplicates)
	if len(missing) > 0 {
		return 0, fmt.Errorf("%w for %v and would drop them: start 'valtrack consumer'", errNoConsumer, missing)
	}
	if !p.broker.rewindAt.IsZero() {
		return 0, nil
	}
	return stored, nil
}

// checkDurables notices a durable that has gone since the last check, or since that of an
// earlier process. The stream has dropped what it kept for it, and what was published
// before the durable was created again. The server remembers the ids of those events, and
// would answer that it has them: so they are sent again after its duplicate window.
func (p *Publisher) checkDurables(now durables, window time.Duration) {
	b := &p.broker
	p.mu.Lock()
	before := p.mark
	first := b.durables == nil
	gone := b.durables.gone(now)
	b.durables = now
	lost := before.lastSeq > 0 && (gone != "" || first && before.durables != now.hash())
	switch {
	case lost && p.persistent:
		b.rewindAt = time.Now().Add(window + rewindMargin)
		p.mark.durables = 0 // until then, also for the next process
	case b.rewindAt.IsZero():
		p.mark.durables = now.hash()
	}
	p.mu.Unlock()
	gone = cmp.Or(gone, "unknown: since an earlier process")
	switch {
	case !lost:
	case p.persistent:
		p.conn.log.Warn("a durable consumer of the stream was removed or recreated: republishing the events in the spool after the duplicate window",
			slog.String("durable", gone), slog.Duration("in", window+rewindMargin))
	default:
		p.reportLoss(fmt.Sprintf("durable %s was removed or recreated; wait %v", gone, window))
	}
}

// rewindIfDue is called when there are durables again.
func (p *Publisher) rewindIfDue(info *jetstream.StreamInfo) {
	b := &p.broker
	if b.rewindAt.IsZero() || time.Now().Before(b.rewindAt) {
		return
	}
	b.rewindAt = time.Time{}
	p.rewind(info, "a durable consumer of the stream was removed, and with it the events kept for it", true)
	p.mu.Lock()
	p.mark.durables = b.durables.hash()
	p.mu.Unlock()
}
