package tracker

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/chainbound/valtrack/internal/diskio"
)

// rebuilt is the name of a database while it is being rebuilt.
const rebuilt = File + ".new"

// Create creates an empty database next to the one in use, if there is one, which stays
// until Replace.
func Create(ctx context.Context, cfg Config) (*Tracker, error) {
	path := filepath.Join(cfg.Dir, rebuilt)
	if err := removeFile(path); err != nil {
		return nil, err
	}
	return open(ctx, cfg, path)
}

// KeepHistory takes over from the database in use its totals, which have more than the
// rows in the datasets, and the counts of hours before those that t has, whose rows
// retention may have removed, and the keys of the sentries, which no row has. When that database
// cannot be read the error says why, and t is as it was.
func (t *Tracker) KeepHistory(ctx context.Context) error {
	own, err := readHistory(ctx, t.store.db, 0, 1<<53)
	if err != nil {
		return err
	}
	old, err := ReadHistory(ctx, t.cfg.Dir, 0, 1<<53)
	if err != nil {
		if errors.Is(err, ErrMissing) {
			return nil
		}
		return err
	}
	var before State
	if err := inReadOnly(ctx, t.cfg.Dir, func(db queryer) error { return damaged(ctx, before.loadMeta(ctx, db)) }); err != nil {
		return err
	}
	for id, s := range t.sentries {
		if was := before.sentries[id]; was != nil && len(s.Keys) == 0 {
			next := *s
			next.Keys = was.Keys
			t.sentries[id] = &next
		}
	}
	earlier := counts{}
	for _, h := range old.Counts {
		if len(own.Counts) == 0 || h.Hour < own.Counts[0].Hour {
			earlier[h.Hour] = h.Counts
		}
	}
	t.addHistory(earlier, old.Totals)
	return t.Write(ctx)
}

// Replace closes a database that Create created and replaces the one in use with it.
func (t *Tracker) Replace() error {
	if err := t.Close(); err != nil {
		return err
	}
	return t.replace()
}

// replace is Replace of a database that is closed.
func (t *Tracker) replace() error {
	path := filepath.Join(t.cfg.Dir, File)
	if exists(t.cfg.Dir) {
		// The write-ahead log of the database in use must never be next to the new one, and
		// without its log the old one may lack what was written last: so the log goes into
		// the file first, unless that database cannot be read.
		if err := absorbLog(path); err != nil {
			t.cfg.Log.Warn("the current database cannot be read, removing its write-ahead log", slog.Any("error", err))
		}
	}
	if err := remove(path, "-wal", "-shm"); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(t.cfg.Dir, rebuilt), path); err != nil {
		return err
	}
	return diskio.SyncDir(t.cfg.Dir)
}

// absorbLog moves a database's write-ahead log into its file. The last connection to close
// removes the log.
func absorbLog(path string) error {
	db, err := sql.Open("sqlite", source(path, "rw", busyTimeout, "synchronous(FULL)"))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(err, db.Close())
}

// removeFile removes a database and its log.
func removeFile(path string) error { return remove(path, "-wal", "-shm", "") }

func remove(path string, suffixes ...string) error {
	for _, suffix := range suffixes {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
