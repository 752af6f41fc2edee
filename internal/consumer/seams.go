package consumer

import (
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// Enricher fills columns of validator_metadata_events that a handshake's event does not
// have itself. It is called for each handshake, by one goroutine at a time, and must be
// fast: no I/O. The row keeps what is set in it until it is written.
type Enricher interface {
	Enrich(e *event.MetadataReceived, row *dataset.ValidatorRow)
}

// sink follows the datasets. Its methods are called one after another.
type sink interface {
	// Add is called with each event that was accepted into the open segment and whose clock
	// is not known to be off (event.ClockError), and with the sentry id in the event's key; empty
	// for an event without a key.
	Add(e event.Event, sentry string)
	// Commit is called when the segment with the added events is in the datasets,
	// before its messages are acknowledged. Those will not be redelivered: what a sink
	// has not stored when the process dies it reads from the datasets at the next start.
	Commit(s segment)
	// Drop is called when the open segment could not be written: the events added since
	// the last Commit will be redelivered.
	Drop()
}

// segment is a committed segment.
type segment struct {
	number uint64
	full   bool // committed for its size, not its age: there is a backlog
	last   bool // the consumer is stopping
}
