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
		wide(flagActiveValidators, "the network's active validators, which estimates depend on; when not given, those of the last run, or a number that is assumed of the network"),
		text(flagBeaconAPI, "", "URL of a Beacon API to read the active validators from, before anything is estimated and then each epoch"),
	}
}

// Uncertainties of the aggregators' share when the active validators are not read
// from the chain: of a number that someone gave, and of one that is only assumed.
const (
	givenUncertainty   = 0.05
	assumedUncertainty = 0.15
)

// tracking is what the tracker is made from.
type tracking struct {
	config  tracker.Config
	api     *beaconapi.Client // nil without --beacon-api
	assumed network.Assumed
}

// tracking checks the flags of the estimates. Errors are usageErrors.
func (in invocation) tracking(dataDir string, net network.Network) (tracking, error) {
	params := estimate.Params{Clock: net.Clock, Preset: net.Preset}
	t := tracking{config: tracker.Config{Dir: dataDir, Network: net.Name, Params: params}, assumed: net.Assumed}
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
	if given > 0 {
		t.know(given, givenUncertainty)
		return t, nil
	}
	n, err := devnetValidators(in.cmd.String(flagNetworkDir))
	t.know(n, 0)
	return t, err
}

func (t *tracking) know(active uint64, uncertainty float64) {
	t.config.Params.ActiveValidators, t.config.Params.PAggUncertainty = active, uncertainty
}

// prepare finds the active validators before an event is folded, as observations are
// reduced under the committees that follow from them: what the Beacon API says, else
// what was given, else what the database was used with last, else what is assumed of
// the network. When nothing tells, the error is an errNoNumber: a usageError, or the API's.
func (t *tracking) prepare(ctx context.Context, log *slog.Logger) error {
	t.config.Log = log
	var failed error
	if t.api != nil {
		var n uint64
		if n, failed = t.api.ActiveValidators(ctx, t.config.Params.Clock, time.Now()); failed == nil {
			t.know(n, 0)
			return nil
		}
	}
	name := t.config.Network
	if t.config.Params.ActiveValidators == 0 {
		last, ok := tracker.LastParams(ctx, t.config.Dir, name)
		// What was only assumed then may be known better now.
		if ok && last.PAggUncertainty < assumedUncertainty {
			t.know(last.ActiveValidators, last.PAggUncertainty)
		} else {
			t.know(t.assumed.ActiveValidators, assumedUncertainty)
		}
	}
	if p := t.config.Params; p.ActiveValidators > 0 {
		if failed != nil {
			log.Warn("cannot read the active validators, beginning with another number", slog.Uint64("number", p.ActiveValidators), slog.Any("error", failed))
		}
		if p.PAggUncertainty == assumedUncertainty {
			log.Info("the number of active validators is assumed", slog.Uint64("number", p.ActiveValidators), slog.String("as_of", t.assumed.Month))
		}
		return nil
	}
	if failed != nil {
		return fmt.Errorf("the active validators of %s%w: %w", name, errNoNumber, failed)
	}
	return usagef("the active validators of %s%w: give --%s or --%s", name, errNoNumber, flagActiveValidators, flagBeaconAPI)
}

// errNoNumber marks that nobody knows the active validators. Crawling and storing go on
// without: estimates can be made of what is stored.
var errNoNumber = errors.New(", which estimates depend on, are not known")

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
// are asked for, which would wait meanwhile. Without a number of active validators there
// is none: the tracker is nil. Errors that name what to do are usageErrors.
func (t tracking) open(ctx context.Context, w *dataset.Writer, log *slog.Logger) (*tracker.Tracker, error) {
	err := t.prepare(ctx, log)
	if errors.Is(err, errNoNumber) {
		log.Warn("nothing is estimated, everything is stored: 'valtrack rebuild' with the number makes the estimates later", slog.Any("error", err))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	tr, err := tracker.Open(ctx, t.config)
	if err == nil {
		if err = consumer.CatchUp(ctx, w, tr, log); err != nil {
			err = errors.Join(err, tr.Close())
		}
	}
	if errors.Is(err, tracker.ErrDamaged) || errors.Is(err, tracker.ErrNewer) || errors.Is(err, tracker.ErrOtherNetwork) {
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
	if t.api == nil || tr == nil {
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
	if tr == nil {
		return
	}
	if err := tr.Close(); err != nil {
		log.Error("close the tracker", slog.Any("error", fmt.Errorf("%w; the next start reads what is missing from the datasets", err)))
	}
}
