package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/chainbound/valtrack/internal/beaconapi"
	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Uncertainties of the aggregators' share when the active validators are not read
// from the chain: of a number given by the user, and of one that is only assumed.
const (
	givenUncertainty   = 0.05
	assumedUncertainty = 0.15
)

// givenBalanceError is the relative error of a mean balance that the user gave.
const givenBalanceError = 0.02

// EstimatesConfig says where the number of active validators comes from, which every
// estimate depends on.
type EstimatesConfig struct {
	// ActiveValidators is the number; 0 when it is not given. Exact means that it is
	// known, as that of a simulated network is, and not only given.
	ActiveValidators uint64
	Exact            bool
	// MeanBalance is the mean effective balance of the active validators, in ETH, which the stake
	// depends on; 0 when it is not given.
	MeanBalance float64
	// BeaconAPI reads the number, and the balance if it is not given; nil for none.
	BeaconAPI *beaconapi.Client
	// Every is the time between two rows per node in peer_estimates; 0 is an hour, or in a
	// simulated network as many slots as an hour of mainnet has.
	Every time.Duration
}

// estimates is what the tracker is built from.
type estimates struct {
	config tracker.Config
	api    *beaconapi.Client // nil without one
	// readBalance: the API's mean balance counts.
	readBalance bool
	assumed     network.Assumed
	log         *slog.Logger
	given       estimate.Params // before prepare
	// unavailable is why there is no tracker yet although there should be one.
	unavailable error
}

func newEstimates(cfg EstimatesConfig, dataDir string, net network.Network, log *slog.Logger) *estimates {
	if cfg.Every == 0 && net.Name == devnet.Name {
		cfg.Every = net.Clock.Scale(time.Hour)
	}
	e := &estimates{api: cfg.BeaconAPI, assumed: net.Assumed, log: log, config: tracker.Config{
		Dir: dataDir, Network: net.Name, EstimateEvery: cfg.Every, Log: log,
		Params: estimate.Params{Clock: net.Clock, Preset: net.Preset},
	}}
	uncertainty := givenUncertainty
	if cfg.Exact {
		uncertainty = 0
	}
	if cfg.ActiveValidators > 0 {
		e.setActive(cfg.ActiveValidators, uncertainty)
	}
	if cfg.MeanBalance > 0 {
		e.config.Params.Balance = estimate.Balance{Mean: cfg.MeanBalance, Error: givenBalanceError}
	}
	e.readBalance = cfg.BeaconAPI != nil && cfg.MeanBalance == 0
	e.given = e.config.Params
	return e
}

func (e *estimates) setActive(validators uint64, uncertainty float64) {
	e.config.Params.ActiveValidators, e.config.Params.PAggUncertainty = validators, uncertainty
}

// prepare finds the active validators before an event is folded, as observations are
// reduced under the committees that follow from them: what the Beacon API says, else
// what was given, else what the database was used with last, else what is assumed of
// the network. When nothing is known, the error is an errNoNumber: a ConfigError, or the API's.
func (e *estimates) prepare(ctx context.Context) error {
	name, source := e.config.Network, "--"+OptActiveValidators
	if name == devnet.Name {
		source = "the simulated network" // the flag and --beacon-api exclude each other
	}
	last, ok, err := tracker.LastParams(ctx, e.config.Dir, name)
	if err != nil {
		return err
	}
	if !e.config.Params.Balance.Known() {
		e.config.Params.Balance = last.Balance
	}
	if e.config.Params.ActiveValidators == 0 {
		// What was only assumed then may be known better now.
		if ok && last.PAggUncertainty < assumedUncertainty {
			source = "the last run"
			e.setActive(last.ActiveValidators, last.PAggUncertainty)
		} else {
			source = "an assumption about the network, of " + e.assumed.Month
			e.setActive(e.assumed.ActiveValidators, assumedUncertainty)
		}
	}
	failed := e.ask(ctx)
	if e.api != nil && failed == nil {
		return nil
	}
	if p := e.config.Params; p.ActiveValidators > 0 {
		if failed != nil {
			e.log.Warn("cannot read the number of active validators, starting with another number", slog.Uint64("number", p.ActiveValidators), slog.String("from", source), slog.Any("error", failed))
		}
		if p.PAggUncertainty == assumedUncertainty {
			e.log.Info("using an assumed number of active validators", slog.Uint64("number", p.ActiveValidators), slog.String("as_of", e.assumed.Month))
		}
		return nil
	}
	if failed != nil {
		return fmt.Errorf("the number of active validators of %s%w: %w", name, errNoNumber, failed)
	}
	return ConfigErrorf("the number of active validators of %s%w: give --%s or --%s", name, errNoNumber, OptActiveValidators, OptBeaconAPI)
}

// startWait is how long a start waits for the Beacon API when another number is known:
// follow asks again at once, and events wait meanwhile.
const startWait = 3 * time.Second

