package diskio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// SyncDir makes the names in a directory durable: files that were created, renamed
// or removed there stay so after a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("fsync directory: %w", err) // it names the path
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("fsync directory %s: %w", dir, err)
	}
	return nil
}

// ReplaceFile writes content to path so that a crash leaves either the old content
// or the new, and the new one once it has returned nil. On an error the old content
// stays, unless only the last fsync, of the directory, failed. It uses path + ".tmp". Of two
// processes that replace a file at the same time one waits for the other.
func ReplaceFile(path string, content []byte, mode fs.FileMode) error {
	return ReplaceFileWith(path, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// ReplaceFileWith is ReplaceFile for content that write writes.
func ReplaceFileWith(path string, mode fs.FileMode, write func(io.Writer) error) error {
	tmp, err := openAlone(path+".tmp", mode)
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	if err = write(tmp); err == nil {
		err = tmp.Sync()
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("replace %s: %w", path, err), removeIfThere(tmp.Name()))
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// openAlone opens an empty file that no other process has opened in this way: until it is closed,
// those wait.
func openAlone(path string, mode fs.FileMode) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, mode)
		if err != nil {
			return nil, err
		}
		for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		}
		same := false
		if err == nil {
			same, err = SameFile(f) // it may have been renamed before it was locked
		}
		if same {
			err = f.Truncate(0) // of a process that was killed
		}
		switch {
		case same && err == nil:
			return f, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, errors.Join(err, f.Close())
		}
		f.Close()
	}
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
