package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers of an atomic batch (nats-server 2.12, ADR-50): the stream stores all its
// messages at the commit, or none.
const (
	batchIDHeader     = "Nats-Batch-Id"
	batchSeqHeader    = "Nats-Batch-Sequence"
	batchCommitHeader = "Nats-Batch-Commit"
)

// noBatches is how long to wait after a failed batch before trying another.
const noBatches = 10 * time.Second

// takesBatches reports whether the stream accepts batches now.
func (b *brokerState) takesBatches() bool { return b.atomic && !time.Now().Before(b.batchesFrom) }

// canBatch reports whether the events are a full window of new ones, for a stream that
// accepts batches. A full window is the most that nats-server accepts in one batch by
// default.
func (p *Publisher) canBatch(events []*pending) bool {
	if len(events) < publishWindow || !p.broker.takesBatches() {
		return false
	}
	for _, e := range events {
		if e.again { // a batch with an event that the stream knows is refused
			return false
		}
	}
	return true
}

// awaitsBatch reports whether to send nothing for now, so that the window empties and a
// batch becomes possible: there is a backlog. The lock is held.
func (p *Publisher) awaitsBatch() bool {
	return p.window.sent > 0 && p.left >= publishWindow && !p.window.queued[0].again && p.broker.takesBatches()
}

// sendBatch publishes the events as one atomic batch. When that fails they go through
// the window, where the server reports for each event what is wrong with it.
func (p *Publisher) sendBatch(ctx context.Context, events []*pending) {
	seq, err := p.tryBatch(ctx, events)
	if err == nil {
		p.mu.Lock()
		p.stats.Batches++
		p.mu.Unlock()
		first := seq - uint64(len(events)) + 1
		for i, e := range events {
			p.acked(e.msg, first+uint64(i), false)
		}
		return
	}
	p.broker.batchesFrom = time.Now().Add(noBatches)
	p.conn.log.Debug("atomic batch failed, publishing its events one by one", slog.Int("events", len(events)), slog.Any("error", err))
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		if e.state == sent {
			p.window.requeue(e)
		}
	}
	notify(p.wake)
}

// tryBatch returns the sequence number of the batch's last message.
func (p *Publisher) tryBatch(ctx context.Context, events []*pending) (uint64, error) {
	id := rand.Text()
	for i, e := range events[:len(events)-1] {
		if err := p.conn.nc.PublishMsg(batchMsg(e.msg, id, i+1)); err != nil {
			return 0, err
		}
	}
	last := batchMsg(events[len(events)-1].msg, id, len(events))
	last.Header.Set(batchCommitHeader, "1")
	bounded, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	answer, err := p.conn.nc.RequestMsgWithContext(bounded, last)
	if err != nil {
		return 0, err
	}
	var ack struct {
		Error    *jetstream.APIError `json:"error"`
		Sequence uint64              `json:"seq"`
		Batch    string              `json:"batch"`
		Count    int                 `json:"count"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("answer to a batch: %w", err)
	}
	switch {
	case ack.Error != nil:
		return 0, ack.Error
	case ack.Batch != id || ack.Count != len(events):
		return 0, errors.New("the server does not support atomic batches")
	}
	return ack.Sequence, nil
}

func batchMsg(m *nats.Msg, id string, seq int) *nats.Msg {
	out := nats.NewMsg(m.Subject)
	out.Header = nats.Header{
		jetstream.MsgIDHeader: m.Header[jetstream.MsgIDHeader],
		batchIDHeader:         []string{id},
		batchSeqHeader:        []string{strconv.Itoa(seq)},
	}
	out.Data = m.Data
	return out
}
