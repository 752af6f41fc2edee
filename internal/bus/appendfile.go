package bus

import (
	"fmt"
	"os"
)

// appendFile is a file that only grows, and what its disk has refused so far. What
// add has put on the disk survives the death of the process at once, and that of
// the machine after the next sync.
type appendFile struct {
	path string
	file *os.File // nil while the disk does not let us create it, or when closed
	// buf goes on where the file ends: a write that a full disk has cut is
	// completed later.
	buf []byte
	// unsynced is true when the file was written since the last sync that went well.
	unsynced bool
}

// add appends data. What the disk does not take waits in memory until write.
func (f *appendFile) add(data []byte) error {
	if len(f.buf) > 0 {
		f.buf = append(f.buf, data...)
		return nil
	}
	n, err := f.put(data)
	f.buf = append(f.buf, data[n:]...)
	return err
}

// write tries again what add could not.
func (f *appendFile) write() error {
	if len(f.buf) == 0 {
		return nil
	}
	n, err := f.put(f.buf)
	f.buf = f.buf[:copy(f.buf, f.buf[n:])]
	if len(f.buf) == 0 {
		f.buf = nil
	}
	return err
}

// put writes data and gives how much of it the disk took.
func (f *appendFile) put(data []byte) (int, error) {
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

func (f *appendFile) sync() error {
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", f.path, err)
	}
	return nil
}

func (f *appendFile) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
