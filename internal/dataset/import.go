package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"github.com/chainbound/valtrack/internal/event"
)

// Imported counts what was taken from another data directory.
type Imported struct {
	Segments int    `json:"segments"` // stored, each of one or more of the other directory
	Events   uint64 `json:"events"`   // stored
	Known    uint64 `json:"known"`    // events that were here, or were removed here
	// Left are segments that could not be taken.
	Left []LeftSegments `json:"left"`
}

// LeftSegments are segments of another directory, both ends included, and why they were left.
type LeftSegments struct {
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Reason string `json:"reason"`
}

// EventRow is a row that has a whole event.
type EventRow interface {
	Row
	Event() (event.Event, error)
	// ClockErr is the column clock_error_ms.
	ClockErr() *int64
}

// Importer takes the events of other data directories. Each event is stored once, by its key:
// events and keys of one or more segments there become one segment here, so an import that is
// interrupted goes on where it ended when it is repeated.
type Importer struct {
	dir     string
	covered Coverage
	w       *Writer
	store   func(row EventRow, e event.Event) error
}

// NewImporter imports into the writer's directory. store appends the rows of an event.
func NewImporter(w *Writer, store func(row EventRow, e event.Event) error) *Importer {
	return &Importer{dir: w.dir, covered: w.covered, w: w, store: store}
}

// NewTrial makes an Importer that only says what would be imported into a directory, which may
// be missing. A writer may be writing to it.
func NewTrial(dataDir string) (*Importer, error) {
	next, err := afterAll(dataDir)
	if err != nil {
		return nil, err
	}
	covered, _, _, err := readCoverage(dataDir, next)
	return &Importer{dir: dataDir, covered: covered}, err
}

// Import takes the events of a data directory, to which a consumer may be writing. What is
// derived from them, such as estimates, is not taken. Segments that are damaged, incomplete or
// contradict what is here are left, and are in the result.
func (im *Importer) Import(ctx context.Context, from string) (Imported, error) {
	done := Imported{Left: []LeftSegments{}}
	l, err := listAll(from)
	if err != nil {
		return done, err
	}
	for _, stretch := range l.stretches() {
		err := im.stretch(ctx, l, stretch, &done)
		var left *leftError
		switch {
		case errors.As(err, &left):
			done.Left = append(done.Left, LeftSegments{stretch.first, stretch.last, left.reason})
		case errors.Is(err, fs.ErrNotExist) && im.w.there():
			return done, fmt.Errorf("%w: a consumer has merged or removed it meanwhile: run the import again, it resumes where it stopped", err)
		case err != nil:
			return done, err
		}
	}
	return done, nil
}

// there reports whether the directory that is written has not gone.
func (w *Writer) there() bool { return w == nil || w.lock.Check() == nil }

// leftError is why segments are left.
type leftError struct{ reason string }

func (e *leftError) Error() string { return e.reason }

func leave(format string, args ...any) error { return &leftError{fmt.Sprintf(format, args...)} }

// stretch takes the segments of a stretch.
func (im *Importer) stretch(ctx context.Context, l *listing, s span, done *Imported) error {
	keys, purged, err := im.claims(l, s)
	if err != nil {
		return err
	}
	fresh := keys.without(im.covered)
	n := countAll(fresh)
	known := countAll(keys) - n
	if n == 0 {
		if unclear(keys, im.covered) != nil {
			err = im.allHere(ctx, l, s)
		}
		if err = cmp.Or(err, im.withoutKeys(l, s, keys)); err == nil {
			done.Known += known
		}
		return err
	}
	if err := incomplete(l, s); err != nil {
		return err
	}
	if known > 0 {
		if err := unclear(keys, im.covered); err != nil {
			return err
		}
	}
	stored, err := im.events(ctx, l, s, known > 0)
	if err == nil {
		err = agree(n, stored, purged)
	}
	if err != nil {
		return errors.Join(err, im.drop())
	}
	if im.w != nil {
		if err := im.w.Commit(fresh); err != nil {
			return errors.Join(err, im.w.Recover())
		}
	}
	done.Known += known
	done.Events += stored
	done.Segments++
	im.covered.Merge(fresh)
	return nil
}

// claims are the keys of a stretch and the number of rows that were purged from its tables with
// events, as its footers have them. Somebody else wrote these.
func (im *Importer) claims(l *listing, s span) (keys Coverage, purged uint64, err error) {
	keys = Coverage{}
	for _, t := range registry() {
		for _, p := range l.partsIn(t.name, s) {
			if len(p.unknown) > 0 {
				return nil, 0, leave("%s has columns of a later version (%s): import with that version", t.name, strings.Join(p.unknown, ", "))
			}
			keys.Merge(p.keys)
			if t.events != nil {
				purged += uint64(p.purged)
			}
		}
	}
	for producer, runs := range keys {
		if run, far := farRun(producer, runs, im.covered[producer]); far {
			return nil, 0, leave("its events %d to %d of %q are more than %d beyond those that are known: no sentry counts so far", run[0], run[1], producer, MaxJump)
		}
	}
	return keys, purged, nil
}

// farRun is the first run that a consumer would not have accepted, given what is covered: a run
// that ends more than MaxJump beyond the counter known before it, or that has more counters,
// where the stream numbers the events and may begin anywhere.
func farRun(producer string, runs, covered []Interval) (Interval, bool) {
	last := uint64(0)
	if n := len(covered); n > 0 {
		last = covered[n-1][1]
	}
	for _, run := range runs {
		from := last
		if strings.HasPrefix(producer, "@") {
			from = run[0]
		}
		if run[1] > from && run[1]-from > MaxJump {
			return run, true
		}
		last = max(last, run[1])
	}
	return Interval{}, false
}

