package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links a path may have, as in Linux.
const maxLinks = 40

// outFile is the file that a path leads to.
type outFile struct {
	path string // without symbolic links
	// through is set for pipes, devices and open files, which are written and never
	// replaced.
	through bool
}

// findOutFile follows symbolic links, also one to a file that does not exist yet. Errors
// are of wrong usage.
func findOutFile(path string) (outFile, error) {
	for range maxLinks {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return outFile{}, usagef("--%s: %w", flagOut, err)
		}
		path = filepath.Join(dir, filepath.Base(path))
		if isDescriptor(path) {
			return outFile{path, true}, nil
		}
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return outFile{path: path}, nil
		case err != nil:
			return outFile{}, usagef("--%s: %w", flagOut, err)
		case info.IsDir():
			return outFile{}, usagef("--%s %q is a directory; give a file in it", flagOut, path)
		case info.Mode()&fs.ModeSymlink == 0:
			return outFile{path, !info.Mode().IsRegular()}, nil
		}
		link, err := os.Readlink(path)
		if err != nil {
			return outFile{}, usagef("--%s: %w", flagOut, err)
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(dir, link)
		}
		path = link
	}
	return outFile{}, usagef("--%s %q: too many symbolic links", flagOut, path)
}

// isDescriptor reports whether the path is that of an open file, as /dev/stdout is: it
// looks like a link to the file, which must not be replaced while it is open.
func isDescriptor(path string) bool {
	return strings.HasPrefix(path, "/dev/fd/") || strings.HasPrefix(path, "/proc/") && filepath.Base(filepath.Dir(path)) == "fd"
}

// write calls write with the file to write to, which it closes; it counts the rows. A
// regular file exists under its name only when it is complete. The writer of some formats
// needs a regular file: what is no such file gets a copy.
func (o outFile) write(needsRegular bool, write func(*os.File) (int, error)) (rows int, err error) {
	f, err := o.open()
	if err != nil {
		return 0, usagef("--%s: %w", flagOut, err)
	}
	if !o.through {
		defer os.Remove(f.Name()) // which fails when it has been renamed
	}
	if o.through && needsRegular {
		rows, err = writeCopy(f, write)
	} else {
		rows, err = write(f)
	}
	if err == nil && !o.through {
		err = os.Rename(f.Name(), o.path)
	}
	if err != nil {
		return 0, fmt.Errorf("export to %s: %w", o.path, err)
	}
	return rows, nil
}

// open opens what is written to: waiting for the reader of a pipe, and sharing the position
// of a file that this process was given open.
func (o outFile) open() (*os.File, error) {
	if !o.through {
		return os.Create(o.path + ".partial")
	}
	dir, name := filepath.Split(o.path)
	if n, err := strconv.Atoi(name); err == nil && (dir == "/dev/fd/" || dir == fmt.Sprintf("/proc/%d/fd/", os.Getpid())) {
		if n, err = syscall.Dup(n); err != nil {
			return nil, fmt.Errorf("%s: %w", o.path, err)
		}
		return os.NewFile(uintptr(n), o.path), nil
	}
	return os.OpenFile(o.path, os.O_WRONLY, 0)
}

// writeCopy writes to a temporary file, copies it to out and closes out.
func writeCopy(out *os.File, write func(*os.File) (int, error)) (rows int, err error) {
	defer func() { err = errors.Join(err, out.Close()) }()
	whole, err := os.CreateTemp("", "valtrack-export-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(whole.Name())
	if rows, err = write(whole); err != nil {
		return 0, err
	}
	if whole, err = os.Open(whole.Name()); err != nil {
		return 0, err
	}
	defer whole.Close()
	_, err = io.Copy(out, whole)
	return rows, err
}
