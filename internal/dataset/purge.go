package dataset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chainbound/valtrack/internal/diskio"
)

// Purge removes the rows of the peers that gone reports, from every table, and counts them
// by table. Each part is replaced as a whole, under its name, so that a crash leaves it with
// all of its rows or with the rest: calling Purge again finishes. The other rows stay as
// they are and in their order. Event keys stay covered, and the part's footer counts what
// was removed.
//
// Parts that cannot be read, have columns that this version does not know or were set aside
// stay and are in the error. No consumer may run with w.
func (w *Writer) Purge(ctx context.Context, gone func(peer string) bool) (removed map[string]int64, err error) {
	removed = map[string]int64{}
	for _, table := range registry() {
		all, listErr := spans(w.dir, table.name)
		aside, asideErr := setAsideFiles(w.dir, table.name)
		err = errors.Join(err, listErr, asideErr)
		for _, path := range aside {
			err = errors.Join(err, fmt.Errorf("purge %s: it is damaged and may have rows of these peers: remove it, or replace it with an intact copy and purge again", path))
		}
		for _, s := range all {
			if ctx.Err() != nil {
				return removed, errors.Join(err, ctx.Err())
			}
			n, partErr := w.purgePart(ctx, table, s, gone)
			removed[table.name] += n
			if partErr != nil {
				err = errors.Join(err, fmt.Errorf("purge %s: %w", s.path(w.dir, table.name), partErr))
			}
		}
	}
	// The replaced parts, which swap keeps for readers.
	w.old = nil
	return removed, errors.Join(err, os.RemoveAll(filepath.Join(w.dir, compactingDir)), diskio.SyncDir(w.dir))
}

func (w *Writer) purgePart(ctx context.Context, table table, s span, gone func(string) bool) (int64, error) {
	path := s.path(w.dir, table.name)
	f, err := table.readFooter(path)
	if err != nil {
		return 0, err
	}
	if err := table.verify(ctx, path); err != nil { // a new checksum would hide the damage
		return 0, err
	}
	if any, err := hasPeer(ctx, path, gone); err != nil || !any {
		return 0, err
	}
	if err := w.step("purge " + table.name); err != nil {
		return 0, err
	}
	work := filepath.Join(w.dir, compactingDir, "purge")
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o755)); err != nil {
		return 0, err
	}
	file, removed, err := table.purge(ctx, work, path, f, gone)
	if err == nil {
		err = w.swap(table.name, []span{s}, addedPart{s, file})
	}
	if err != nil {
		return 0, errors.Join(err, os.RemoveAll(work))
	}
	return removed, nil
}

// errFound ends the reading of a part's peers at the first that is to be purged.
var errFound = errors.New("found")

// hasPeer reads only the column of the peers.
func hasPeer(ctx context.Context, path string, gone func(string) bool) (bool, error) {
	type peer struct {
		ID string `parquet:"id,dict"`
	}
	err := eachRow(ctx, path, func(p peer) error {
		if gone(p.ID) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// purgeRows writes the rows of a part that stay into a file in dir, with its footer, and
// fsyncs it.
func purgeRows[T Row](ctx context.Context, dir, path string, f footer, gone func(string) bool) (file string, removed int64, err error) {
	if len(f.unknown) > 0 { // a row would not keep them
		return "", 0, fmt.Errorf("columns %s are of a later version of valtrack: use that version", strings.Join(f.unknown, ", "))
	}
	p, err := createLike[T](dir, f)
	if err != nil {
		return "", 0, err
	}
	defer p.abandon()
	if err := eachRow(ctx, path, func(row T) error {
		if gone(row.Peer()) {
			removed++
			return nil
		}
		return p.append(row)
	}); err != nil {
		return "", 0, err
	}
	f.purged += removed
	entries, err := f.entries()
	if err != nil {
		return "", 0, err
	}
	return p.file.Name(), removed, p.finish(entries)
}

// createLike makes a part with the settings of one with the footer.
func createLike[T Row](dir string, f footer) (*part[T], error) {
	if f.sorted {
		m := merger[T]{dir: dir}
		return m.create()
	}
	return createPart[T](dir)
}

// MarkRemoved notes that the events with these keys were removed and must not be stored
// again. It is durable when it returns nil.
func (w *Writer) MarkRemoved(keys Coverage) error {
	if err := addRemoved(w.dir, keys); err != nil {
		return err
	}
	w.covered.Merge(keys)
	return nil
}
