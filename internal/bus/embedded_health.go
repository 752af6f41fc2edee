package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// healthPeriod is how often the embedded server is checked, and restartPeriod how often
	// its restart is tried while its disk cannot be written.
	healthPeriod  = time.Second
	restartPeriod = 2 * time.Second
	// probeBytes is what must fit on the disk before a restart: a start writes indexes, and
	// a disk that is full again at once helps nobody.
	probeBytes = 4 << 20
)

// Err is nil while the server can store events, or why it cannot.
func (e *Embedded) Err() error {
	if reason := e.fault.Load(); reason != nil {
		return fmt.Errorf("embedded NATS cannot store events: %s", *reason)
	}
	return nil
}

// watchHealth restarts the server after a write error, until ctx ends.
func (e *Embedded) watchHealth(ctx context.Context) {
	limit := loglimit.Every(logPeriod)
	bad := 0 // checks in a row
	for period := healthPeriod; sleep(ctx, period); {
		reason := e.health()
		if reason == "" {
			period, bad = healthPeriod, 0
			continue
		}
		if bad++; bad == 1 { // such as a stream that is being deleted
			continue
		}
		if e.fault.Swap(&reason) == nil {
			e.log.Error("embedded NATS cannot store events, restarting it when its disk can be written", slog.String("store", e.dir), slog.String("reason", reason))
		}
		period = restartPeriod
		err := e.restart()
		switch {
		case err == nil:
			e.fault.Store(nil)
			e.log.Info("embedded NATS was restarted and stores events again", slog.String("url", e.URL()), slog.String("store", e.dir))
		case limit.Allow():
			e.log.Warn("cannot restart embedded NATS yet", slog.String("store", e.dir), slog.Any("error", err))
		}
	}
}

// health is why the server cannot store events, empty when it can.
func (e *Embedded) health() string {
	e.mu.Lock()
	srv := e.srv
	e.mu.Unlock()
	if srv == nil {
		return "it is stopped"
	}
	return srv.Healthz(&server.HealthzOptions{}).Error
}

// restart stops the server and starts it again, on the same port if that is still free.
// What it had acknowledged and not written, publishers with a spool send again.
func (e *Embedded) restart() error {
	if err := probeDisk(e.dir); err != nil {
		return err
	}
	e.stopServer()
	port := e.port // also after a start that failed
	err := e.start(port)
	if err != nil {
		err = e.start(server.RANDOM_PORT)
		e.port = port
	}
	if err != nil {
		return err
	}
	if reason := e.health(); reason != "" {
		return errors.New(reason)
	}
	return nil
}

// probeDisk writes a file and removes it.
func probeDisk(dir string) (err error) {
	path := filepath.Join(dir, "valtrack.probe")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeBytes))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(path))
}
