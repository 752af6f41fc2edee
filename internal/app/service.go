package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/telemetry"
)

const (
	// DefaultStatusEvery is the time between two status lines off a terminal.
	DefaultStatusEvery = 10 * time.Second
	// stopLimit is when a stopping service ends, whatever it waits for: disks and
	// brokers may hang. Everything that counts is in a spool or the stream by then,
	// as after a kill.
	stopLimit = 8 * time.Second
)

// ServiceConfig is the configuration that all commands that run until they are stopped share.
type ServiceConfig struct {
	// Version is that of the program.
	Version string
	// Stderr gets the log and the status line.
	Stderr *telemetry.LogWriter
	// NewLogger makes the logger that writes to w, which ends on Stderr.
	NewLogger func(w io.Writer) (*slog.Logger, error)
	// Repaint shows the status in one line that is repainted, for which Stderr must be a
	// terminal.
	Repaint bool
	// StatusEvery is the time between two status lines that are logged.
	StatusEvery time.Duration
	// Metrics is the address of metrics and health, "host:port"; empty for none.
	Metrics string
	// Profiles are served there too.
	Profiles bool
}

// Service is what such a command has besides its own work: log, metrics, health and
// the status line.
type Service struct {
	log     *slog.Logger
	metrics *telemetry.Registry
	ready   *readiness
	status  *status
	storing storing
	address string // of the metrics server; empty for none
	// profiles are served there.
	profiles bool
	// onTerminal: the log goes to a terminal, whether it may be repainted or not.
	onTerminal bool
}

// NewService sets up log and metrics. It does not listen yet.
func NewService(cfg ServiceConfig) (*Service, error) {
	ready := &readiness{}
	s := &Service{
		metrics: telemetry.NewRegistry(), ready: ready,
		status:  newStatus(cfg.Stderr, cfg.Repaint, cfg.StatusEvery, ready.err),
		address: cfg.Metrics, profiles: cfg.Profiles, onTerminal: telemetry.IsTerminal(cfg.Stderr),
	}
	s.ready.setReason("starting")
	telemetry.Register(s.metrics, cfg.Stderr.Dropped,
		telemetry.Counter("valtrack_log_lines_dropped_total", "Log lines dropped because nobody read the output.", func(lines uint64) uint64 { return lines }))
	telemetry.Register(s.metrics, func() string { return cfg.Version },
		telemetry.GaugeBy("valtrack_build_info", "version", "Always 1; the label is the version of the program.", func(version string) map[string]int { return map[string]int{version: 1} }))
	var err error
	s.log, err = cfg.NewLogger(s.status)
	return s, err
}

// readiness is the answer of /readyz. The zero value is ready.
type readiness struct {
	check atomic.Pointer[func() error]
}

// set makes check the answer: nil is ready.
func (r *readiness) set(check func() error) { r.check.Store(&check) }

// setReason makes the answer "not ready" with a reason.
func (r *readiness) setReason(reason string) {
	err := errors.New(reason)
	r.set(func() error { return err })
}

func (r *readiness) err() error {
	if check := r.check.Load(); check != nil {
		return (*check)()
	}
	return nil
}

// runner is a command's work. Close is called when Run has returned.
type runner interface {
	Run(ctx context.Context) error
	Close()
}

// Run opens the runner and runs it until ctx ends, along with the metrics server, which
// answers from the beginning: health can be asked while open waits for a broker. Once
// ctx has ended it waits for stopLimit at most. The process must end then: the work
// still runs, and holds its locks.
func Run[R runner](ctx context.Context, s *Service, open func(context.Context) (R, error)) error {
	return s.withStopLimit(ctx, stopLimit, func(ctx context.Context) error {
		server, err := s.listen()
		if err != nil {
			return err
		}
		return serve(ctx, server, func(ctx context.Context) error { return openAndRun(ctx, open) })
	})
}

func openAndRun[R runner](ctx context.Context, open func(context.Context) (R, error)) error {
	r, err := open(ctx)
	if err != nil {
		return StoppedEarly(ctx, err)
	}
	defer r.Close()
	return r.Run(ctx)
}

// StoppedEarly turns the error of a start that a signal interrupted into nil.
func StoppedEarly(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// withStopLimit runs work, and waits for it no longer than the limit once ctx has
// ended. The service manager is notified and metrics are exported meanwhile.
func (s *Service) withStopLimit(ctx context.Context, limit time.Duration, work func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- s.whileExporting(func() error { return s.whileNotifying(ctx, work) }) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		s.log.Warn("stopping is taking too long, exiting now: events not yet stored stay in the spool or the stream for the next start", slog.Duration("waited", limit))
		return nil
	}
}

// whileExporting runs work, and sends metrics by OTLP meanwhile where the environment asks for it.
// Values of the environment that cannot be used are ConfigErrors.
func (s *Service) whileExporting(work func() error) error {
	exporter, err := telemetry.NewOTLP(s.metrics, s.log)
	if err != nil {
		return AsConfigError(err)
	}
	if exporter == nil {
		return work()
	}
	s.log.Info("exporting metrics over OTLP")
	defer func() {
		if err := exporter.Close(); err != nil {
			s.log.Warn("the last metrics could not be exported over OTLP", slog.Any("error", err))
		}
	}()
	return work()
}

// listen binds the address of the metrics server; the server is nil without one.
// Errors are ConfigErrors.
func (s *Service) listen() (*telemetry.Server, error) {
	if s.address == "" {
		return nil, nil
	}
	if _, _, err := net.SplitHostPort(s.address); err != nil {
		return nil, ConfigErrorf("--%s %q: want an address with a port, such as 127.0.0.1:9110", OptMetrics, s.address)
	}
	server, err := telemetry.Listen(s.address, s.metrics, s.ready.err, s.profiles, s.log)
	if err != nil {
		return nil, ConfigErrorf("--%s: %w; choose another address", OptMetrics, err)
	}
	return server, nil
}

// serve runs work and, at the same time, the server unless it is nil.
func serve(ctx context.Context, server *telemetry.Server, work func(context.Context) error) error {
	if server == nil {
		return work(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Run(ctx) })
	g.Go(func() error {
		defer stop()
		return work(ctx)
	})
	return g.Wait()
}

// cleanups are what a Close has to do, in the reverse of the order in which it was
// added.
type cleanups []func()

func (c *cleanups) add(f func()) { *c = append(*c, f) }

func (c *cleanups) cleanUp() {
	for i := len(*c) - 1; i >= 0; i-- {
		(*c)[i]()
	}
	*c = nil
}
