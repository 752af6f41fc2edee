package app

import (
	"context"
	"errors"
	"log/slog"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/tracker"
)

// RebuildConfig is what a tracker's database is rebuilt from.
type RebuildConfig struct {
	DataDir   string
	Estimates EstimatesConfig
	Network   network.Network
	// NetworkDir has the network's files; empty for an embedded network.
	NetworkDir string
	// Geo are the files of the user's databases of places.
	Geo []string
	// DevnetPlaces gives the nodes of a directory of a simulated network places.
	DevnetPlaces bool
}

// Rebuild replaces the tracker's database by one built from the datasets, and returns the
// number of peers in it. Errors that the user can fix are ConfigErrors.
func Rebuild(ctx context.Context, cfg RebuildConfig, log *slog.Logger) (peers int, err error) {
	use := DirUse{Consumer: true, Rebuild: true, Network: cfg.Network, NetworkDir: cfg.NetworkDir}
	if err := checkDataDir(cfg.DataDir, use); err != nil {
		return 0, err
	}
	e := newEstimates(cfg.Estimates, cfg.DataDir, cfg.Network, log)
	places, err := openPlaces(cfg.Geo, log)
	if err != nil {
		return 0, err
	}
	if cfg.DevnetPlaces {
		simulatePlaces(cfg.Network, places, log)
	}
	e.config.Places = places
	if err := e.prepare(ctx); err != nil {
		return 0, err
	}
	dir, err := openDataDir(cfg.DataDir, use)
	if err != nil {
		return 0, err
	}
	w, err := dataset.OpenLocked(dir.takeConsumer(), log)
	if err != nil {
		return 0, AsConfigError(err)
	}
	defer w.Close()
	t, err := tracker.Create(ctx, e.config)
	if err != nil {
		return 0, err
	}
	if err := fillTracker(ctx, w, t, log); err != nil {
		return 0, errors.Join(err, t.Close())
	}
	peers = t.State().Len()
	return peers, t.Replace()
}

// fillTracker reads the datasets, and the history that is not in them any more from the
// database in use.
func fillTracker(ctx context.Context, w *dataset.Writer, t *tracker.Tracker, log *slog.Logger) error {
	if err := consumer.CatchUp(ctx, w, t, log); err != nil {
		return err
	}
	if err := t.KeepHistory(ctx); err != nil {
		log.Warn("the current database cannot be read; hourly totals from before the oldest events are lost", slog.Any("error", err))
	}
	return t.Recompute(ctx)
}
