package dataset

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/chainbound/valtrack/internal/crashpoint"
	"github.com/chainbound/valtrack/internal/diskio"
)

// Commit makes the open segment part of the datasets, with the keys of the events that
// its rows came from. When it returns nil the segment is durable and the keys are in
// Covered; a segment without rows keeps its keys too. After an error the state of the
// segment is unknown until Recover, which removes it.
//
// The order: the files are complete and fsynced in _staging; each is renamed into
// its dataset, that of metadata_events last; the directories are fsynced. Until
// the last rename a crash leaves the segment uncommitted and Recover removes the
// parts that were renamed.
func (w *Writer) Commit(keys Coverage) error {
	if err := w.commit(keys); err != nil {
		return fmt.Errorf("commit segment %d in %s: %w", w.next, w.dir, err)
	}
	return nil
}

func (w *Writer) commit(keys Coverage) error {
	if err := w.lock.Check(); err != nil {
		return err
	}
	if err := w.ensureOpen(); err != nil {
		return err
	}
	f := footer{span: single(w.next).String(), keys: keys, stored: w.now().UnixMilli(), committed: w.open.committed()}
	entries, err := f.entries()
	if err != nil {
		return err
	}
	for i, p := range w.open.parts {
		if err := w.step("finish " + p.table()); err != nil {
			return err
		}
		entries[footerTable] = p.table()
		delete(entries, footerPurged)
		if n := w.open.left[i]; n > 0 {
			entries[footerPurged] = strconv.FormatInt(n, 10)
		}
		if err := p.finish(entries); err != nil {
			return err
		}
	}
	staged := w.open.dir
	// Recover uses it to recognise what was not committed.
	if err := errors.Join(diskio.SyncDir(staged), diskio.SyncDir(filepath.Dir(staged)), diskio.SyncDir(w.dir)); err != nil {
		return err
	}
	if err := w.renameParts(); err != nil {
		return err
	}
	w.covered.Merge(keys)
	if err := w.step("committed"); err != nil {
		return err
	}
	// The segment is committed regardless of what happens to the empty directory.
	if err := os.RemoveAll(staged); err != nil {
		w.log.Warn("cannot remove staged files", slog.String("dir", staged), slog.Any("error", err))
	}
	return nil
}

// renameParts renames the finished parts of the open segment into the datasets.
func (w *Writer) renameParts() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.syncSwap(); err != nil {
		return err
	}
	w.open.moving = true
	for _, p := range w.open.parts {
		if err := w.step("rename " + p.table()); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(w.open.dir, p.table()+partSuffix), single(w.next).path(w.dir, p.table())); err != nil {
			return err
		}
		// Before the next rename, so that no crash can keep that one and lose this.
		if err := w.step("sync " + p.table()); err != nil {
			return err
		}
		if err := diskio.SyncDir(Dir(w.dir, p.table())); err != nil {
			return err
		}
	}
	w.next++
	w.open = nil
	return nil
}

func (w *Writer) step(name string) error {
	crashpoint.At(name)
	if w.crash == nil {
		return nil
	}
	return w.crash(name)
}

// Recover brings the data directory into the state after the last commit: staged
// files and parts of an uncommitted segment are removed, and Covered is read from the
// footers again. Parts that are found to be damaged are set aside: it reads the footers of
// metadata_events, and Migrate those of all tables. Open does it too.
func (w *Writer) Recover() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open != nil {
		for _, p := range w.open.parts {
			p.abandon()
		}
		w.open = nil
	}
	err := w.lock.Check() // a directory that has gone must not be created again
	if err == nil {
		err = w.recover()
	}
	if err != nil {
		return fmt.Errorf("recover %s: %w", w.dir, err)
	}
	return nil
}

func (w *Writer) recover() error {
	next := w.next
	if !w.recovered {
		var err error
		if next, err = afterAll(w.dir); err != nil {
			return err
		}
	}
	tables := Tables()
	// metadata_events first: if the process dies in between, the segment is
	// uncommitted.
	for i := len(tables) - 1; i >= 0; i-- {
		if err := w.rollBack(tables[i], next); err != nil {
			return err
		}
	}
	// Last, as it says which parts are to be rolled back.
	if err := os.RemoveAll(filepath.Join(w.dir, stagingDir)); err != nil {
		return err
	}
	// The dataset directories themselves must survive a power failure too.
	if err := diskio.SyncDir(w.dir); err != nil {
		return err
	}
	covered, newest, damaged, err := readCoverage(w.dir, next)
	if err != nil {
		return err
	}
	if err := w.leaveOut(damaged); err != nil {
		return err
	}
	if !w.recovered && newest > 0 {
		w.found = time.UnixMilli(newest)
	}
	w.covered, w.next, w.recovered = covered, next, true
	return nil
}

// rollBack removes a table's parts of segments from next on, which were not
// committed. A part whose commit failed after its last rename is one of them, as
// the commit was not reported: whether it survives a power failure is not known, and
// its events will be redelivered.
func (w *Writer) rollBack(table string, next uint64) error {
	dir := Dir(w.dir, table)
	if !w.recovered { // later a table that is missing has gone, and its rows with it
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	all, err := spans(w.dir, table)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.first >= next {
			w.log.Warn("removing a part of a segment that was not committed", slog.String("part", s.path(w.dir, table)))
			err = os.Remove(s.path(w.dir, table))
		}
		if err != nil {
			return err
		}
	}
	if err := w.removeStale(table, slices.DeleteFunc(all, func(s span) bool { return s.first >= next })); err != nil {
		return err
	}
	return diskio.SyncDir(dir)
}

// readCoverage returns the event keys of the parts of segments before next, including those
// that retention has removed, and when the newest was committed, Unix milliseconds. A segment's parts have
// the same keys: metadata_events is read, and of the others only what it lacks. Parts that
// are found to be damaged are left out: their keys are in another table's.
func readCoverage(dir string, next uint64) (covered Coverage, newest int64, damaged []damagedPart, err error) {
	if covered, err = readRemoved(dir); err != nil {
		return nil, 0, nil, err
	}
	var known []span // of metadata_events
	for i, table := range append([]table{metadataTable()}, registry()[:len(registry())-1]...) {
		all, err := spans(dir, table.name)
		if err != nil {
			return nil, 0, nil, err
		}
		for _, s := range all {
			if s.first >= next || i > 0 && slices.ContainsFunc(known, s.within) {
				continue
			}
			f, err := table.readFooter(s.path(dir, table.name))
			if errors.Is(err, ErrDamaged) {
				damaged = append(damaged, damagedPart{table.name, s, err})
				continue
			}
			if err != nil {
				return nil, 0, nil, fmt.Errorf("%w; restore it, or move it away: its rows are then lost, but not those of other tables", err)
			}
			covered.Merge(f.keys)
			newest = max(newest, f.stored)
			if i == 0 {
				known = append(known, s)
			}
		}
	}
	return covered, newest, damaged, nil
}
