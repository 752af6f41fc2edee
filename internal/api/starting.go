package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Starting answers until ctx ends, while there is nothing to Run with yet: /livez is 200,
// everything else 503, with the reason for those who have a key of scope full. The address
// stays bound, for Run.
func (s *Server) Starting(ctx context.Context, reason func() error) error {
	server := &http.Server{
		Handler: s.outer(s.startingHandler(reason)), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ConnState: newConns(s.cfg.Proxies).changed, ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	server.SetKeepAlivesEnabled(false) // connections would be closed when Run begins
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(bounded) != nil {
			server.Close()
		}
	})
	err := server.Serve(keptListener{s.listener, s.tcp})
	if !stop() {
		<-stopped
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("API on %s: %w", s.Addr(), err)
	}
	return s.tcp.SetDeadline(time.Time{})
}

func (s *Server) startingHandler(reason func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/livez" {
			w.Header().Set("Content-Type", typeText)
			fmt.Fprintln(w, "ok")
			return
		}
		// Before the key: who guesses at one is limited too.
		if limited := s.limits.allow(client{addr: clientAddr(r, s.cfg.Proxies)}); limited != nil {
			limited.write(w)
			return
		}
		p := newProblem(http.StatusServiceUnavailable, "starting: the data is being opened, or upgraded to this version (see the log)")
		p.retryAfter = 2
		if who, problem := s.keys.caller(r); problem == nil && who.full {
			if err := reason(); err != nil {
				p.Detail = "starting: " + err.Error()
			}
		}
		p.write(w)
	})
}

// keptListener stays open when a server closes it.
type keptListener struct {
	net.Listener
	tcp *net.TCPListener
}

// Close ends a waiting Accept.
func (l keptListener) Close() error { return l.tcp.SetDeadline(time.Now()) }
