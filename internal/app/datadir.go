package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chainbound/valtrack/internal/api"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/mirror"
	"github.com/chainbound/valtrack/internal/sentry"
	"github.com/chainbound/valtrack/internal/tracker"
)

// DirUse is what a command does with a data directory.
type DirUse struct {
	// Sentry and Consumer are the roles that the command has there. A sentry and a
	// consumer may share a directory, two of the same role may not.
	Sentry, Consumer bool
	// Network is the command's network. Without a name the directory decides or, when it
	// is new, the first event.
	Network network.Network
	// NetworkDir is the directory of Network's files, empty for an embedded network.
	// Simulated is set when it is a devnet in the process.
	NetworkDir string
	Simulated  bool
	// Named: the durable has a name that is not derived from the directory.
	Named bool
	// Restore: the directory gets datasets, and may have some of an earlier attempt.
	Restore bool
	// Rebuild: the tracker's database will be replaced, whatever is wrong with it.
	Rebuild bool
	// Stores: events are stored also while the database has to be rebuilt.
	Stores bool
}

// Roles in names of lock files and in messages.
const (
	roleSentry   = "sentry"
	roleConsumer = "consumer"
	roleDevnet   = "devnet"
)

// CheckDataDir reports, as a ConfigError, the first thing that would keep a command from
// using a data directory: its place and permissions, its network, who else uses it, and the
// files in it. It changes nothing. openDataDir does the same checks. For a directory that
// is missing, above is the nearest one above it that exists.
func CheckDataDir(dir string, use DirUse) (above string, err error) {
	if err := checkDataDir(dir, use); err != nil {
		return "", err
	}
	if above, err := checkPlace(dir); err != nil || above != "" {
		return above, err
	}
	if use.Sentry {
		if err := checkUnlocked(dir, roleSentry+".lock", roleSentry); err != nil {
			return "", err
		}
	}
	if use.Consumer {
		return "", checkUnlocked(dir, dataset.LockFile, roleConsumer)
	}
	return "", nil
}

// CheckDataDirInUse is CheckDataDir for a directory that the command may be running in already.
func CheckDataDirInUse(dir string, use DirUse) (above string, err error) {
	if err := checkDataDir(dir, use); err != nil {
		return "", err
	}
	return checkPlace(dir)
}

// Holders describes the running processes that have the roles of use in a data directory.
func Holders(dir string, use DirUse) (holders []string, err error) {
	for _, r := range []struct {
		used       bool
		file, role string
	}{{use.Sentry, roleSentry + ".lock", roleSentry}, {use.Consumer, dataset.LockFile, roleConsumer}} {
		if !r.used {
			continue
		}
		err := diskio.CheckLock(filepath.Join(dir, r.file))
		if held, locked := errors.AsType[*diskio.LockedError](err); locked {
			holders = append(holders, held.Holder()+", a running "+r.role)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, ConfigErrorf("--%s %q: %w", OptDataDir, dir, err)
		}
	}
	return holders, nil
}

// checkDataDir is CheckDataDir without the locks, which a consumer waits for.
func checkDataDir(dir string, use DirUse) error {
	if above, err := checkPlace(dir); err != nil || above != "" {
		return err
	}
	if err := checkFiles(dir, use); err != nil {
		return err
	}
	if err := checkOwner(dir, use); err != nil {
		return err
	}
	if use.Sentry {
		if err := sentry.CheckFiles(dir); err != nil {
			return AsConfigError(err)
		}
	}
	if use.Consumer && !use.Rebuild {
		if err := tracker.Check(dir, use.Network.Name); err != nil && (!use.Stores || !tracker.NeedsRebuild(err)) {
			return AsConfigError(err)
		}
	}
	if use.Consumer && !use.Rebuild && !use.Named {
		if _, err := storedConsumerID(dir); err != nil {
			return err
		}
	}
	return nil
}

