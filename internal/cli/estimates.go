package cli

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/beaconapi"
	"github.com/chainbound/valtrack/internal/devnet"
)

// Flags of the estimates.
const (
	flagActiveValidators = app.OptActiveValidators
	flagBeaconAPI        = app.OptBeaconAPI
	flagMeanBalance      = app.OptMeanBalance
)

// Bounds of --mean-balance, in ETH: those of one validator (EJECTION_BALANCE,
// MAX_EFFECTIVE_BALANCE_ELECTRA).
const leastBalance, mostBalance = 16, 2048

func estimatesFlags() []cli.Flag {
	return []cli.Flag{
		wide(flagActiveValidators, 0, "number of active validators in the network, on which estimates depend (default: that of the last run, or one assumed for the network)"),
		text(flagBeaconAPI, "", "URL of a Beacon API to read the number of active validators from, before the first estimate and then each epoch, and their balances once a day"),
		text(flagMeanBalance, "", "mean effective balance of active validators in ETH, such as 43.4, instead of the Beacon API's; stake is estimated only if one of these is given, or was in the last run"),
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
	if text := in.cmd.String(flagMeanBalance); text != "" {
		cfg.MeanBalance, err = strconv.ParseFloat(text, 64)
		if err != nil || !(cfg.MeanBalance >= leastBalance && cfg.MeanBalance <= mostBalance) {
			return cfg, usagef("--%s %q: want ETH per validator, from %d to %d, such as 43.4", flagMeanBalance, text, leastBalance, mostBalance)
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
