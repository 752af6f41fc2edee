package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	embeddedHost = "127.0.0.1"
	// embeddedReady limits the start: recovery of a large store reads its index.
	embeddedReady = 30 * time.Second
	// embeddedSync is how often the store is fsynced. A killed process loses nothing,
	// since what it wrote is in the page cache; a power cut loses at most this much.
	embeddedSync = time.Second
	// embeddedMemory limits JetStream's memory store, which we do not use.
	embeddedMemory = 64 << 20
)

// Embedded is a nats-server in this process with a JetStream file store.
type Embedded struct {
	srv  *server.Server
	log  *slog.Logger
	lock *diskio.Lock
	once sync.Once
}

// StartEmbedded starts a server whose store is in dir, which is created if missing. It
// listens on loopback only, on a free port, so that the nats command line tool can
// connect. It installs no signal handlers. Close it.
func StartEmbedded(dir string, log *slog.Logger) (*Embedded, error) {
	return startEmbedded(dir, log)
}

func startEmbedded(dir string, log *slog.Logger, opts ...func(*server.Options)) (*Embedded, error) {
	lock, err := lockStore(dir)
	if err != nil {
		return nil, err
	}
	o := &server.Options{
		ServerName:         "valtrack",
		Host:               embeddedHost,
		Port:               server.RANDOM_PORT,
		JetStream:          true,
		StoreDir:           dir,
		SyncInterval:       embeddedSync,
		JetStreamMaxMemory: embeddedMemory,
		NoSigs:             true,
	}
	for _, opt := range opts {
		opt(o)
	}
	e := &Embedded{lock: lock, log: log}
	if e.srv, err = server.NewServer(o); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded NATS in %s: %w", dir, err), lock.Close())
	}
	logger := &serverLogger{log: log}
	e.srv.SetLoggerV2(logger, false, false, false)
	e.srv.Start()
	if !logger.failed() && e.srv.ReadyForConnections(embeddedReady) && !logger.failed() {
		log.Info("embedded NATS is ready", slog.String("url", e.URL()), slog.String("store", dir))
		return e, nil
	}
	reason := logger.reason()
	e.Close()
	return nil, fmt.Errorf("embedded NATS in %s: %s", dir, reason)
}

// URL is the address of the loopback listener.
func (e *Embedded) URL() string { return e.srv.ClientURL() }

// Close stops the server, waits for it and releases the store. Close
// connections to it first. Calling it again does nothing.
func (e *Embedded) Close() {
	e.once.Do(func() {
		e.srv.Shutdown()
		e.srv.WaitForShutdown()
		if err := e.lock.Close(); err != nil {
			e.log.Warn("close the JetStream store", slog.Any("error", err))
		}
	})
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