// checkPlace looks at the directory or, when it is missing, at the nearest one above it that
// exists, and returns that.
func checkPlace(dir string) (above string, err error) {
	if dir == "" {
		return "", ConfigErrorf("--%s is empty: give a directory, such as ./data", OptDataDir)
	}
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) && at != filepath.Dir(at):
			continue
		case err != nil:
			return "", ConfigErrorf("--%s %q: %w", OptDataDir, dir, err)
		case !info.IsDir():
			return "", ConfigErrorf("--%s %q cannot be created: %w; choose another directory", OptDataDir, dir, &fs.PathError{Op: "mkdir", Path: at, Err: syscall.ENOTDIR})
		}
		if err := syscall.Access(at, wOK|xOK); err != nil {
			return "", notWritable(dir, fmt.Errorf("%s: %w", at, err))
		}
		if at == filepath.Clean(dir) {
			at = ""
		}
		return at, nil
	}
}

// WithoutEstimates is why a consumer would store events without estimates in a data directory;
// nil if it would not.
func WithoutEstimates(dir string, use DirUse) error {
	if err := tracker.Check(dir, use.Network.Name); use.Consumer && tracker.NeedsRebuild(err) {
		return err
	}
	return nil
}

// notWritable is the ConfigError about a data directory in which nothing can be written.
func notWritable(dir string, err error) error {
	way := "choose another directory or fix its permissions"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		way = "free disk space"
	}
	return ConfigErrorf("--%s %q is not writable: %w; %s", OptDataDir, dir, err, way)
}

// Modes of access(2), which makes no file.
const (
	xOK = 1
	wOK = 2
)

// checkFiles reports entries that are of the wrong kind, or that belong to another user.
func checkFiles(dir string, use DirUse) error {
	dirs, files := []string{filepath.Base(EmbeddedStore(dir))}, []string{networkFile}
	if use.Sentry {
		dirs = append(dirs, spoolDir)
		files = append(files, roleSentry+".lock", "sentry.key", "sentry.json", "peers.db")
	}
	if use.Consumer {
		if _, err := os.Stat(filepath.Join(dir, mirror.RestoringDir)); err == nil && !use.Restore {
			return ConfigErrorf("--%s %q has an incomplete restore: run 'valtrack restore' again, or remove %s there", OptDataDir, dir, mirror.RestoringDir)
		}
		for _, table := range dataset.Tables() {
			dirs = append(dirs, filepath.Base(dataset.Dir(dir, table)))
		}
		files = append(files, dataset.LockFile, dataset.RemovedFile, mirror.StateFile, consumerIDFile, tracker.File, "rejected_events.ndjson", api.ChangesFile)
	}
	for _, name := range dirs {
		if err := checkEntry(filepath.Join(dir, name), true); err != nil {
			return err
		}
	}
	for _, name := range files {
		if err := checkEntry(filepath.Join(dir, name), false); err != nil {
			return err
		}
	}
	return nil
}

func checkEntry(path string, wantDir bool) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return AsConfigError(err)
	case wantDir && !info.IsDir():
		return ConfigErrorf("%s is not a directory: move it away", path)
	case !wantDir && !info.Mode().IsRegular():
		return ConfigErrorf("%s is not a regular file: move it away", path)
	}
	mode := uint32(wOK)
	if wantDir {
		mode |= xOK
	}
	if err := syscall.Access(path, mode); err != nil {
		return ConfigErrorf("%s is not writable: %w; fix its owner or permissions", path, err)
	}
	return nil
}

// checkUnlocked reports that another process holds a lock.
func checkUnlocked(dir, file, role string) error {
	err := diskio.CheckLock(filepath.Join(dir, file))
	var locked *diskio.LockedError
	switch {
	case errors.As(err, &locked):
		return inUse(dir, role, locked)
	case err != nil:
		return ConfigErrorf("--%s %q: %w", OptDataDir, dir, err)
	}
	return nil
}

func inUse(dir, role string, locked *diskio.LockedError) error {
	return ConfigErrorf("--%s %q is held by %s, a running %s; stop it or choose another directory", OptDataDir, dir, locked.Holder(), role)
}

// readState reads a small state file, without surrounding space. A power cut may have left
// NUL bytes in the place of the text, which is then empty.
func readState(path string) (text string, there bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	return strings.Trim(string(data), " \t\r\n\x00"), err == nil, err
}

