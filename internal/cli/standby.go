package cli

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
)

// Times of a consumer that stands by.
const (
	standByPoll   = 500 * time.Millisecond
	standByRemind = 10 * time.Minute
)

// standBy is lockDatasets for a consumer that waits while another writes the
// directory; the lock falls when that one ends, however it ends. The lock is nil
// when ctx ends first.
func (s *service) standBy(ctx context.Context, cfg consumerConfig) (*dataset.Lock, error) {
	log := s.log
	defer s.standingBy.Store(nil)
	var told time.Time
	for {
		lock, err := lockDatasets(cfg)
		if !errors.Is(err, dataset.ErrLocked) {
			if err == nil && !told.IsZero() {
				log.Info("the other consumer has ended, taking over", slog.String("data_dir", cfg.dataDir))
			}
			return lock, err
		}
		if time.Since(told) > standByRemind {
			log.Warn("standing by: another process writes the data directory", slog.String("data_dir", cfg.dataDir), slog.Any("reason", err))
			told = time.Now()
			reason := "standing by: " + err.Error()
			s.standingBy.Store(&reason)
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(standByPoll):
		}
	}
}

// awaitAddress listens at the address that another consumer had until now: two of
// one --data-dir may have the same options.
func (s *service) awaitAddress(ctx context.Context) error {
	for until := time.Now().Add(stopLimit); ; {
		server, err := s.listen()
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(until) {
			s.server = server
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(standByPoll):
		}
	}
}

// ownName tells a consumer that stands by who has its durable.
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

// standByFor tells that another process has the durable, and what to do when both
// are to run: two that share one would have a part of the events each.
func (s *service) standByFor(durable string) func(string) {
	return func(owner string) {
		reason := fmt.Sprintf("durable %s is consumed by %s: stop it, or give each a --%s of its own (without one, it comes from %s in the data directory, which a copy must not have)", durable, owner, flagName, consumerIDFile)
		s.log.Warn("standing by: another process consumes the durable", slog.String("durable", durable), slog.String("reason", reason))
		reason = "standing by: " + reason
		s.standingBy.Store(&reason)
	}
}
