package consumer

import (
	"log/slog"
	"strings"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
)

// rejectedFile is the data directory's file of rejected events, and their keys.
//
// Rejected events are not covered by the datasets, so that a replay can store them once
// a consumer understands them. Until then their keys count as known, not as missing.
// The keys of events that the file drops stay known until the next start.
type rejectedFile struct {
	file *eventlog.RejectedFile
	keys dataset.Coverage
}

func openRejected(dir string, log *slog.Logger) (*rejectedFile, error) {
	r := &rejectedFile{keys: dataset.Coverage{}}
	var err error
	r.file, err = eventlog.OpenRejected(dir, log, addTo(r.keys))
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Rejected reads the keys of the events that a data directory keeps as rejected.
func Rejected(dir string) (dataset.Coverage, error) {
	keys := dataset.Coverage{}
	return keys, eventlog.ReadRejected(dir, addTo(keys))
}

func addTo(keys dataset.Coverage) func(event.Key) {
	return func(k event.Key) { addRejected(keys, k.Producer(), k.Counter) }
}

// append keeps the message; it is on disk afterwards.
func (r *rejectedFile) append(m bus.Message, reason error) error {
	if err := r.file.Append(event.Encoded{Subject: m.Subject, Key: m.Key, Data: m.Data}, m.Seq, reason); err != nil {
		return err
	}
	producer, counter := keyOf(m)
	addRejected(r.keys, producer, counter)
	return nil
}

// addRejected leaves out counters that refuseFar may have refused: what is below them would
// count as missing.
func addRejected(keys dataset.Coverage, producer string, counter uint64) {
	if counter <= maxJump || strings.HasPrefix(producer, "@") {
		keys.Add(producer, counter)
	}
}

func (r *rejectedFile) Close() error { return r.file.Close() }
