package dataset

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
)

// Commit makes the open segment part of the datasets, with the event keys that
// its rows came from. When it returns nil the segment is on the disk for good and
// the keys are in Covered; a segment without rows keeps its keys too. On an error
// nothing is known of the segment until Recover.
//
// The order: the files are complete and fsynced in _staging; each is renamed into
// its dataset, that of metadata_events last; the directories are fsynced. Until
// the last rename a crash leaves the segment uncommitted and Recover removes the
// parts that were renamed.
func (w *Writer) Commit(keys Coverage) error {
	if err := w.commit(keys); err != nil {
		return fmt.Errorf("commit segment %d in %s: %w", w.next, w.dir, err)
	}
	w.covered.Merge(keys)
	w.next++
	w.open = nil
	return nil
}

func (w *Writer) commit(keys Coverage) error {
	if err := w.ensureOpen(); err != nil {
		return err
	}
	seqs, err := keys.encode()
	if err != nil {
		return err
	}
	entries := map[string]string{
		footerSchema:  SchemaVersion,
		footerSegment: strconv.FormatUint(w.next, 10),
		footerSeqs:    seqs,
	}
	for _, p := range w.open.parts() {
		if err := w.step("finish " + p.table()); err != nil {
			return err
		}
		if err := p.finish(entries); err != nil {
			return err
		}
	}
	for _, p := range w.open.parts() {
		if err := w.step("rename " + p.table()); err != nil {
			return err
		}
		if err := os.Rename(p.path(), partPath(w.dir, p.table(), w.next)); err != nil {
			return err
		}
		// Before the next rename, so that no crash can keep that one and lose this.
		if err := w.step("sync " + p.table()); err != nil {
			return err
		}
		if err := syncDir(Dir(w.dir, p.table())); err != nil {
			return err
		}
	}
	if err := w.step("committed"); err != nil {
		return err
	}
	return os.RemoveAll(w.open.dir)
}

func (w *Writer) step(name string) error {
	if w.crash == nil {
		return nil
	}
	return w.crash(name)
}

// Recover brings the data directory into the state after the last commit: staged
// files and parts of an uncommitted segment go, and Covered is read from the
// footers again. Open does it too.
func (w *Writer) Recover() error {
	if w.open != nil {
		for _, p := range w.open.parts() {
			p.abandon()
		}
		w.open = nil
	}
	if err := os.RemoveAll(filepath.Join(w.dir, stagingDir)); err != nil {
		return fmt.Errorf("recover %s: %w", w.dir, err)
	}
	newest, any, err := committed(w.dir)
	if err != nil {
		return fmt.Errorf("recover %s: %w", w.dir, err)
	}
	for _, table := range Tables() {
		if err := w.rollBack(table, newest, any); err != nil {
			return fmt.Errorf("recover %s: %w", w.dir, err)
		}
	}
	if w.covered, err = readCoverage(w.dir); err != nil {
		return fmt.Errorf("recover %s: %w", w.dir, err)
	}
	w.next = 0
	if any {
		w.next = newest + 1
	}
	return nil
}

// rollBack removes a table's parts of segments that were not committed.
func (w *Writer) rollBack(table string, newest uint64, any bool) error {
	dir := Dir(w.dir, table)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	all, err := segments(w.dir, table)
	if err != nil {
		return err
	}
	for _, n := range all {
		if any && n <= newest {
			continue
		}
		path := partPath(w.dir, table, n)
		w.log.Warn("removing a part of a segment that was not committed", slog.String("part", path))
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

func readCoverage(dir string) (Coverage, error) {
	covered := Coverage{}
	all, err := segments(dir, Metadata)
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		path := partPath(dir, Metadata, n)
		lookup, err := footer(path)
		if err != nil {
			return nil, err
		}
		seqs, ok := lookup(footerSeqs)
		if !ok {
			continue // not written by us: it has no event keys
		}
		c, err := decodeCoverage(seqs)
		if err != nil {
			return nil, fmt.Errorf("part %s: %w", path, err)
		}
		covered.Merge(c)
	}
	return covered, nil
}
