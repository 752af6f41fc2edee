package dataset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chainbound/valtrack/internal/diskio"
)

// ErrLocked marks a data directory that another writer uses.
var ErrLocked = errors.New("data directory is in use")

// LockFile is the file in the data directory that a writer holds locked; it holds
// the writer's process id.
const LockFile = "dataset.lock"

// Lock is the right to write one data directory. The kernel releases it when the
// process ends, in whatever way.
type Lock struct {
	dir  string
	file *diskio.Lock
}

// TakeLock creates the data directory if it is missing and locks it (ErrLocked when
// another process writes it). It reads no data, so that a directory in use is found
// before anything else begins.
func TakeLock(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	file, err := diskio.TakeLock(filepath.Join(dir, LockFile))
	var held *diskio.LockedError
	if errors.As(err, &held) {
		return nil, fmt.Errorf("%w: %s is written by %s: stop it or use another --data-dir", ErrLocked, dir, held.Holder())
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s is not writable: %w", dir, err)
	}
	return &Lock{dir: dir, file: file}, nil
}

// Check is an error when the data directory was moved or removed since it was locked.
func (l *Lock) Check() error {
	if err := l.file.Check(); err != nil {
		return fmt.Errorf("data directory %s: %w", l.dir, err)
	}
	return nil
}

// Close releases the lock. Closing it again does nothing.
func (l *Lock) Close() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("unlock data directory %s: %w", l.dir, err)
	}
	return nil
}