// ask takes the number of the Beacon API, if there is one.
func (e *estimates) ask(ctx context.Context) error {
	if e.api == nil {
		return nil
	}
	if e.config.Params.ActiveValidators > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, startWait)
		defer cancel()
	}
	n, err := e.api.ActiveValidators(ctx, e.config.Params.Clock, time.Now())
	if err == nil {
		e.setActive(n, 0)
	}
	return err
}

// errNoNumber marks an unknown number of active validators. Crawling and storing continue
// without: estimates can be made of what is stored.
var errNoNumber = errors.New(", which estimates depend on, is not known")

// open opens the database of estimates and brings it up to the datasets: before events
// are asked for, which would wait meanwhile. Without a number of active validators there
// is none: the tracker is nil. It is nil too while the database cannot be used, for a reason
// that may go away, such as a lock or a full disk, or until it is rebuilt: unavailable says why,
// and reopen tries again. A database of another network is a ConfigError.
func (e *estimates) open(ctx context.Context, w *dataset.Writer) (*tracker.Tracker, error) {
	if e.config.Params.Clock == (eth2.Clock{}) {
		e.log.Warn("storing events without estimates: give --network-dir with the files of the network", slog.String("network", e.config.Network))
		return nil, nil
	}
	tr, err := e.openDatabase(ctx)
	if err == nil && tr != nil {
		if err = consumer.CatchUp(ctx, w, tr, e.log); err != nil {
			err = errors.Join(err, tr.Abandon())
		}
	}
	switch {
	case err == nil:
		return tr, nil
	case ctx.Err() != nil:
		return nil, err
	case errors.Is(err, tracker.ErrOtherNetwork):
		return nil, AsConfigError(err)
	}
	e.unavailable = err
	return nil, nil
}

// openDatabase opens the database with the number of active validators; the tracker is nil
// when that is not known.
func (e *estimates) openDatabase(ctx context.Context) (*tracker.Tracker, error) {
	err := e.prepare(ctx)
	if errors.Is(err, errNoNumber) {
		e.log.Warn("storing events without estimates: 'valtrack rebuild' with the number computes them later", slog.Any("error", err))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return tracker.Open(ctx, e.config)
}

// reopen is a new attempt: what the database says about the last run may be known now.
func (e *estimates) reopen(ctx context.Context) (*tracker.Tracker, error) {
	again := *e
	again.config.Params = e.given
	return again.openDatabase(ctx)
}

// follow reads the active validators in the middle of each epoch, when a node that is
// in sync knows its committees whatever its first block was, until ctx ends. What
// cannot be read leaves the last number. The tracker may come later, as nil says.
func (e *estimates) follow(ctx context.Context, current func() *tracker.Tracker) error {
	if e.api == nil || current() == nil && e.unavailable == nil {
		return nil
	}
	clock := e.config.Params.Clock
	balanceRead := time.Time{}
	for {
		if tr := current(); tr != nil && e.readBalance && time.Since(balanceRead) >= balanceEvery && e.askBalance(ctx, tr) {
			balanceRead = time.Now()
		}
		if n, err := e.api.ActiveValidators(ctx, clock, time.Now()); err == nil {
			e.log.Debug("active validators", slog.Uint64("number", n))
			if tr := current(); tr != nil {
				tr.SetActiveValidators(n)
			}
		} else if ctx.Err() == nil {
			e.log.Warn("cannot read the number of active validators, keeping the last known one", slog.Any("error", err))
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

// balanceEvery is how often the mean balance is read: it changes slowly.
const balanceEvery = 24 * time.Hour

// askBalance reads the mean balance of the active validators, and reports whether it could.
func (e *estimates) askBalance(ctx context.Context, tr *tracker.Tracker) bool {
	mean, relative, err := e.api.MeanBalance(ctx, e.config.Params.Clock, time.Now())
	if err != nil {
		if ctx.Err() == nil {
			e.log.Warn("cannot read validator balances, keeping the last mean", slog.Any("error", err))
		}
		return false
	}
	e.log.Debug("mean effective balance", slog.Float64("eth", mean), slog.Float64("relative_error", relative))
	tr.SetBalance(estimate.Balance{Mean: mean, Error: relative})
	return true
}

// middleOfNext is the first middle of an epoch after now.
func middleOfNext(clock eth2.Clock, now time.Time) time.Time {
	middle := clock.EpochStart(clock.EpochAt(now)).Add(clock.EpochDuration() / 2)
	if !middle.After(now) {
		middle = middle.Add(clock.EpochDuration())
	}
	return middle
}

// abandonTracker closes the database of a consumer that has lost its durable or its data
// directory: whoever has them now writes it.
func abandonTracker(tr *tracker.Tracker, log *slog.Logger) {
	if tr == nil {
		return
	}
	if err := tr.Abandon(); err != nil {
		log.Warn("close the tracker", slog.Any("error", err))
	}
}

// closeTracker logs what could not be written: the next start reads it from the
// datasets.
func closeTracker(tr *tracker.Tracker, log *slog.Logger) {
	if tr == nil {
		return
	}
	if err := tr.Close(); err != nil {
		log.Error("close the tracker", slog.Any("error", fmt.Errorf("%w; the next start reads the missing events from the datasets", err)))
	}
}