// dataDir is an open data directory: checked, locked, and of one network.
type dataDir struct {
	// consumer is the consumer's lock; nil without that role, or once a writer has it.
	consumer *dataset.Lock
	locks    []*diskio.Lock
}

// makeDataDir checks everything, and creates the directory if it is missing.
func makeDataDir(dir string, use DirUse) error {
	if err := checkDataDir(dir, use); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return ConfigErrorf("--%s %q cannot be created: %w; choose another directory", OptDataDir, dir, err)
	}
	return nil
}

// claimDataDir assigns the locked directory to the command's network, if that is known.
// Somebody may have used the directory since the checks.
func claimDataDir(dir string, use DirUse) error {
	if err := checkOwnerFile(dir, use); err != nil || use.Network.Name == "" {
		return err
	}
	return writeOwner(dir, ownerOf(use))
}

// openDataDir checks everything, and only then creates what is missing: the directory, the
// locks and the network's file. Errors are ConfigErrors.
func openDataDir(dir string, use DirUse) (*dataDir, error) {
	d, err := lockDataDir(dir, use)
	if err != nil {
		return nil, err
	}
	if err := claimDataDir(dir, use); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// lockDataDir is openDataDir without the network's file: the directory stays free for any network
// until claimDataDir.
func lockDataDir(dir string, use DirUse) (_ *dataDir, err error) {
	if err := makeDataDir(dir, use); err != nil {
		return nil, err
	}
	d := &dataDir{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if use.Sentry {
		lock, err := takeLock(dir, roleSentry)
		if err != nil {
			return nil, err
		}
		d.locks = append(d.locks, lock)
	}
	if use.Consumer {
		if d.consumer, err = dataset.TakeLock(dir); err != nil {
			return nil, AsConfigError(err)
		}
	}
	return d, nil
}

// takeLock takes a role's lock in a directory. Errors are ConfigErrors.
func takeLock(dir, role string) (*diskio.Lock, error) {
	lock, err := diskio.TakeLock(filepath.Join(dir, role+".lock"))
	var locked *diskio.LockedError
	switch {
	case errors.As(err, &locked):
		return nil, inUse(dir, role, locked)
	case err != nil:
		return nil, notWritable(dir, err)
	}
	return lock, nil
}

// check is an error when the directory was moved or removed since it was opened.
func (d *dataDir) check() error {
	for _, lock := range d.locks {
		if err := lock.Check(); err != nil {
			return err
		}
	}
	return nil
}

// dirCheckEvery is how often a running service looks whether its data directory is there.
const dirCheckEvery = time.Second

// whileThere runs work, and ends it when check fails: without its directory a service would
// store nothing, and another could begin under its name.
func whileThere(ctx context.Context, check func() error, work func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var gone error
	var watch sync.WaitGroup
	watch.Go(func() {
		ticker := time.NewTicker(dirCheckEvery)
		defer ticker.Stop()
		for gone == nil {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				gone = check()
			}
		}
		stop()
	})
	err := work(ctx)
	stop()
	watch.Wait()
	return errors.Join(gone, err)
}

// takeConsumer gives the consumer's lock to the caller.
func (d *dataDir) takeConsumer() *dataset.Lock {
	lock := d.consumer
	d.consumer = nil
	return lock
}

// close releases the locks. Calling it again does nothing.
func (d *dataDir) close() error {
	var errs []error
	if d.consumer != nil {
		errs = append(errs, d.takeConsumer().Close())
	}
	for _, lock := range d.locks {
		errs = append(errs, lock.Close())
	}
	d.locks = nil
	return errors.Join(errs...)
}

// lockDevnet locks the directory of a simulated network's files, which is created if it is
// missing.
func lockDevnet(dir string) (*diskio.Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, ConfigErrorf("the devnet's directory %q cannot be created: %w; choose another directory", dir, err)
	}
	return takeLock(dir, roleDevnet)
}

// errForeign says which networks a directory and a command have.
func errForeign(dir string, have owner, want network.Network) error {
	return ConfigErrorf("--%s %q holds data of network %s, this is %s (%s); choose another directory",
		OptDataDir, dir, have, want.Name, want.GenesisValidatorsRoot)
}
