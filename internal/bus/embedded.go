package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/chainbound/valtrack/internal/diskio"
)

const (
	// embeddedReady limits the start: recovery of a large store reads its index.
	embeddedReady = 30 * time.Second
	// embeddedSync is how often the store is fsynced. A killed process loses nothing,
	// since what it wrote is in the page cache; a power cut loses at most this much.
	embeddedSync = time.Second
	// disconnectTimeout bounds the disconnection of clients before a shutdown.
	disconnectTimeout = time.Second
	// embeddedMemory limits JetStream's memory store, which we do not use.
	embeddedMemory = 64 << 20
)

// errRestarting refuses connections while the embedded server is stopped.
var errRestarting = errors.New("embedded NATS is restarting")

// Embedded is a nats-server in this process with a JetStream file store. It does not
// listen anywhere: only this process can connect. After a write error nats-server never
// writes to a stream again, so this one is then restarted, as soon as its disk can be
// written.
type Embedded struct {
	dir   string
	log   *slog.Logger
	lock  *diskio.Lock
	opts  []func(*server.Options)
	stop  context.CancelFunc
	watch sync.WaitGroup
	once  sync.Once
	fault atomic.Pointer[string] // why nothing can be stored; nil when it can

	mu  sync.Mutex
	srv *server.Server // nil while it is stopped
}

// StartEmbedded starts a server whose store is in dir, which is created if missing. It
// installs no signal handlers. Close it.
func StartEmbedded(dir string, log *slog.Logger) (*Embedded, error) {
	return startEmbedded(dir, log)
}

func startEmbedded(dir string, log *slog.Logger, opts ...func(*server.Options)) (*Embedded, error) {
	lock, err := lockStore(dir)
	if err != nil {
		return nil, err
	}
	e := &Embedded{dir: dir, log: log, lock: lock, opts: opts}
	if err := e.start(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	log.Info("embedded NATS is ready", slog.String("store", dir))
	ctx, stop := context.WithCancel(context.Background()) // Close ends it
	e.stop = stop
	e.watch.Go(func() { e.watchHealth(ctx) })
	return e, nil
}

// start begins a run of the server.
func (e *Embedded) start() error {
	o := &server.Options{
		ServerName:         "valtrack",
		DontListen:         true,
		JetStream:          true,
		StoreDir:           e.dir,
		SyncInterval:       embeddedSync,
		JetStreamMaxMemory: embeddedMemory,
		NoSigs:             true,
	}
	for _, opt := range e.opts {
		opt(o)
	}
	srv, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("embedded NATS in %s: %w", e.dir, err)
	}
	logger := &serverLogger{log: e.log}
	srv.SetLoggerV2(logger, false, false, false)
	srv.Start()
	if logger.failed() || !srv.ReadyForConnections(embeddedReady) || logger.failed() {
		shutDown(srv)
		return fmt.Errorf("embedded NATS in %s: %s", e.dir, logger.reason())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.srv = srv
	return nil
}

// InProcessConn connects to the server without the network.
func (e *Embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.srv == nil {
		return nil, errRestarting
	}
	return e.srv.InProcessConn()
}

// Close stops the server, waits for it and releases the store. Close
// connections to it first. Calling it again does nothing.
func (e *Embedded) Close() {
	e.once.Do(func() {
		e.stop()
		e.watch.Wait()
		e.stopServer()
		if err := e.lock.Close(); err != nil {
			e.log.Warn("close the JetStream store", slog.Any("error", err))
		}
	})
}

// stopServer ends the server's run.
func (e *Embedded) stopServer() {
	e.mu.Lock()
	srv := e.srv
	e.srv = nil
	e.mu.Unlock()
	if srv != nil {
		shutDown(srv)
	}
}

// shutDown ends a server. It disconnects the clients first, since nats-server stops
// JetStream before it does: a stream that a client makes in between would never be closed,
// and would write to the store beside the next run.
//
// Goroutines of the server's streams may go on for a moment after WaitForShutdown, but
// write nothing: each write looks whether its stream or store is closed, under the lock
// under which Shutdown has closed them.
func shutDown(srv *server.Server) {
	for deadline := time.Now().Add(disconnectTimeout); srv.NumClients() > 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		clients, err := srv.Connz(nil)
		if err != nil {
			break
		}
		for _, c := range clients.Conns {
			_ = srv.DisconnectClientByID(c.Cid) // an error says that it has gone
		}
	}
	srv.Shutdown()
	srv.WaitForShutdown()
}

// lockStore creates dir and locks it: nats-server itself lets two processes write one
// store.
func lockStore(dir string) (*diskio.Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("JetStream store %s: %w", dir, err)
	}
	lock, err := diskio.TakeLock(filepath.Join(dir, "valtrack.lock"))
	if err != nil {
		return nil, fmt.Errorf("JetStream store %s: %w", dir, err)
	}
	return lock, nil
}

// serverLogger forwards the server's log, its notices at debug level only. The first
// fatal line is why a start failed.
type serverLogger struct {
	log   *slog.Logger
	fatal atomic.Pointer[string]
}

func (l *serverLogger) Noticef(format string, v ...any) { l.forward(slog.LevelDebug, format, v) }
func (l *serverLogger) Debugf(format string, v ...any)  { l.forward(slog.LevelDebug, format, v) }
func (l *serverLogger) Tracef(format string, v ...any)  { l.forward(slog.LevelDebug, format, v) }
func (l *serverLogger) Warnf(format string, v ...any)   { l.forward(slog.LevelWarn, format, v) }
func (l *serverLogger) Errorf(format string, v ...any)  { l.forward(slog.LevelError, format, v) }

func (l *serverLogger) forward(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, "nats-server", slog.String("line", line(format, v)))
}

func (l *serverLogger) Fatalf(format string, v ...any) {
	reason := line(format, v)
	l.fatal.CompareAndSwap(nil, &reason)
}

func (l *serverLogger) failed() bool { return l.fatal.Load() != nil }

func (l *serverLogger) reason() string {
	if reason := l.fatal.Load(); reason != nil {
		return *reason
	}
	return fmt.Sprintf("not ready after %v", embeddedReady)
}

func line(format string, v []any) string { return strings.TrimSpace(fmt.Sprintf(format, v...)) }
