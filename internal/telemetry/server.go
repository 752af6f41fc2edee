package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// headerTimeout ends connections that send no request, idleTimeout those that send no
	// other one, writeTimeout those that do not read the answer; profileTimeout is in its
	// place where profiles are served, which take as long as was asked for.
	headerTimeout  = 5 * time.Second
	idleTimeout    = 30 * time.Second
	writeTimeout   = 10 * time.Second
	profileTimeout = 2 * time.Minute
	// maxConnections bounds the open connections. Another one takes the place of an idle
	// one, and is closed when there is none.
	maxConnections = 64
	// maxScrapes bounds the scrapes that are computed at one time.
	maxScrapes = 4
	// maxHeader bounds the header of a request, bytes.
	maxHeader = 16 << 10
	// shutdownTimeout bounds how long a running scrape may delay the stop.
	shutdownTimeout = 2 * time.Second
)

// Server answers /metrics, /livez, /readyz and, when asked for, /debug/pprof/ on an address
// of its own, apart from any public one. It has no password, and answers whatever name it
// is called by (Host): nothing that it serves is secret, or changes anything.
type Server struct {
	listener net.Listener
	http     *http.Server
	log      *slog.Logger
}

// Listen binds addr ("host:port"; port 0 takes any free one). ready is called at
// each /readyz: nil answers 200, an error 503 with its text. profiles adds /debug/pprof/.
// Close or Run must follow.
func Listen(addr string, reg *Registry, ready func() error, profiles bool, log *slog.Logger) (*Server, error) {
	l, err := net.Listen("tcp", addr) //nolint:noctx // binding does not wait for anything
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, MaxRequestsInFlight: maxScrapes}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	s := &Server{listener: l, log: log, http: &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: writeTimeout,
		MaxHeaderBytes: maxHeader, ConnState: NewConnLimit(maxConnections).Changed,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	if profiles {
		// No /debug/pprof/cmdline: arguments may hold passwords.
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		s.http.WriteTimeout = profileTimeout
	}
	return s, nil
}

// Addr is the bound address, "host:port".
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close releases the address of a server that was not run.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx ends and then closes the listener; it returns nil then.
func (s *Server) Run(ctx context.Context) error {
	s.log.Info("serving metrics", slog.String("address", s.Addr()))
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		// ctx has ended: the stop needs its own, bounded one.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if s.http.Shutdown(bounded) != nil {
			s.http.Close() // a profile that takes longer is cut off
		}
	})
	err := s.http.Serve(s.listener)
	if !stop() {
		<-stopped
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics on %s: %w", s.Addr(), err)
	}
	return nil
}
