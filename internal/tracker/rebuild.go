package tracker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// rebuilt is the name of a database while it is made anew.
const rebuilt = File + ".new"

// Create begins an empty database beside the one in use, if there is one, which stays
// until Replace.
func Create(ctx context.Context, cfg Config) (*Tracker, error) {
	path := filepath.Join(cfg.Dir, rebuilt)
	if err := removeFile(path); err != nil {
		return nil, err
	}
	return open(ctx, cfg, path)
}

// KeepHistory takes over the hours before those that t has from the database in use,
// whose rows in the datasets may be gone by retention. One that cannot be read is left
// aside: the error says why.
func (t *Tracker) KeepHistory(ctx context.Context) error {
	own, err := readHistory(ctx, t.db, 0, 1<<53)
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
	for _, h := range old.Totals {
		if len(own.Totals) == 0 || h.Hour < own.Totals[0].Hour {
			t.unwritten.totals = append(t.unwritten.totals, h)
		}
	}
	for _, h := range old.Counts {
		if len(own.Counts) == 0 || h.Hour < own.Counts[0].Hour {
			t.unwritten.counts[h.Hour] = h.Counts
		}
	}
	return t.Write(ctx)
}

// Replace closes a database that Create began and puts it in the place of the one in
// use.
func (t *Tracker) Replace() error {
	if err := t.Close(); err != nil {
		return err
	}
	// What the old file's log has is not of the new one.
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(filepath.Join(t.cfg.Dir, File+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(filepath.Join(t.cfg.Dir, rebuilt), filepath.Join(t.cfg.Dir, File))
}

// removeFile removes a database and its log.
func removeFile(path string) error {
	for _, suffix := range []string{"-wal", "-shm", ""} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
