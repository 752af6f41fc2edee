package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/tracker"
)

const (
	headerTimeout   = 5 * time.Second
	readTimeout     = 10 * time.Second
	idleTimeout     = time.Minute
	shutdownTimeout = 2 * time.Second
	// writeTimeout is how long a client may take to read the next piece of an answer.
	writeTimeout = 30 * time.Second
	maxHeader    = 16 << 10 // bytes
	// filesPoll is how often files that may change are looked at.
	filesPoll = 2 * time.Second
)

// Config says where and to whom to serve.
type Config struct {
	Address string // "host:port"; port 0 takes any free one
	// KeysFile has the keys of those who may see addresses; empty for none: one per line, as
	// "<SHA-256 of the key> <name> [public|full] [revoked]".
	KeysFile string
	// Certificate and Key are files for TLS; empty for plain HTTP.
	Certificate, Key string
	// Origins are what browsers may read answers from: "*" is any; none for none.
	Origins []string
	// Proxies are the addresses whose X-Forwarded-For is believed.
	Proxies []netip.Prefix
	// Rate is how many requests one address may make per second without a key, and a key
	// four times as many; 0 is no limit.
	Rate float64
	Log  *slog.Logger
}

// Sources is what is served.
type Sources struct {
	Network   string
	Simulated bool // places are made up
	// Schedule and Clock are the network's; zero where they are not known.
	Schedule eth2.Schedule
	Clock    eth2.Clock
	DataDir  string
	// State is the tracker's; nil while nothing is estimated.
	State func() *tracker.State
	// Places, unless it is nil, says what places and networks of addresses are from.
	Places func() []geo.Source
	// Ingest says how storing goes.
	Ingest func() Ingest
	// Ready is nil when events are stored.
	Ready func() error
	// Own, unless it is nil, is whether the data directory is this process's to write to.
	Own func() bool

	place func(*tracker.Peer) place // placeOf, except in tests
}

// Ingest is how storing goes.
type Ingest struct {
	Lag, Stored, Rejected uint64
	LastCommit            time.Time // zero before the first
	// Events and Missing count those of each sentry, by the id in its events' keys.
	Events, Missing map[string]uint64
	// ClockErrors count those that are not used since their times are impossible, by sentry, since
	// the process began.
	ClockErrors map[string]uint64
}

// Server serves the API at one address.
type Server struct {
	cfg         Config
	listener    net.Listener
	tcp         *net.TCPListener // what listener reads from
	keys        *keyring
	certificate *certificate // nil without TLS
	limits      *limits
	stats       *stats
	src         Sources
	views       *views
	survey      *dataset.Survey
	timelines   *timelines
	snapshot    snapshots
	saidDamaged sync.Map // names of damaged parts that were logged
	boot        string   // in entity tags: views of other processes have the same numbers
}

// Listen binds the address and reads the keys and certificates. Close or Run must follow.
func Listen(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, limits: newLimits(cfg.Rate), stats: newStats(), boot: fmt.Sprintf("%x", time.Now().UnixNano())}
	var err error
	s.keys, err = openKeys(cfg.KeysFile, s.readAgain("API keys"))
	if err != nil {
		return nil, err
	}
	if cfg.Certificate != "" {
		if s.certificate, err = openCertificate(cfg.Certificate, cfg.Key, s.readAgain("certificate")); err != nil {
			return nil, err
		}
	}
	if s.listener, err = net.Listen("tcp", cfg.Address); err != nil { //nolint:noctx // binding does not wait for anything
		return nil, fmt.Errorf("listen on %q: %w", cfg.Address, err)
	}
	s.tcp = s.listener.(*net.TCPListener)
	if s.certificate != nil {
		s.listener = tls.NewListener(s.listener, s.certificate.config())
	}
	return s, nil
}

// readAgain logs what became of files that have changed.
func (s *Server) readAgain(what string) func(error) {
	return func(err error) {
		if err != nil {
			s.cfg.Log.Warn("cannot read the "+what+" again", slog.Any("error", err))
			return
		}
		s.cfg.Log.Info("read the " + what + " again")
	}
}

// Addr is the bound address, "host:port".
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close releases the address of a server that was not run.
func (s *Server) Close() error {
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// URL is where the API is served, without a path.
func (s *Server) URL() string {
	if s.cfg.Certificate != "" {
		return "https://" + s.Addr()
	}
	return "http://" + s.Addr()
}

// Run serves the sources until ctx ends; it returns nil then.
func (s *Server) Run(ctx context.Context, src Sources) error {
	s.prepare(src)
	s.cfg.Log.Info("serving the API", slog.String("url", s.URL()))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.views.run(ctx) })
	g.Go(func() error { return s.watchFiles(ctx) })
	g.Go(func() error { return s.serve(ctx) })
	return g.Wait()
}

// prepare sets what handlers need.
func (s *Server) prepare(src Sources) {
	s.src = src
	s.views, s.survey = newViews(src, s.stats, s.cfg.Log), dataset.NewSurvey(src.DataDir)
	s.timelines = newTimelines(src.DataDir)
}

func (s *Server) serve(ctx context.Context) error {
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ConnState: newConns(s.cfg.Proxies).changed,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		// Streams and exports end with ctx: Shutdown would wait for them.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(bounded) != nil {
			server.Close()
		}
	})
	err := server.Serve(s.listener)
	if !stop() {
		<-stopped
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("API on %s: %w", s.Addr(), err)
	}
	return nil
}

// watchFiles looks at the files of keys and certificate until ctx ends.
func (s *Server) watchFiles(ctx context.Context) error {
	ticker := time.NewTicker(filesPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if s.cfg.KeysFile != "" {
			s.keys.look()
		}
		if s.certificate != nil {
			s.certificate.look()
		}
	}
}
