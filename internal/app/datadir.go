package app

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// Roles that lock a directory. A sentry and a consumer may share one, two of the
// same role may not. The consumer's lock is the datasets' (dataset.LockFile).
const (
	roleSentry   = "sentry"
	roleConsumer = "consumer"
	roleDevnet   = "devnet"
)

// makeDataDir creates the directory if it is missing. Errors are ConfigErrors.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return ConfigErrorf("--%s %q cannot be created: %w; choose another directory", OptDataDir, dir, err)
	}
	return nil
}

// lockDataDir creates the directory if it is missing and takes a role's lock in it.
// Errors are ConfigErrors.
func lockDataDir(dir, role string) (*diskio.Lock, error) {
	if err := makeDataDir(dir); err != nil {
		return nil, err
	}
	lock, err := diskio.TakeLock(filepath.Join(dir, role+".lock"))
	var locked *diskio.LockedError
	switch {
	case errors.As(err, &locked):
		return nil, inUse(dir, role, locked)
	case err != nil:
		return nil, ConfigErrorf("--%s %q is not writable: %w; choose another directory or fix its permissions", OptDataDir, dir, err)
	}
	return lock, nil
}

func inUse(dir, role string, locked *diskio.LockedError) error {
	return ConfigErrorf("--%s %q is held by %s, a running %s; stop it or choose another directory", OptDataDir, dir, locked.Holder(), role)
}

// CheckDataDirUnused reports, as a ConfigError, that a sentry or a consumer holds the
// data directory. It changes nothing.
func CheckDataDirUnused(dir string) error {
	for _, lock := range []struct{ file, role string }{{roleSentry + ".lock", roleSentry}, {dataset.LockFile, roleConsumer}} {
		err := diskio.CheckLock(filepath.Join(dir, lock.file))
		var locked *diskio.LockedError
		switch {
		case errors.As(err, &locked):
			return inUse(dir, lock.role, locked)
		case err != nil:
			return ConfigErrorf("--%s %q: %w", OptDataDir, dir, err)
		}
	}
	return nil
}

// networkFile says which network a data directory belongs to.
const networkFile = "network.json"

// networkClaim is the content of networkFile.
type networkClaim struct {
	Name                  string    `json:"name"`
	GenesisValidatorsRoot eth2.Root `json:"genesis_validators_root"`
}

// claimDataDir assigns the data directory to the network, or refuses when it belongs
// to another one: rows of two networks in one dataset, under one identity, cannot be
// separated later. Errors are ConfigErrors.
func claimDataDir(dir string, net network.Network) error {
	want := networkClaim{net.Name, net.GenesisValidatorsRoot}
	path := filepath.Join(dir, networkFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = json.Marshal(want)
		if err == nil {
			err = diskio.ReplaceFile(path, append(text, '\n'), 0o644)
		}
		return AsConfigError(err)
	}
	if err != nil {
		return AsConfigError(err)
	}
	var have networkClaim
	if err := json.Unmarshal(text, &have); err != nil {
		return ConfigErrorf("%s is damaged: %w; restore it, or remove it if the directory holds data of %s only", path, err, net.Name)
	}
	if have != want {
		return ConfigErrorf("--%s %q holds data of network %s (genesis validators root %s), this is %s (%s); choose another directory",
			OptDataDir, dir, have.Name, have.GenesisValidatorsRoot, want.Name, want.GenesisValidatorsRoot)
	}
	return nil
}
