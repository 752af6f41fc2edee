package dataset

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrLocked marks a data directory that another writer uses.
var ErrLocked = errors.New("data directory is in use")

// LockFile is the file in the data directory that a writer holds locked; it holds
// the writer's process id.
const LockFile = "dataset.lock"

// Lock is the right to write one data directory. It is the kernel's: it goes with
// the process, however that ends.
type Lock struct {
	dir  string
	file *os.File
}

// TakeLock makes the data directory if it is missing and locks it (ErrLocked when
// another process writes it). It reads no data, so that a directory in use can be
// told before anything else begins.
func TakeLock(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("data directory %s is not writable: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
		}
		pid, _ := io.ReadAll(io.LimitReader(f, 32))
		return nil, fmt.Errorf("%w: %s is written by process %s: stop it or use another --data-dir", ErrLocked, dir, strings.TrimSpace(string(pid)))
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s is not writable: %w", dir, err), f.Close())
	}
	return &Lock{dir: dir, file: f}, nil
}

// Close gives the directory back. Calling it again does nothing. The file stays:
// removing it would let two processes lock two files of one name.
func (l *Lock) Close() error {
	if err := l.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("unlock data directory %s: %w", l.dir, err)
	}
	return nil
}
