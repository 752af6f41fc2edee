package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/event"
)

// ErrSplit marks a segment that cannot be read alone because it is merged with others.
var ErrSplit = errors.New("the segment is merged with earlier ones")

// EventsAfter calls each with the event of every row in the segments from first on whose
// clock is not known to be off (ClockError), and stops at its first error: peer by peer, and those of a peer by their timestamps, so
// that only some rows of each file are in memory. The error is ErrSplit when a part has
// rows of earlier segments too, which for first 0 cannot be. It is ErrDamaged if every event
// was read but those of damaged parts, which it names.
//
// It uses a temporary directory next to the datasets: the caller holds the data directory's
// lock, and does not run Compact meanwhile.
func EventsAfter(ctx context.Context, dataDir string, first uint64, each func(event.Event) error) error {
	return events(ctx, dataDir, selection{first: first}, each)
}

// EventsIn is EventsAfter for the events of all segments with a timestamp in the range.
func EventsIn(ctx context.Context, dataDir string, in Range, each func(event.Event) error) error {
	return events(ctx, dataDir, selection{in: in}, each)
}

// selection selects events: those of the segments from first on with timestamps in a range.
type selection struct {
	first uint64
	in    Range
}

// mayHave reports whether the range may have rows of a part.
func (s selection) mayHave(f footer) bool {
	return f.newest == 0 || (s.in.From == 0 || f.newest >= s.in.From) && (s.in.To == 0 || f.oldest < s.in.To)
}

func events(ctx context.Context, dataDir string, which selection, each func(event.Event) error) (err error) {
	work := filepath.Join(dataDir, compactingDir, "events")
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	var damaged error
	skipped := func(err error) { damaged = errors.Join(damaged, err) }
	var readers []eventReader
	defer func() {
		for _, r := range readers {
			r.close()
		}
	}()
	for _, t := range eventTables() {
		r, err := t.events(ctx, dataDir, work, which, skipped)
		if err != nil {
			return err
		}
		readers = append(readers, r)
	}
	for n := 0; ; n++ {
		if n%writeBatch == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		r := firstReader(readers)
		if r == nil {
			return damaged
		}
		e, err := r.popEvent()
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		if err := each(e); err != nil {
			return err
		}
	}
}

// eventTables are the tables whose rows are events, by eventRank.
func eventTables() []table {
	tables := slices.DeleteFunc(registry(), func(t table) bool { return t.events == nil })
	slices.SortFunc(tables, func(a, b table) int { return cmp.Compare(a.eventRank, b.eventRank) })
	return tables
}

// firstReader is the reader with the first event, the first reader of those that are
// equal; nil when all are at their end.
func firstReader(readers []eventReader) (first eventReader) {
	var least sortKey
	for _, r := range readers {
		if key, ok := r.peek(); ok && (first == nil || key.compare(least) < 0) {
			first, least = r, key
		}
	}
	return first
}

// sortKey is what the rows of merged parts are sorted by.
type sortKey struct {
	id string
	at int64
}

func sortKeyOf[T Row](row T) sortKey { return sortKey{row.Peer(), row.At()} }

func (k sortKey) compare(o sortKey) int {
	return cmp.Or(strings.Compare(k.id, o.id), cmp.Compare(k.at, o.at))
}

// eventReader reads the events of one table in the order of their sort keys.
type eventReader interface {
	// peek returns the next event's key; false at the end.
	peek() (sortKey, bool)
	// popEvent takes the next event, which must exist; nil when it is to be left out.
	popEvent() (event.Event, error)
	close()
}

type tableEvents[T Row] struct {
	rows    mergeHeap[T]
	in      Range
	toEvent func(T) (event.Event, error)
}

// openEvents reads what is selected of a table's committed segments. skipped is called for each
// damaged part.
func openEvents[T Row](ctx context.Context, dataDir, work string, which selection, skipped func(error), toEvent func(T) (event.Event, error)) (eventReader, error) {
	rows, err := sortedRows[T](ctx, dataDir, work, which, skipped)
	if err != nil {
		rows.close()
		var zero T
		return nil, fmt.Errorf("read %s: %w", Dir(dataDir, zero.Table()), err)
	}
	return &tableEvents[T]{rows, which.in, toEvent}, nil
}

func (t *tableEvents[T]) peek() (sortKey, bool) {
	if len(t.rows) == 0 {
		return sortKey{}, false
	}
	return sortKeyOf(t.rows[0].row()), true
}

func (t *tableEvents[T]) popEvent() (event.Event, error) {
	row := t.rows[0].row()
	if !t.in.has(row.At()) {
		return nil, t.rows.dropRow()
	}
	e, err := t.toEvent(row)
	if err != nil {
		return nil, err
	}
	return e, t.rows.dropRow()
}

func (t *tableEvents[T]) close() { t.rows.close() }

// sortedRows returns the rows of a table's committed segments that may have something selected,
// without those of damaged parts. Close the heap, also after an error.
func sortedRows[T Row](ctx context.Context, dataDir, work string, which selection, skipped func(error)) (mergeHeap[T], error) {
	var zero T
	parts, err := openTable(dataDir, zero.Table())
	if err != nil || parts == nil {
		return nil, err
	}
	defer parts.dir.Close()
	var in []source
	for _, s := range parts.live {
		if s.last < which.first {
			continue
		}
		if s.first < which.first {
			return nil, fmt.Errorf("%w: %s, from %d on", ErrSplit, s.file(), which.first)
		}
		if which.in != (Range{}) {
			// A footer that cannot be read is verifiedIn's to explain.
			if f, err := parts.footer(tableOf[T](), s); err == nil && !which.mayHave(f) {
				continue
			}
		}
		f, err := verifiedIn[T](ctx, parts, s)
		if errors.Is(err, ErrDamaged) {
			skipped(fmt.Errorf("part %s: %w", s.path(dataDir, zero.Table()), err))
			continue
		}
		if err != nil {
			return nil, err
		}
		in = append(in, source{path: s.path(dataDir, zero.Table()), rows: f.rows, sorted: f.sorted})
	}
	m := merger[T]{dir: filepath.Join(work, zero.Table())}
	runs, err := m.sortedRuns(ctx, in)
	if err != nil {
		return nil, err
	}
	return openRuns[T](runs)
}
