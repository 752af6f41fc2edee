package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/telemetry"
)

// Times of a consumer that stands by.
const (
	standByPoll   = 500 * time.Millisecond
	standByRemind = 10 * time.Minute
)

// standBy locks the datasets, waiting while another process writes them; the kernel
// releases the lock when that one ends, however it ends. It ends with ctx's error.
func (s *Service) standBy(ctx context.Context, dataDir string) (*dataset.Lock, error) {
	var reminded time.Time
	for {
		lock, err := dataset.TakeLock(dataDir)
		if !errors.Is(err, dataset.ErrLocked) {
			if err == nil && !reminded.IsZero() {
				s.log.Info("the other consumer has stopped, taking over", slog.String("data_dir", dataDir))
			}
			return lock, AsConfigError(err)
		}
		if time.Since(reminded) > standByRemind {
			s.log.Warn("standing by: another process is writing to the data directory", slog.String("data_dir", dataDir), slog.Any("reason", err))
			reminded = time.Now()
			s.ready.setReason("standing by: " + err.Error())
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(standByPoll):
		}
	}
}

// standByForDurable reports that another process owns the durable, and what to do when
// both are meant to run: two that share one would each get only some of the events.
func (s *Service) standByForDurable(durable, owner string) {
	reason := fmt.Sprintf("durable %s is consumed by %s: stop it, or give each its own --%s (without it, the name is derived from %s in the data directory, which must not be copied)", durable, owner, OptName, consumerIDFile)
	s.log.Warn("standing by: another process is consuming the durable", slog.String("durable", durable), slog.String("reason", reason))
	s.ready.setReason("standing by: " + reason)
}

// awaitAddress listens at the address that another consumer had until now: two in one
// data directory may have the same options.
func (s *Service) awaitAddress(ctx context.Context) (*telemetry.Server, error) {
	for until := time.Now().Add(stopLimit); ; {
		server, err := s.listen()
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(until) {
			return server, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(standByPoll):
		}
	}
}

// ownName is how a consumer that stands by names the owner of its durable.
func ownName(dataDir string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	if abs, err := filepath.Abs(dataDir); err == nil {
		dataDir = abs
	}
	return fmt.Sprintf("process %d on %s, which writes %s", os.Getpid(), host, dataDir)
}
