package dataset

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/chainbound/valtrack/internal/diskio"
)

// ErrDamaged marks parts whose content is not what was written: damaged ones, and those
// in the place of others. Scan and EventsAfter read all other parts before they return it.
var ErrDamaged = errors.New("damaged")

// damage makes an error of reading a part ErrDamaged. Those that say nothing about the
// content are left as they are: a version that is too old, a shortage, a missing permission.
func damage(err error) error {
	var errno syscall.Errno
	switch {
	case err == nil || errors.Is(err, errNewer) || errors.Is(err, ErrDamaged) || errors.Is(err, os.ErrClosed):
		return err
	case errors.As(err, &errno) && errno != syscall.EIO: // EIO: the disk cannot read the file
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// recoverDamage is deferred by what calls the Parquet library, which panics on some damage:
// a file's content must not end the process.
func recoverDamage(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", ErrDamaged, p)
	}
}

// damagedPart is a part that is to be set aside, and why.
type damagedPart struct {
	table string
	span  span
	err   error
}

// setAside moves damaged parts out of the datasets, so that nobody reads them and nothing
// waits for them. They are never deleted: what is left in them can be of use to somebody.
// Those that cannot be moved stay where they are and are in the error. The caller holds mu.
func (w *Writer) setAside(parts []damagedPart) (err error) {
	for _, p := range parts {
		from := p.span.path(w.dir, p.table)
		to, moveErr := w.moveAside(p.table, from)
		if moveErr != nil {
			err = errors.Join(err, fmt.Errorf("set aside %s, which is damaged (%w): %w", from, p.err, moveErr))
			continue
		}
		w.log.Error("a damaged part was set aside: restore an intact copy from a backup; its rows are missing until then",
			slog.String("part", from), slog.String("kept_as", to), slog.Any("error", p.err))
	}
	return err
}

// leaveOut sets aside damaged parts at startup, and goes on with those that cannot be moved:
// their keys are in other tables' parts, and readers leave out their rows. The error says that
// the data directory has gone. The caller holds mu.
func (w *Writer) leaveOut(parts []damagedPart) error {
	if err := w.setAside(parts); err != nil {
		if gone := w.lock.Check(); gone != nil {
			return gone
		}
		w.log.Error("cannot set aside a damaged part, continuing without it", slog.Any("error", err))
	}
	return nil
}

func (w *Writer) moveAside(table, from string) (to string, err error) {
	if to, err = freePath(filepath.Join(damagedTable(w.dir, table), filepath.Base(from))); err != nil {
		return "", err
	}
	if err := w.lock.Check(); err != nil {
		return "", err
	}
	if err := w.step("set aside " + table); err != nil {
		return "", err
	}
	if err := os.Rename(from, to); err != nil {
		return "", err
	}
	if err := w.step("keep aside " + table); err != nil {
		return "", err
	}
	return to, errors.Join(diskio.SyncDir(filepath.Dir(to)), diskio.SyncDir(filepath.Dir(from)))
}

func damagedTable(dataDir, table string) string { return filepath.Join(dataDir, damagedDir, table) }

// freePath makes the directory of a path and returns the path, with a number if it is taken.
func freePath(path string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	for free, n := path, 1; ; n++ {
		if _, err := os.Lstat(free); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return free, nil
			}
			return "", err
		}
		free = fmt.Sprintf("%s.%d", path, n)
	}
}

// setAsideFiles lists the files of a table that were set aside.
func setAsideFiles(dataDir, table string) (paths []string, err error) {
	dir := damagedTable(dataDir, table)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	return paths, err
}
