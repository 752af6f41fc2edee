package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/beaconapi"
	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Flags of the estimates.
const (
	flagActiveValidators = "active-validators"
	flagBeaconAPI        = "beacon-api"
)

func trackerFlags() []cli.Flag {
	return []cli.Flag{
		wide(flagActiveValidators, "the network's active validators, which estimates depend on; when not given, a figure of November 2026"),
		text(flagBeaconAPI, "", "URL of a Beacon API to read the active validators from each epoch"),
	}
}

// Uncertainties of the aggregators' share when the active validators are not read
// from the chain: of a number that someone gave, and of one that is only assumed.
const (
	givenUncertainty   = 0.05
	assumedUncertainty = 0.15
)

// activeAssumed are the active validators of the networks, in thousands and rounded, as
// of November 2026. Mainnet's is the one that docs/methodology.md calculates with; the
// others are assumptions.
func activeAssumed() map[string]uint64 {
	return map[string]uint64{"mainnet": 950_000, "hoodi": 1_200_000, "gnosis": 300_000, "chiado": 100_000, "sepolia": 1_900}
}

// tracking is what the tracker is made from.
type tracking struct {
	config tracker.Config
	api    *beaconapi.Client // nil without --beacon-api
}

// tracking checks the flags of the estimates. Errors are usageErrors.
func (in invocation) tracking(dataDir string, net network.Network) (tracking, error) {
	t := tracking{config: tracker.Config{Dir: dataDir, Network: net.Name, Params: estimate.Params{Clock: net.Clock}}}
	given, url := in.cmd.Uint64(flagActiveValidators), in.cmd.String(flagBeaconAPI)
	if given > 0 && url != "" {
		return t, usagef("--%s and --%s: give one of them", flagActiveValidators, flagBeaconAPI)
	}
	if url != "" {
		var err error
		if t.api, err = beaconapi.New(url); err != nil {
			return t, usagef("--%s: %w", flagBeaconAPI, err)
		}
	}
	p := &t.config.Params
	p.ActiveValidators, p.PAggUncertainty = given, givenUncertainty
	if given > 0 {
		return t, nil
	}
	n, err := devnetValidators(in.cmd.String(flagNetworkDir))
	if err != nil {
		return t, err
	}
	if p.ActiveValidators = n; n > 0 {
		p.PAggUncertainty = 0
		return t, nil
	}
	if p.ActiveValidators = activeAssumed()[net.Name]; net.Name != defaultNetwork {
		p.PAggUncertainty = assumedUncertainty
	}
	return t, nil
}

// devnetValidators reads the active validators that a simulated network's directory
// tells; 0 for any other directory.
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

// open opens the database of estimates and brings it up to the datasets: before events
// are asked for, which would wait meanwhile. Errors that name what to do are usageErrors.
func (t tracking) open(ctx context.Context, w *dataset.Writer, log *slog.Logger) (*tracker.Tracker, error) {
	cfg := t.config
	cfg.Log = log
	if cfg.Params.ActiveValidators == 0 && t.api == nil {
		log.Warn("the network's active validators are not known, estimates of large nodes will be wrong: give --active-validators or --beacon-api",
			slog.String("network", cfg.Network))
	}
	if cfg.Params.ActiveValidators == 0 {
		cfg.Params.ActiveValidators, cfg.Params.PAggUncertainty = activeAssumed()[defaultNetwork], assumedUncertainty
	}
	tr, err := tracker.Open(ctx, cfg)
	if err == nil {
		if err = consumer.CatchUp(ctx, w, tr, log); err != nil {
			err = errors.Join(err, tr.Close())
		}
	}
	if errors.Is(err, tracker.ErrDamaged) || errors.Is(err, tracker.ErrNewer) {
		return nil, asUsage(err)
	}
	if err != nil {
		return nil, err
	}
	return tr, nil
}

// follow reads the active validators in the middle of each epoch, when a node that is
// in sync knows its committees whatever its first block was, until ctx ends. What
// cannot be read leaves the last number.
func (t tracking) follow(ctx context.Context, tr *tracker.Tracker, log *slog.Logger) error {
	if t.api == nil {
		return nil
	}
	clock := t.config.Params.Clock
	for {
		if n, err := t.api.ActiveValidators(ctx, clock, time.Now()); err == nil {
			log.Debug("active validators", slog.Uint64("number", n))
			tr.SetActiveValidators(n)
		} else if ctx.Err() == nil {
			log.Warn("cannot read the active validators, keeping the last number", slog.Any("error", err))
		}
		timer := time.NewTimer(time.Until(middleOfNext(clock, time.Now())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// middleOfNext is the first middle of an epoch after now.
func middleOfNext(clock eth2.Clock, now time.Time) time.Time {
	middle := clock.EpochStart(clock.EpochAt(now)).Add(clock.EpochDuration() / 2)
	if !middle.After(now) {
		middle = middle.Add(clock.EpochDuration())
	}
	return middle
}

// closeTracker logs what could not be written: the next start reads it from the
// datasets.
func closeTracker(tr *tracker.Tracker, log *slog.Logger) {
	if err := tr.Close(); err != nil {
		log.Error("close the tracker", slog.Any("error", fmt.Errorf("%w; the next start reads what is missing from the datasets", err)))
	}
}
