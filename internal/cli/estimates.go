package cli

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/beaconapi"
	"github.com/chainbound/valtrack/internal/devnet"
)

// Flags of the estimates.
const (
	flagActiveValidators = app.OptActiveValidators
	flagBeaconAPI        = app.OptBeaconAPI
)

func estimatesFlags() []cli.Flag {
	return []cli.Flag{
		wide(flagActiveValidators, 0, "the network's active validators, which estimates depend on; when not given, those of the last run, or a number assumed for the network"),
		text(flagBeaconAPI, "", "URL of a Beacon API to read the active validators from, before anything is estimated and then each epoch"),
	}
}

// estimatesConfig checks the flags of the estimates. networkDir has the network's files;
// empty for an embedded network. Errors are of wrong usage.
func (in invocation) estimatesConfig(networkDir string) (cfg app.EstimatesConfig, err error) {
	cfg.ActiveValidators = in.cmd.Uint64(flagActiveValidators)
	url := in.cmd.String(flagBeaconAPI)
	if cfg.ActiveValidators > 0 && url != "" {
		return cfg, usagef("--%s and --%s: give one of them", flagActiveValidators, flagBeaconAPI)
	}
	if url != "" {
		if cfg.BeaconAPI, err = beaconapi.New(url); err != nil {
			return cfg, usagef("--%s: %w", flagBeaconAPI, err)
		}
	}
	if cfg.ActiveValidators == 0 {
		cfg.ActiveValidators, err = devnetValidators(networkDir)
		cfg.Exact = true
	}
	return cfg, err
}

// devnetValidators reads the active validators that a simulated network's directory
// records; 0 for any other directory.
func devnetValidators(dir string) (uint64, error) {
	if dir == "" {
		return 0, nil
	}
	text, err := os.ReadFile(filepath.Join(dir, devnet.TruthFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var truth struct {
		ActiveValidators uint64 `json:"active_validators"`
	}
	if err == nil {
		err = json.Unmarshal(text, &truth)
	}
	if err != nil {
		return 0, usagef("--%s %q: %w", flagNetworkDir, dir, err)
	}
	return truth.ActiveValidators, nil
}