// agree leaves a stretch whose new keys are not those of its new rows. Rows have no keys, so
// that a key without a row is believed to be one of the purged events, and is covered for good:
// an event that comes with it later would be dropped. The number of purged rows is only what
// the other directory says, so that no more keys than rows are believed.
func agree(keys, rows, purged uint64) error {
	switch {
	case rows > keys || keys-rows > purged:
		return leave("%d of its events are new here by their keys, and %d by their rows: rows were removed from one of the two directories", keys, rows)
	case keys-rows > rows:
		return leave("%d of its %d new events were purged there, more than half: their keys would keep these events from being stored here", keys-rows, keys)
	}
	return nil
}

// withoutKeys leaves rows that no key identifies.
func (im *Importer) withoutKeys(l *listing, s span, keys Coverage) error {
	for _, t := range registry() {
		for _, p := range l.partsIn(t.name, s) {
			if len(keys) == 0 && t.events != nil && p.rows > 0 {
				return leave("%s has rows of events without keys, which may be here already", t.name)
			}
		}
	}
	return nil
}

// allHere leaves a stretch whose keys are all covered here, but of which some row is not here.
func (im *Importer) allHere(ctx context.Context, l *listing, s span) error {
	seed := maphash.MakeSeed()
	for _, t := range registry() {
		if t.events == nil {
			continue
		}
		here, err := im.rowsHere(ctx, l, t, s, seed)
		if err != nil {
			return err
		}
		missing := 0
		for _, found := range here {
			if !found {
				missing++
			}
		}
		if missing > 0 {
			return leave("%d events without keys of their sentry have numbers that are known here, and are not here: another broker numbered them, or they were removed here", missing)
		}
	}
	return nil
}

// incomplete leaves a stretch of which a table with events lacks something: its keys would
// keep a whole copy from being imported later.
func incomplete(l *listing, s span) error {
	for _, t := range registry() {
		if t.events == nil {
			continue
		}
		found := TableHealth{}
		l.compareStretch(t.name, s, &found)
		if len(found.Disagreeing) > 0 || len(gapsIn(l.partsIn(t.name, s), s)) > 0 {
			return leave("parts of %s are missing, damaged, or not what the other tables say", t.name)
		}
	}
	return nil
}

// unclear leaves events that their sentry did not number, when some of them may be here: the
// broker's numbers, which they have instead, are used by other brokers for other events.
func unclear(keys, covered Coverage) error {
	for producer, runs := range keys {
		if strings.HasPrefix(producer, "@") && overlapRuns(covered[producer], runs) > 0 {
			return leave("events without keys of their sentry cannot be told from those that are here")
		}
	}
	return nil
}

// events stores the events of a stretch, except for those of which the row is here already, and
// counts them.
func (im *Importer) events(ctx context.Context, l *listing, s span, compare bool) (n uint64, err error) {
	seed := maphash.MakeSeed()
	for _, t := range registry() {
		if t.events == nil {
			continue
		}
		here := map[uint64]bool{}
		if compare {
			if here, err = im.rowsHere(ctx, l, t, s, seed); err != nil {
				return n, err
			}
		}
		err := eachRowThere(ctx, l, t, s, func(row Row) error {
			if here[maphash.Comparable(seed, row.key())] {
				return nil
			}
			n++
			return im.event(row)
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// eachRowThere calls each with the rows of a table's parts in a stretch, which are verified.
func eachRowThere(ctx context.Context, l *listing, t table, s span, each func(Row) error) error {
	for _, p := range l.partsIn(t.name, s) {
		path := p.path(l.dataDir, t.name)
		err := t.verify(ctx, path)
		if err == nil {
			err = t.rows(ctx, path, each)
		}
		if errors.Is(err, ErrDamaged) {
			err = leave("%s: %v", filepath.Base(path), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// event stores one, whose values somebody else has written.
func (im *Importer) event(row Row) error {
	r, ok := row.(EventRow)
	if !ok {
		return fmt.Errorf("%s has no events", row.Table())
	}
	e, err := r.Event()
	if err == nil {
		err = e.Validate()
	}
	if err != nil {
		return leave("a row of %s is no event that a sentry sends: %v", row.Table(), err)
	}
	if im.w == nil {
		return nil
	}
	return im.store(r, e)
}

// rowsHere says of each row of a table in a stretch, by the hash of its key, whether it is here.
// Its size is that of the stretch, however long the time between its rows.
func (im *Importer) rowsHere(ctx context.Context, l *listing, t table, s span, seed maphash.Seed) (map[uint64]bool, error) {
	out := map[uint64]bool{}
	oldest, newest := int64(math.MaxInt64), int64(math.MinInt64)
	err := eachRowThere(ctx, l, t, s, func(row Row) error {
		key := row.key()
		out[maphash.Comparable(seed, key)] = false
		oldest, newest = min(oldest, key.at), max(newest, key.at)
		return nil
	})
	if err != nil || len(out) == 0 {
		return out, err
	}
	in := Range{From: oldest}
	if newest < math.MaxInt64 {
		in.To = newest + 1
	}
	err = t.scan(ctx, im.dir, in, func(row Row) error {
		hash := maphash.Comparable(seed, row.key())
		if _, there := out[hash]; there {
			out[hash] = true
		}
		return nil
	})
	if errors.Is(err, ErrDamaged) {
		err = leave("some of its events may be in a part that is damaged here: %v", err)
	}
	return out, err
}

// drop discards what is staged of a stretch.
func (im *Importer) drop() error {
	if im.w == nil || im.w.open == nil {
		return nil
	}
	open := im.w.open
	im.w.open = nil
	return open.discard()
}
