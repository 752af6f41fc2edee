package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Writer appends rows to the data directory in segments. Rows of the open segment are
// in _staging; Commit moves them into the datasets, all or none, and only then do
// readers see them and they survive a crash.
//
// After an error of Append or Commit the open segment is lost: call Recover and append
// its rows again. A Writer is for one goroutine, except for Compact and Retain, which
// may run in one other.
type Writer struct {
	dir  string
	log  *slog.Logger
	lock *Lock

	covered   Coverage  // keys in committed segments
	found     time.Time // see Found
	open      *segment  // nil when no row was appended since the last commit
	recovered bool      // next is known

	// mu is held while entries of the dataset directories change. next is written
	// under it.
	mu    sync.Mutex
	next  uint64            // number of the open or next segment
	holds map[string]uint64 // the first segment of each holder of HoldCompactionFrom
	// cuts are segments by table: see NextPart. Those before each are not merged with it and
	// later ones.
	cuts map[string][]uint64
	// swapUnsynced: a swap may not be on the disk yet; under mu.
	swapUnsynced bool
	old          []generation // of Compact's goroutine

	now func() time.Time
	// crash, in tests, is called before each step of a commit or a swap; its error
	// leaves everything as a killed process would.
	crash func(step string) error
}

// segment is the open segment.
type segment struct {
	dir   string       // in _staging
	parts []stagedPart // one per table, in the order of the registry
	rows  []int64      // of each part
	left  []int64      // rows that LeaveOut counted, of each part
	// moving is that parts may have been renamed: what is left in _staging says to Recover, also
	// in another process, that they were not committed.
	moving bool
}

// committed counts the rows by table, for the footers.
func (s *segment) committed() map[string]int64 {
	out := make(map[string]int64, len(s.parts))
	for i, p := range s.parts {
		out[p.table()] = s.rows[i] + s.left[i]
	}
	return out
}

// LeaveOut has the open segment count a row of each table that is not stored, as if a purge had
// removed it: its event's key is committed with the others.
func (w *Writer) LeaveOut(tables ...string) error {
	if err := w.ensureOpen(); err != nil {
		return err
	}
	for i, p := range w.open.parts {
		if slices.Contains(tables, p.table()) {
			w.open.left[i]++
		}
	}
	return nil
}

// Open locks the data directory (ErrLocked when another process writes it),
// creating it if missing, and recovers it: what an earlier process left uncommitted
// is removed. A new directory gets one segment without rows, so that readers
// find every table from the beginning.
func Open(dir string, log *slog.Logger) (*Writer, error) {
	lock, err := TakeLock(dir)
	if err != nil {
		return nil, err
	}
	return OpenLocked(lock, log)
}

// OpenLocked is Open for a directory that is locked already. The writer owns the
// lock from here on, and closes it even when this fails.
func OpenLocked(lock *Lock, log *slog.Logger) (*Writer, error) {
	w := &Writer{dir: lock.dir, log: log, lock: lock, now: time.Now, holds: map[string]uint64{}, cuts: map[string][]uint64{}}
	err := os.RemoveAll(filepath.Join(w.dir, compactingDir))
	if err == nil {
		err = w.Recover()
	}
	if err == nil {
		err = w.begin()
	}
	if err == nil {
		err = listRemovedParts(w.dir)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return w, nil
}

// begin commits a segment without rows when metadata_events does not end with the
// newest segment, as in a new directory: readers go by that table.
func (w *Writer) begin() error {
	newest, any, err := committed(w.dir)
	if err != nil || any && newest+1 == w.next {
		return err
	}
	if w.next > 0 {
		w.log.Warn("the newest parts of metadata_events are missing; keeping those of the other tables", slog.String("dir", w.dir), slog.Uint64("segments", w.next))
	}
	return w.Commit(nil)
}

// Found is when the newest segment that Open found was committed, by this machine's
// clock at that time; zero when there was none.
func (w *Writer) Found() time.Time { return w.found }

// Dir is the data directory.
func (w *Writer) Dir() string { return w.dir }

// Check is an error when the data directory was moved or removed since it was locked: what
// is written then is not where readers, and the next process, look.
func (w *Writer) Check() error { return w.lock.Check() }

// Close drops the open segment and releases the lock. Calling it again does
// nothing.
func (w *Writer) Close() error {
	var err error
	if w.open != nil {
		err = w.open.discard()
		w.open = nil
	}
	return errors.Join(err, w.lock.Close())
}

// Covered is the set of event keys in committed segments. The writer keeps it up
// to date; do not change it.
func (w *Writer) Covered() Coverage { return w.covered }

// Rows counts the rows of the open segment.
func (w *Writer) Rows() (n int) {
	if w.open == nil {
		return 0
	}
	for _, rows := range w.open.rows {
		n += int(rows)
	}
	return n
}

// Segment is the number of the open or next segment.
func (w *Writer) Segment() uint64 { return w.next }

// Append adds a row to the open segment.
func Append[T Row](w *Writer, row T) error {
	if err := w.ensureOpen(); err != nil {
		return err
	}
	for i, p := range w.open.parts {
		p, ok := p.(*part[T])
		if !ok {
			continue
		}
		if err := p.append(row); err != nil {
			return fmt.Errorf("segment %d: %w", w.next, err)
		}
		w.open.rows[i]++
		return nil
	}
	return fmt.Errorf("segment %d: no table for %T", w.next, row)
}

func (w *Writer) ensureOpen() error {
	if w.open != nil {
		return nil
	}
	if err := w.lock.Check(); err != nil { // nothing is made where the directory was
		return err
	}
	s, err := openSegment(filepath.Join(w.dir, stagingDir, strconv.FormatUint(w.next, 10)))
	if err != nil {
		return fmt.Errorf("segment %d: %w", w.next, err)
	}
	w.open = s
	return nil
}

func openSegment(dir string) (*segment, error) {
	// Not MkdirAll: a data directory that has gone must not be created again.
	for _, dir := range []string{filepath.Dir(dir), dir} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	s := &segment{dir: dir}
	for _, t := range registry() {
		p, err := t.create(dir)
		if err != nil {
			return nil, errors.Join(err, s.discard())
		}
		s.parts = append(s.parts, p)
	}
	s.rows, s.left = make([]int64, len(s.parts)), make([]int64, len(s.parts))
	return s, nil
}

// discard closes and removes what is staged.
func (s *segment) discard() error {
	for _, p := range s.parts {
		p.abandon()
	}
	if s.moving {
		return nil
	}
	return os.RemoveAll(s.dir)
}
