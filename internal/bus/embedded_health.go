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
	// its restart is tried while its disk cannot be written. After three restarts that did
	// not help, or not for long, the pauses double up to restartMax.
	healthPeriod  = time.Second
	restartPeriod = 2 * time.Second
	restartMax    = time.Minute
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
	var tries restarts
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
			e.log.Error("embedded NATS cannot store events; it will be restarted once its disk is writable", slog.String("store", e.dir), slog.String("reason", reason))
		}
		period = restartPeriod
		err := probeDisk(e.dir)
		if err == nil { // only a restart that did not help is tried more rarely
			err = e.restart()
			period = tries.next(time.Now())
		}
		switch {
		case err == nil:
			e.fault.Store(nil)
			e.log.Info("restarted embedded NATS, events are stored again", slog.String("store", e.dir))
		case period > restartPeriod:
			advice := fmt.Sprintf("%v; restarts do not help, the next one is in %v: stop, and restore or move away %s, whose events are then lost unless the spool has them", err, period, e.dir)
			e.fault.Store(&advice)
			e.log.Error("embedded NATS cannot be restarted", slog.String("store", e.dir), slog.Duration("retry_in", period), slog.Any("error", err))
		case limit.Allow():
			e.log.Warn("cannot restart embedded NATS yet", slog.String("store", e.dir), slog.Any("error", err))
		}
	}
}

// restarts are those that followed each other closely: they do not help.
type restarts struct {
	last  time.Time
	count int
}

// next counts a restart, and returns the time until the one after it.
func (r *restarts) next(now time.Time) time.Duration {
	if now.Sub(r.last) > 2*restartMax {
		r.count = 0
	}
	r.last = now
	r.count++
	return min(restartPeriod<<max(0, r.count-3), restartMax)
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

// restart stops the server and starts it again. What it had acknowledged and not written,
// publishers with a spool send again.
func (e *Embedded) restart() error {
	e.stopServer()
	if err := e.start(); err != nil {
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
