package cli

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// networkFile says which network a data directory belongs to.
const networkFile = "network.json"

// claim is the content of networkFile.
type claim struct {
	Name                  string    `json:"name"`
	GenesisValidatorsRoot eth2.Root `json:"genesis_validators_root"`
}

// claimDataDir gives the data directory to the network, or refuses when it belongs
// to another one: rows of two networks in one dataset, under one identity, are a
// mistake that nobody can undo later. Errors are usageErrors.
func claimDataDir(dir string, net network.Network) error {
	want := claim{net.Name, net.GenesisValidatorsRoot}
	path := filepath.Join(dir, networkFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = json.Marshal(want)
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o644)
		}
		return asUsage(err)
	}
	if err != nil {
		return asUsage(err)
	}
	var have claim
	if err := json.Unmarshal(text, &have); err != nil {
		return usagef("%s is damaged: %w; restore it, or remove it if the directory holds data of %s only", path, err, net.Name)
	}
	if have != want {
		return usagef("--%s %q holds data of network %s (genesis validators root %s), this is %s (%s); choose another directory",
			flagDataDir, dir, have.Name, have.GenesisValidatorsRoot, want.Name, want.GenesisValidatorsRoot)
	}
	return nil
}
