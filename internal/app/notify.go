package app

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	// notifyEvery is how often the service manager gets a status that has changed.
	notifyEvery = time.Second
	// startGrace is when a service that is not ready yet, because it waits for NATS, for
	// another process or for a migration, counts as started: it does its part, and
	// starting it again would not help. An error of its configuration shows before that.
	startGrace = 5 * time.Second
)

// whileNotifying runs work and reports to the service manager, if there is one, how it does.
func (s *Service) whileNotifying(ctx context.Context, work func(context.Context) error) error {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return work(ctx)
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn("not using the service manager's watchdog", slog.Any("error", err))
	}
	send := func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			s.log.Debug("cannot notify the service manager", slog.Any("error", err))
		}
	}
	ctx, stop := context.WithCancel(ctx)
	var reporting sync.WaitGroup
	reporting.Go(func() { s.notify(ctx, watchdog, send) })
	defer reporting.Wait()
	defer stop()
	return work(ctx)
}

// notify sends what sd_notify(3) describes until ctx ends: READY=1 when the service is ready or
// startGrace has passed, the answer of /readyz as STATUS, and WATCHDOG=1, unless watchdog is 0,
// for as long as every room answers: the service manager restarts a process in which one hangs.
func (s *Service) notify(ctx context.Context, watchdog time.Duration, send func(state string)) {
	ticker := time.NewTicker(notifyEvery)
	defer ticker.Stop()
	var began, fed = time.Now(), time.Time{}
	started, said := false, ""
	for {
		status := "ready"
		reason := s.ready.err()
		if reason != nil {
			status = "not ready: " + strings.ReplaceAll(reason.Error(), "\n", "; ")
		}
		if status != said {
			send("STATUS=" + status)
			said = status
		}
		if !started && (reason == nil || time.Since(began) >= startGrace) {
			send(daemon.SdNotifyReady)
			started = true
		}
		if watchdog > 0 && time.Since(fed) >= watchdog/4 {
			s.awaitRooms()
			send(daemon.SdNotifyWatchdog)
			fed = time.Now()
		}
		select {
		case <-ctx.Done():
			send(daemon.SdNotifyStopping + "\nSTATUS=stopping")
			return
		case <-ticker.C:
		}
	}
}

// awaitRooms collects the metrics of all rooms, for which each takes its locks: it does not return
// while one of them hangs.
func (s *Service) awaitRooms() {
	if _, err := s.metrics.Gather(); err != nil {
		s.log.Warn("collect metrics", slog.Any("error", err))
	}
}
