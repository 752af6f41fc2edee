package consumer

import (
	"errors"
	"log/slog"
	"slices"

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

// openRejected reads the file, whose keys are counted unless they are too far from those
// that are covered.
func openRejected(dir string, covered dataset.Coverage, log *slog.Logger) (*rejectedFile, error) {
	r := &rejectedFile{keys: dataset.Coverage{}}
	var err error
	r.file, err = eventlog.OpenRejected(dir, log, addTo(r.keys))
	if err != nil {
		return nil, err
	}
	for producer, runs := range r.keys {
		r.keys[producer] = slices.DeleteFunc(runs, func(run dataset.Interval) bool { return isFar(run[1], last(covered, producer)) })
	}
	return r, nil
}

// Rejected reads the keys of the events that a data directory keeps as rejected.
func Rejected(dir string) (dataset.Coverage, error) {
	keys := dataset.Coverage{}
	return keys, eventlog.ReadRejected(dir, addTo(keys))
}

func addTo(keys dataset.Coverage) func(event.Key) {
	return func(k event.Key) { keys.Add(k.Producer(), k.Counter) }
}

// append keeps the message; it is on disk afterwards. A key that is too far does not count:
// everything below it would be missing.
func (r *rejectedFile) append(m bus.Message, reason error) error {
	if err := r.file.Append(event.Encoded{Subject: m.Subject, Key: m.Key, Data: m.Data}, m.Seq, reason); err != nil {
		return err
	}
	if !errors.Is(reason, errFar) {
		r.keys.Add(keyOf(m))
	}
	return nil
}

func (r *rejectedFile) Close() error { return r.file.Close() }
