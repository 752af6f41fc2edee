package dataset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/chainbound/valtrack/internal/diskio"
)

// Migrated counts what a call of Migrate rewrote.
type Migrated struct {
	Parts int   `json:"parts"`
	Rows  int64 `json:"rows"`
}

// Migrate adds the columns that parts of earlier versions lack, as nulls: readers such as
// Polars refuse a directory whose files have different columns. The parts of a table are
// replaced in one step, under their names, so that a reader sees all of the old or all of
// the new at any moment. Only where the disk has no room for that they are replaced one by
// one. It must run before the first segment of this version is committed.
//
// A table whose parts cannot be rewritten stays as it is and is in the error, ErrNoRoom
// where the disk has no room for its largest part. Damaged parts are set aside, as by Recover,
// and parts of later versions stay: they are not in the error.
func (w *Writer) Migrate(ctx context.Context) (done Migrated, err error) {
	for _, table := range registry() {
		tableErr := w.migrateTable(ctx, table, &done)
		if ctx.Err() != nil {
			return done, errors.Join(err, ctx.Err())
		}
		if tableErr != nil {
			err = errors.Join(err, fmt.Errorf("add columns to %s: %w", Dir(w.dir, table.name), tableErr))
		}
	}
	return done, err
}

func (w *Writer) migrateTable(ctx context.Context, table table, done *Migrated) error {
	old, err := w.olderParts(ctx, table)
	if len(old) == 0 {
		return err
	}
	w.log.Info("adding this version's columns to older parts", slog.String("table", table.name), slog.Int("parts", len(old)))
	atOnce, roomErr := w.roomFor(table, old)
	if roomErr != nil {
		return errors.Join(err, roomErr)
	}
	if !atOnce {
		w.log.Warn("the disk has no room for a copy of this table: its parts are replaced one by one, and until that is done some readers refuse old and new parts together", slog.String("table", table.name))
	}
	for batch := range slices.Chunk(old, batchSize(atOnce, len(old))) {
		if batchErr := w.migrateParts(ctx, table, batch); batchErr != nil {
			return errors.Join(err, batchErr)
		}
		done.Parts += len(batch)
		for _, p := range batch {
			done.Rows += p.rows
		}
		if !atOnce {
			if dropErr := w.dropOld(); dropErr != nil {
				return errors.Join(err, dropErr)
			}
		}
	}
	return err
}

func batchSize(atOnce bool, parts int) int {
	if atOnce {
		return parts
	}
	return 1
}

// migrateParts rewrites parts and replaces them in one step.
func (w *Writer) migrateParts(ctx context.Context, table table, parts []partInfo) (err error) {
	work := filepath.Join(w.dir, compactingDir, "migrate")
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }() // a full disk has no room for half of it
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	var out []span
	var in []addedPart
	for _, p := range parts {
		if err := w.step("migrate " + table.name); err != nil {
			return err
		}
		dir := filepath.Join(work, p.String())
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		file, _, err := table.purge(ctx, dir, p.path(w.dir, table.name), p.footer, func(string) bool { return false })
		if err != nil {
			return err
		}
		out, in = append(out, p.span), append(in, addedPart{p.span, file})
	}
	return w.swap(table.name, out, in...)
}

// ErrNoRoom means that the disk has no room for what would be written, and nothing was.
var ErrNoRoom = errors.New("not enough free disk space")

// columnRoom is how much larger a part without rows gets by new columns, at most.
const columnRoom = 32 << 10

// roomFor reports whether the disk has room for a copy of all of the parts at once, and
// not only of one after the other; the error is ErrNoRoom when not even for that. When
// space is short it removes what earlier swaps have replaced: a Scan that still reads that
// has to be repeated.
func (w *Writer) roomFor(table table, parts []partInfo) (atOnce bool, err error) {
	var all, largest, growth int64
	for _, p := range parts {
		info, err := os.Stat(p.path(w.dir, table.name))
		if err != nil {
			return false, err
		}
		larger := info.Size()/8 + columnRoom
		all, largest, growth = all+info.Size()+larger, max(largest, info.Size()), growth+larger
	}
	free, err := diskio.Free(w.dir)
	if err == nil && free < all {
		if err = w.dropOld(); err == nil {
			free, err = diskio.Free(w.dir)
		}
	}
	if err == nil && free < largest+growth {
		err = fmt.Errorf("%w: it has %s and %s are needed for the largest part, %s for all parts at once", ErrNoRoom, inMiB(free), inMiB(largest+growth), inMiB(all))
	}
	return free >= all, err
}

func inMiB(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// olderParts are a table's parts that lack columns, and are whole. Damaged parts are set
// aside, whether they lack columns or not: at startup nobody else reads the footers of all
// tables. Parts of later versions stay. Those that cannot be read are in the error.
func (w *Writer) olderParts(ctx context.Context, table table) (old []partInfo, err error) {
	all, err := spans(w.dir, table.name)
	var damaged []damagedPart
	for _, s := range all {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		path := s.path(w.dir, table.name)
		f, partErr := table.readFooter(path)
		older := partErr == nil && f.older && len(f.unknown) == 0
		if older {
			partErr = table.verify(ctx, path) // a new checksum would hide the damage
		}
		switch {
		case errors.Is(partErr, ErrDamaged):
			damaged = append(damaged, damagedPart{table.name, s, partErr})
		case partErr != nil && !errors.Is(partErr, errNewer):
			err = errors.Join(err, partErr)
		case older:
			old = append(old, partInfo{s, f})
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return old, errors.Join(err, w.leaveOut(damaged))
}
