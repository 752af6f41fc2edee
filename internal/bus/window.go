package bus

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// window has the events that were taken from the queue and are not acknowledged to it,
// in the queue's order. It is guarded by its publisher's lock.
type window struct {
	// flight are the events in order: those that are acknowledged wait there for the
	// ones before them.
	flight []*pending
	bytes  int                    // of their data
	byMsg  map[*nats.Msg]*pending // those that are not acknowledged
	queued []*pending             // those of flight that are to be sent
	sent   int                    // those of flight that were sent and not answered
	// acked counts the events that have left flight and are not acknowledged to the
	// queue yet.
	acked int
}

// pending is an event in flight.
type pending struct {
	msg   *nats.Msg
	at    time.Time // when it was made
	own   uint64    // its counter, of an event that this process has made; else 0
	first bool      // it was sent once, and never before
	state pendingState
}

func (p *pending) encoded() event.Encoded {
	return event.Encoded{Subject: p.msg.Subject, Key: p.msg.Header.Get(jetstream.MsgIDHeader), Time: p.at, Data: p.msg.Data}
}

type pendingState uint8

const (
	queued pendingState = iota
	sent
	forged // answered as known, although it was never sent before; to be kept aside
	acked
)

func newWindow() window { return window{byMsg: make(map[*nats.Msg]*pending)} }

// room is how many events may be added.
func (w *window) room() int {
	if w.bytes >= windowBytes {
		return 0
	}
	return publishWindow - len(w.flight)
}

// own begins the keys of events that this process has made; see PublisherConfig.
func (w *window) add(events []event.Encoded, own string) {
	for _, e := range events {
		m := nats.NewMsg(e.Subject)
		m.Header = nats.Header{jetstream.MsgIDHeader: []string{e.Key}}
		m.Data = e.Data
		p := &pending{msg: m, at: e.Time}
		if key, err := event.ParseKey(e.Key); own != "" && err == nil && key.Producer() == own {
			p.own = key.Counter
		}
		w.bytes += len(m.Data)
		w.byMsg[m] = p
		w.flight = append(w.flight, p)
		w.queued = append(w.queued, p)
	}
}

// clear forgets everything, so that late reports about these events are ignored.
func (w *window) clear() { *w = newWindow() }

// oldest is when the oldest event was made, zero when there is none.
func (w *window) oldest() time.Time {
	if len(w.flight) == 0 {
		return time.Time{}
	}
	return w.flight[0].at
}

// done counts one event as acknowledged.
func (w *window) done(e *pending) {
	if e.state == sent {
		w.sent--
	}
	e.state = acked
	delete(w.byMsg, e.msg)
	for len(w.flight) > 0 && w.flight[0].state == acked {
		w.bytes -= len(w.flight[0].msg.Data)
		w.flight = w.flight[1:]
		w.acked++
	}
}

// markForged takes a sent event out of those that wait for an answer: it is forged, and stays in
// flight until it is done.
func (w *window) markForged(e *pending) {
	w.sent--
	e.state = forged
}

// requeue has an event that was sent sent again.
func (w *window) requeue(e *pending) {
	w.sent--
	e.state, e.first = queued, false
	w.queued = append(w.queued, e)
}

// takeQueued returns the events to send, and counts them as sent.
func (w *window) takeQueued() []*pending {
	events := slices.DeleteFunc(w.queued, func(e *pending) bool { return e.state != queued }) // acknowledged after all
	w.queued = nil
	for _, e := range events {
		e.state = sent
	}
	w.sent += len(events)
	return events
}
