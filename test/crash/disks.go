package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// errNoMounts says that small disks cannot be mounted here.
var errNoMounts = errors.New("cannot mount a small disk: run as root, or in `unshare -rm`")

// disk is a small one of memory, in a directory of the world.
type disk struct {
	dir  string // where it is mounted always
	used string // where it is mounted for a process, which may lose it
}

// newDisk mounts a disk of the size at dir/name.
func (w *world) newDisk(name, size string) error {
	d := &disk{dir: filepath.Join(w.dir, name+"-disk"), used: filepath.Join(w.dir, name)}
	if err := errors.Join(os.MkdirAll(d.dir, 0o755), os.MkdirAll(d.used, 0o755)); err != nil {
		return err
	}
	err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, syscall.EPERM) {
		return errNoMounts
	}
	if err != nil {
		return fmt.Errorf("mount %s: %w", d.dir, err)
	}
	w.disks[name] = d
	return d.attach()
}

func (d *disk) attach() error {
	if err := syscall.Mount(d.dir, d.used, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", d.used, err)
	}
	return nil
}

// detach is an unmount that does not wait for those who have files there.
func (d *disk) detach() error {
	if err := syscall.Unmount(d.used, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", d.used, err)
	}
	return nil
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill leaves no byte free.
func (d *disk) fill() error {
	f, err := os.Create(d.filler())
	if err != nil {
		return err
	}
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				return errors.Join(err, f.Close())
			}
			block = block[:len(block)/2]
		}
	}
	return f.Close()
}

func (d *disk) free() error { return os.Remove(d.filler()) }

// unmountAll takes the disks away at the end.
func (w *world) unmountAll() error {
	var errs []error
	for _, d := range w.disks {
		_ = d.detach() // a fault may have done so
		errs = append(errs, syscall.Unmount(d.dir, syscall.MNT_DETACH))
	}
	return errors.Join(errs...)
}
