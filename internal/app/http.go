package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"

	"github.com/chainbound/valtrack/internal/api"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/geo"
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

// httpServer serves the API of a consumer; nil where it is not served.
type httpServer struct {
	server  *api.Server
	sources api.Sources
	log     *slog.Logger
	ready   func() error
	// endStarting ends the answers that are given until the sources are there.
	endStarting func()
}

// listenHTTP binds the address of the API, which says from then on that the service starts,
// and registers its metrics. Errors are ConfigErrors.
func listenHTTP(cfg HTTPConfig, svc *Service) (*httpServer, error) {
	if cfg.Address == "" {
		return nil, nil
	}
	cfg.Log = svc.log
	server, err := api.Listen(cfg.Config)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && cfg.Default:
		svc.log.Warn("not serving the API: its address is in use; give --"+OptHTTP+" ADDR for another one, or --"+OptHTTP+" '' for none", slog.String("address", cfg.Address))
		return nil, nil
	case err != nil:
		return nil, HTTPError(err)
	}
	server.RegisterMetrics(svc.metrics)
	h := &httpServer{server: server, log: svc.log, ready: svc.ready.err}
	h.start()
	return h, nil
}

// notServed stands for the URL of an API that is not served.
const notServed = "not served"

// url is where the API is served, or notServed.
func (h *httpServer) url() string {
	if h == nil {
		return notServed
	}
	return h.server.URL()
}

// missing is the part of the status line about an API that should be served and is not.
func (h *httpServer) missing(cfg HTTPConfig) []slog.Attr {
	if h != nil || cfg.Address == "" {
		return nil
	}
	return []slog.Attr{slog.String("api", notServed)}
}

// start answers that the service is not ready yet, and why, until endStarting.
func (h *httpServer) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := h.server.Starting(ctx, h.ready); err != nil {
			h.log.Warn("the API cannot respond while the service starts", slog.Any("error", err))
		}
	}()
	h.endStarting = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
}

// HTTPError is the ConfigError for an API that cannot listen, with the way out.
func HTTPError(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return ConfigErrorf("--%s: %w; choose another address, or '' for none", OptHTTP, err)
	}
	if errors.Is(err, api.ErrKeysFile) {
		return ConfigErrorf("--%s: %w", OptAPIKeys, err)
	}
	return ConfigErrorf("--%s: %w", OptHTTP, err)
}

// source sets what is served: what the current storage has, which may be nil. there is an error when
// the data directory is another one.
func (h *httpServer) source(cfg ConsumerConfig, places *geo.Locator, there func() error, current func() *storage) {
	if h == nil {
		return
	}
	h.sources = api.Sources{
		Network: cfg.Network.Name, Simulated: cfg.Network.Name == devnet.Name, Schedule: cfg.Network.Schedule, Clock: cfg.Network.Clock,
		DataDir: cfg.DataDir, Ready: h.ready, Places: places.Sources,
		State: func() *tracker.State {
			if s := current(); s != nil {
				if t := s.consumer.Tracker(); t != nil {
					return t.State()
				}
			}
			return nil
		},
		Own: func() bool {
			s := current()
			return s != nil && s.consumer.Stats().Stopped == nil && there() == nil
		},
		Ingest: func() api.Ingest {
			if s := current(); s != nil {
				return s.ingest()
			}
			return api.Ingest{}
		},
	}
}

// run serves until ctx ends. An error ends the API alone.
func (h *httpServer) run(ctx context.Context) error {
	if h == nil {
		return nil
	}
	h.endStarting()
	if err := h.server.Run(ctx, h.sources); err != nil {
		h.log.Error("the API has stopped, everything else continues: restart to serve it again", slog.Any("error", err))
	}
	return nil
}

// close releases the address.
func (h *httpServer) close() {
	if h != nil {
		h.endStarting()
		h.server.Close()
	}
}

// ingest is how storing goes, for the API.
func (s *storage) ingest() api.Ingest {
	stats := s.consumer.Stats()
	return api.Ingest{
		Lag: s.subscription.Progress().Pending, Stored: stats.Stored, Rejected: stats.Rejected, LastCommit: stats.LastCommit,
		Events: stats.Covered, Missing: stats.Missing, ClockErrors: stats.ClockErrors,
	}
}
