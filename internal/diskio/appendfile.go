package diskio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// AppendFile is a file that only grows. What cannot be written, as while the disk is
// full, waits in memory and is written later. Data that has been written survives the
// death of the process at once, and that of the machine after the next fsync.
//
// An AppendFile is guarded by its owner's lock. An fsync takes long: the owner gets
// the file from Unsynced and syncs it without the lock.
type AppendFile struct {
	path string
	file *os.File // nil while it cannot be created, and after Close
	// held continues where the file ends: a write that was cut short is completed
	// later.
	held     []byte
	unsynced bool // written since the last Unsynced
}

// NewAppendFile appends to the file at path. An open file of it, opened for appending,
// is used and owned; nil opens or creates the file with the first write.
func NewAppendFile(path string, file *os.File) *AppendFile {
	return &AppendFile{path: path, file: file}
}

// Path is the file's path.
func (f *AppendFile) Path() string { return f.path }

// Held is the data that waits in memory, valid until the next call of another method.
func (f *AppendFile) Held() []byte { return f.held }

// Append writes data at the end of the file. On an error what could not be written is
// held, and so is everything appended later until WriteHeld.
func (f *AppendFile) Append(data []byte) error {
	if len(f.held) > 0 {
		f.held = append(f.held, data...)
		return nil
	}
	n, err := f.write(data)
	f.held = append(f.held, data[n:]...)
	return err
}

// WriteHeld tries again to write what is held.
func (f *AppendFile) WriteHeld() error {
	if len(f.held) == 0 {
		return nil
	}
	n, err := f.write(f.held)
	f.held = f.held[:copy(f.held, f.held[n:])]
	if len(f.held) == 0 {
		f.held = nil
	}
	return err
}

// write returns how much of data was written.
func (f *AppendFile) write(data []byte) (int, error) {
	if f.file == nil {
		file, err := os.OpenFile(f.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
		if err != nil {
			return 0, err // it names the path
		}
		f.file = file
	}
	n, err := f.file.Write(data)
	f.unsynced = f.unsynced || n > 0
	if err != nil {
		return n, fmt.Errorf("append to %s: %w", f.path, err)
	}
	return n, nil
}

// Follow closes the file when the path names another one, or none, as after a logrotate:
// the next write opens the path again. What was written is fsynced first.
func (f *AppendFile) Follow() error {
	if f.file == nil {
		return nil
	}
	switch same, err := SameFile(f.file); {
	case same:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	f.unsynced = false
	return errors.Join(f.file.Sync(), f.Close())
}

// NeedsSync reports whether the file was written since the last Unsynced.
func (f *AppendFile) NeedsSync() bool { return f.unsynced }

// Unsynced returns the file for the caller to fsync, nil when nothing was written
// since the last call. An fsync that fails must not be repeated on this file: the
// kernel may have dropped the data, and would report success. Close it instead.
func (f *AppendFile) Unsynced() *os.File {
	if !f.unsynced {
		return nil
	}
	f.unsynced = false
	return f.file
}

// Close closes the file; what is held stays in memory. The next write opens the file
// again. Closing it again does nothing.
func (f *AppendFile) Close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
