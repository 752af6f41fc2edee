package cli

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

// Roles that hold a directory. A sentry and a consumer (whose lock is the
// dataset's) may share one, two of the same role may not.
const (
	roleSentry = "sentry"
	roleDevnet = "devnet"
)

// dataDir is a data directory that this process holds in some roles.
type dataDir struct {
	path  string
	locks []*os.File
}

// openDataDir makes the directory if it is missing, checks that files can be
// written there and takes the lock of each role. The locks fall when the process
// ends, however it ends. Errors are usageErrors.
func openDataDir(path string, roles ...string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, usagef("--%s %q cannot be made: %w; choose another directory", flagDataDir, path, err)
	}
	d := &dataDir{path: path}
	for _, role := range roles {
		f, err := lockRole(path, role)
		if err != nil {
			d.Close()
			return nil, err
		}
		d.locks = append(d.locks, f)
	}
	return d, nil
}

func lockRole(dir, role string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, role+".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, usagef("--%s %q is not writable: %w; choose another directory or mend its permissions", flagDataDir, dir, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder := "another process"
		if pid, readErr := io.ReadAll(io.LimitReader(f, 32)); readErr == nil && len(pid) > 0 {
			holder = "process " + strings.TrimSpace(string(pid))
		}
		f.Close()
		return nil, usagef("--%s %q is held by %s, a running %s; stop that one or choose another directory", flagDataDir, dir, holder, role)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	// The process id is for the message above: the lock is good without it.
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		if err != nil {
			f.Close()
			return nil, usagef("--%s %q is not writable: %w", flagDataDir, dir, err)
		}
	}
	return f, nil
}

// Close gives the locks back. The files stay: removing them would let two
// processes lock two files of one name.
func (d *dataDir) Close() {
	for _, f := range d.locks {
		f.Close()
	}
}
