package diskio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
// stays, unless only the last fsync, of the directory, failed. It uses path + ".tmp".
func ReplaceFile(path string, content []byte, mode fs.FileMode) error {
	return ReplaceFileWith(path, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// ReplaceFileWith is ReplaceFile for content that write writes.
func ReplaceFileWith(path string, mode fs.FileMode, write func(io.Writer) error) error {
	tmp := path + ".tmp"
	err := writeSynced(tmp, mode, write)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("replace %s: %w", path, err), removeIfThere(tmp))
	}
	return SyncDir(filepath.Dir(path))
}

func writeSynced(path string, mode fs.FileMode, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
