package dataset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/diskio"
)

// keepOld is how long a directory that a swap replaced is kept: a Scan that started with
// it continues to read it.
const keepOld = 10 * time.Minute

// generation is a dataset directory that was replaced.
type generation struct {
	dir string
	at  time.Time
}

// addedPart is a finished file that becomes a part.
type addedPart struct {
	span
	file string
}

// errKeptApart ends a merge whose parts may no longer be merged.
var errKeptApart = errors.New("some of the parts are being copied: they will be merged later")

// swap removes parts from a table and adds others, in one step: it builds the new
// dataset directory of hard links next to the data and exchanges the two. A reader that lists
// the directory sees all of the old parts or all of the new, at any moment and after a
// crash at any moment. Commits wait meanwhile.
//
// A file that is added must be fsynced, is outside of the datasets, and is moved. After
// an error the dataset is either unchanged or in its new state.
func (w *Writer) swap(table string, out []span, in ...addedPart) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.lock.Check(); err != nil {
		return err
	}
	for _, p := range in {
		if !slices.Contains(out, p.span) && w.cut(table, p.span) {
			return errKeptApart // since the merge began
		}
	}
	if err := w.syncSwap(); err != nil {
		return err
	}
	dir, next := Dir(w.dir, table), filepath.Join(w.dir, compactingDir, table)
	if err := w.step("link " + table); err != nil {
		return err
	}
	if err := linkAll(dir, next, out); err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	for _, p := range in {
		if err := os.Rename(p.file, filepath.Join(next, p.span.file())); err != nil {
			return err
		}
	}
	if err := w.step("fsync " + table); err != nil {
		return err
	}
	if err := diskio.SyncDir(next); err != nil {
		return err
	}
	if err := w.step("exchange " + table); err != nil {
		return err
	}
	if err := exchange(dir, next); err != nil {
		return err
	}
	w.swapUnsynced = true
	if err := w.step("persist " + table); err != nil {
		return err
	}
	if err := w.syncSwap(); err != nil {
		return err
	}
	old := generation{dir: filepath.Join(w.dir, compactingDir, fmt.Sprintf("%s.%d", table, time.Now().UnixNano())), at: time.Now()}
	w.old = append(w.old, old)
	return os.Rename(next, old.dir)
}

// syncSwap makes an earlier exchange durable. Before that nothing may be committed
// into the new directory, which a power failure could undo.
func (w *Writer) syncSwap() error {
	if !w.swapUnsynced {
		return nil
	}
	if err := errors.Join(diskio.SyncDir(w.dir), diskio.SyncDir(filepath.Join(w.dir, compactingDir))); err != nil {
		return err
	}
	w.swapUnsynced = false
	return nil
}

// linkAll creates the directory next with all files of dir except the parts in without.
func linkAll(dir, next string, without []span) error {
	if info, err := os.Lstat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if err := errors.Join(os.RemoveAll(next), os.MkdirAll(next, 0o755)); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	skip := make(map[string]bool, len(without))
	for _, s := range without {
		skip[s.file()] = true
	}
	for _, e := range entries {
		if skip[e.Name()] {
			continue
		}
		if e.IsDir() { // it cannot be linked, and would be gone after the exchange
			return fmt.Errorf("%s is a directory: move it out of the dataset", filepath.Join(dir, e.Name()))
		}
		if err := os.Link(filepath.Join(dir, e.Name()), filepath.Join(next, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Sweep removes the directories that merges replaced once readers have had time to
// finish: until then their parts use disk space. It runs in Compact's goroutine.
func (w *Writer) Sweep(now time.Time) error {
	for len(w.old) > 0 && now.Sub(w.old[0].at) >= keepOld {
		if err := os.RemoveAll(w.old[0].dir); err != nil {
			return err
		}
		w.old = w.old[1:]
	}
	return nil
}

// dropOld removes what swaps have replaced at once: readers that started with it have to
// start again.
func (w *Writer) dropOld() error { return w.Sweep(time.Now().Add(keepOld)) }
