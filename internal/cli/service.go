package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/telemetry"
)

const (
	// flagStatusEvery is how often a service off a terminal logs what it has done.
	flagStatusEvery    = "status-every"
	defaultStatusEvery = 10 * time.Second
	// storeTimeout bounds the wait, at a stop, until what was published is with the
	// consumer in the same process. What is not stays in the stream.
	storeTimeout = 2 * time.Second
	// stopLimit is when a stopping service ends, whatever it waits for: disks and
	// brokers may hang. Everything that counts is in a spool or the stream by then,
	// as after a kill.
	stopLimit = 8 * time.Second
)

// serviceFlags stand on every command that runs until it is stopped.
func serviceFlags() []cli.Flag {
	return []cli.Flag{duration(flagStatusEvery, defaultStatusEvery, "time between two log lines of what was done")}
}

// service is what every long-running command has: its log, metrics and status line.
type service struct {
	log     *slog.Logger
	metrics *prometheus.Registry
	// server is nil without --metrics.
	server *telemetry.Server
	listen func() (*telemetry.Server, error)
	// standingBy is what a consumer waits for that another goes before.
	standingBy atomic.Pointer[string]
	status     *status
	// storage is nil until the datasets are open, and always in a sentry. /readyz
	// reads it.
	storage atomic.Pointer[storage]
}

// newService sets up logs on stderr, and metrics where --metrics asks for them;
// stores says whether the command is ready only when it can store events. Errors
// are usageErrors.
func (in invocation) newService(stores bool) (*service, error) {
	s, err := in.silentService(stores)
	if err != nil {
		return nil, err
	}
	if s.server, err = s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

// silentService is newService that does not listen yet.
func (in invocation) silentService(stores bool) (*service, error) {
	every := in.cmd.Duration(flagStatusEvery)
	if every <= 0 {
		return nil, usagef("--%s %v: want a time above zero, such as 10s", flagStatusEvery, every)
	}
	s := &service{
		metrics: telemetry.NewRegistry(),
		status:  newStatus(in.stderr, telemetry.IsTerminal(in.stderr), every),
	}
	var err error
	if s.log, err = in.logger(s.status); err != nil {
		return nil, err
	}
	ready := func() error { return nil }
	if stores {
		ready = s.ready
	}
	s.listen = func() (*telemetry.Server, error) {
		addr := in.cmd.String(flagMetrics)
		if addr == "" {
			return nil, nil
		}
		server, err := telemetry.Listen(addr, s.metrics, ready, s.log)
		if err != nil {
			return nil, usagef("--%s: %w; choose another address", flagMetrics, err)
		}
		return server, nil
	}
	return s, nil
}

// ready is nil when events can be stored.
func (s *service) ready() error {
	if reason := s.standingBy.Load(); reason != nil {
		return errors.New(*reason)
	}
	return s.storage.Load().ready()
}

// logger writes to w, which ends on stderr, as --log-level and --log-format say.
func (in invocation) logger(w io.Writer) (*slog.Logger, error) {
	level, err := telemetry.ParseLevel(in.cmd.String(flagLogLevel))
	if err != nil {
		return nil, usagef("--%s: %w", flagLogLevel, err)
	}
	log, err := telemetry.NewLogger(w, in.cmd.String(flagLogFormat), level, telemetry.IsTerminal(in.stderr))
	if err != nil {
		return nil, usagef("--%s: %w", flagLogFormat, err)
	}
	return log, nil
}

// run runs work beside the metrics server and returns when both have ended; once
// ctx has, it waits no longer than stopLimit. Then the process is to end at once:
// work still runs, and holds its locks.
func (s *service) run(ctx context.Context, work func(context.Context) error) error {
	return s.runWithin(ctx, stopLimit, work)
}

func (s *service) runWithin(ctx context.Context, limit time.Duration, work func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, work) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		s.log.Warn("the stop takes too long, ending: events that are not stored yet stay in the spool or the stream for the next start", slog.Duration("waited", limit))
		return nil
	}
}

// serve runs work, and beside it the metrics server from the beginning: while work
// waits for a broker, health can be asked.
func (s *service) serve(ctx context.Context, work func(context.Context) error) error {
	if s.server == nil {
		return work(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.server.Run(ctx) })
	g.Go(func() error {
		defer stop()
		return work(ctx)
	})
	return g.Wait()
}

// broker is a connection to NATS and, where it is in this process, the server.
type broker struct {
	conn     *bus.Conn
	embedded *bus.Embedded // nil for a server elsewhere
}

// connect connects to the server at url, or starts one in this process with its
// store in storeDir when url is "embedded". It keeps trying until ctx ends, or in
// the background when opts say so.
func connect(ctx context.Context, url, storeDir string, opts bus.Options) (*broker, error) {
	b := &broker{}
	opts.URL = url
	if url == embeddedNATS {
		server, err := bus.StartEmbedded(storeDir, opts.Log)
		if err != nil {
			return nil, asUsage(err)
		}
		b.embedded, opts.InProcess = server, server
	}
	var err error
	if b.conn, err = bus.Connect(ctx, opts); err != nil {
		b.close(opts.Log)
		if errors.Is(err, bus.ErrBadURL) {
			return nil, usagef("--%s: %w", flagNATS, err)
		}
		return nil, err
	}
	return b, nil
}

// close closes the connection and then the embedded server.
func (b *broker) close(log *slog.Logger) {
	if b.conn != nil {
		if err := b.conn.Close(); err != nil {
			log.Warn("close NATS connection", slog.Any("error", err))
		}
	}
	if b.embedded != nil {
		b.embedded.Close()
	}
}

// after gives a context for what must still be done when ctx has ended, bounded
// by limit.
func after(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}

// stoppedEarly turns the error of a start that a signal interrupted into nil.
func stoppedEarly(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// parsePort checks a port number of a flag; 0 means any free port.
func (in invocation) parsePort(name string) (uint16, error) {
	n := in.cmd.Int(name)
	if n < 0 || n > 65535 {
		return 0, usagef("--%s %d: want a port from 0 to 65535", name, n)
	}
	return uint16(n), nil
}

// positive checks a number of a flag.
func (in invocation) positive(name string) (int, error) {
	n := in.cmd.Int(name)
	if n < 1 {
		return 0, usagef("--%s %d: want at least 1", name, n)
	}
	return n, nil
}
