package diskio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// LockedError means that another process holds a lock file.
type LockedError struct {
	Path string
	PID  int // of the holder; 0 when the file does not say
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is locked by %s", e.Path, e.Holder())
}

// Holder names the process that holds the lock, for messages.
func (e *LockedError) Holder() string {
	if e.PID == 0 {
		return "another process"
	}
	return "process " + strconv.Itoa(e.PID)
}

// Lock is an exclusive lock on a file. The kernel releases it when the process
// ends, however it ends.
type Lock struct{ file *os.File }

// TakeLock creates the file if it is missing, locks it and writes the process id
// into it. It does not wait: the error is a *LockedError when another process holds
// the lock.
func TakeLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err // it names the path
	}
	if err = flock(f, syscall.LOCK_EX); err == nil {
		err = writePID(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Lock{f}, nil
}

// CheckLock reports what TakeLock would: as a *LockedError that a process holds the lock
// file, or that it must not be written. A missing file is not locked. It changes nothing.
func CheckLock(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) // as TakeLock does, which needs that right
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() // releases the shared lock
	return flock(f, syscall.LOCK_SH)
}

// Check is an error when the path no longer names the locked file: the directory was moved
// or removed, and another process can take a lock of that name.
func (l *Lock) Check() error {
	same, err := SameFile(l.file)
	if errors.Is(err, os.ErrClosed) { // the lock was released
		return nil
	}
	if err == nil && !same {
		err = errors.New("it is another file now")
	}
	if err != nil {
		return fmt.Errorf("%s was moved or removed while locked: %w", l.file.Name(), err)
	}
	return nil
}

// SameFile reports whether the name that the file was opened with still names it; an error
// of fs.ErrNotExist when it names nothing.
func SameFile(f *os.File) (bool, error) {
	have, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(have, named), err
}

// Close releases the lock. Closing it again does nothing. The file stays: if it were
// removed, two processes could lock two files of one name.
func (l *Lock) Close() error {
	if err := l.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("release lock %s: %w", l.file.Name(), err)
	}
	return nil
}

func flock(f *os.File, how int) error {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		text, _ := io.ReadAll(io.LimitReader(f, 32))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return &LockedError{Path: f.Name(), PID: pid}
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return nil
}
