package app

import (
	"context"
	"errors"
	"log/slog"
	"syscall"

	"github.com/chainbound/valtrack/internal/api"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/tracker"
)

// DefaultHTTP is where the API is served unless another address is given.
const DefaultHTTP = "127.0.0.1:8080"

// HTTPConfig says where the API is served; an empty address for nowhere.
type HTTPConfig struct {
	api.Config
	// Default is an address that nobody asked for: when it is in use, everything else runs
	// without the API.
	Default bool
}

// listenHTTP binds the address of the API and registers its metrics; nil without one. Errors
// are ConfigErrors.
func listenHTTP(cfg HTTPConfig, svc *Service) (*api.Server, error) {
	if cfg.Address == "" {
		return nil, nil
	}
	cfg.Log = svc.log
	server, err := api.Listen(cfg.Config)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && cfg.Default:
		svc.log.Warn("the API is not served: its address is in use; give --"+OptHTTP+" ADDR for another one, or --"+OptHTTP+" '' for none", slog.String("address", cfg.Address))
		return nil, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, ConfigErrorf("--%s: %w; choose another address, or '' for none", OptHTTP, err)
	case err != nil:
		return nil, ConfigErrorf("--%s: %w", OptHTTP, err)
	}
	server.RegisterMetrics(svc.metrics)
	return server, nil
}

// serveHTTP serves what a consumer stores until ctx ends. An error ends the API alone.
func serveHTTP(ctx context.Context, server *api.Server, net network.Network, d *datasets, s *storage, svc *Service) error {
	if server == nil {
		return nil
	}
	err := server.Run(ctx, api.Sources{
		Network: net.Name, Simulated: net.Name == devnet.Name, Schedule: net.Schedule, Clock: net.Clock,
		DataDir: d.writer.Dir(), State: d.state, Ingest: s.ingest, Ready: svc.ready.err,
	})
	if err != nil {
		svc.log.Error("the API has stopped, the rest goes on: restart to serve it again", slog.Any("error", err))
	}
	return nil
}

// state is the tracker's; nil without one.
func (d *datasets) state() *tracker.State {
	if d.tracker == nil {
		return nil
	}
	return d.tracker.State()
}

// ingest is how storing goes, for the API.
func (s *storage) ingest() api.Ingest {
	stats := s.consumer.Stats()
	return api.Ingest{
		Lag: s.subscription.Progress().Pending, Stored: stats.Stored, Rejected: stats.Rejected, LastCommit: stats.LastCommit,
		Events: stats.Covered, Missing: stats.Missing,
	}
}
