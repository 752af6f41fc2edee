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

// Rebuilt counts what a rebuild made.
type Rebuilt struct {
	Peers int `json:"peers"` // in the database
	Hours int `json:"hours"` // past hours that had no estimates
}

// Rebuild replaces the tracker's database by one built from the datasets, and makes the rows of
// peer_estimates that these lack. Errors that the user can fix are ConfigErrors.
func Rebuild(ctx context.Context, cfg RebuildConfig, log *slog.Logger) (done Rebuilt, err error) {
	use := DirUse{Consumer: true, Rebuild: true, Network: cfg.Network, NetworkDir: cfg.NetworkDir}
	if err := checkDataDir(cfg.DataDir, use); err != nil {
		return done, err
	}
	e := newEstimates(cfg.Estimates, cfg.DataDir, cfg.Network, log)
	places, err := openPlaces(cfg.Geo, log)
	if err != nil {
		return done, err
	}
	if cfg.DevnetPlaces {
		simulatePlaces(cfg.Network, places, log)
	}
	e.config.Places = places
	if err := e.prepare(ctx); err != nil {
		return done, err
	}
	dir, err := openDataDir(cfg.DataDir, use)
	if err != nil {
		return done, err
	}
	w, err := dataset.OpenLocked(dir.takeConsumer(), log)
	if err != nil {
		return done, AsConfigError(err)
	}
	defer w.Close()
	t, err := tracker.Create(ctx, e.config)
	if err != nil {
		return done, err
	}
	if done.Hours, err = fillTracker(ctx, w, t, log); err != nil {
		return done, errors.Join(err, t.Close())
	}
	done.Peers = t.State().Len()
	return done, t.Replace()
}

// fillTracker reads the datasets, and the history that is not in them any more from the
// database in use. It returns the number of hours that it has estimated.
func fillTracker(ctx context.Context, w *dataset.Writer, t *tracker.Tracker, log *slog.Logger) (hours int, err error) {
	if hours, err = consumer.CatchUpByHour(ctx, w, t, log); err != nil {
		return hours, err
	}
	if err := t.KeepHistory(ctx); err != nil {
		log.Warn("the current database cannot be read; hourly totals from before the oldest events are lost", slog.Any("error", err))
	}
	return hours, t.Recompute(ctx)
}
