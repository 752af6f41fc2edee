package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chainbound/valtrack/internal/telemetry"
)

func notifyingService(t *testing.T) *Service {
	t.Helper()
	svc, err := NewService(ServiceConfig{
		Stderr:      telemetry.NewLogWriter(io.Discard),
		NewLogger:   func(w io.Writer) (*slog.Logger, error) { return slog.New(slog.NewTextHandler(w, nil)), nil },
		StatusEvery: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

// A service that waits counts as started after a while, says what it waits for, and says when
// that has changed.
func TestNotifyReadyAndStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := notifyingService(t)
		var mu sync.Mutex
		var sent []string
		ctx, stop := context.WithCancel(t.Context())
		go svc.notify(ctx, 0, func(state string) {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, state)
		})
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(sent, want) {
				t.Errorf("sent %q, want %q", sent, want)
			}
			sent = nil
		}
		expect("STATUS=not ready: starting")
		svc.ready.set(func() error { return errors.Join(errors.New("no broker"), errors.New("no disk")) })
		time.Sleep(startGrace - time.Millisecond)
		expect("STATUS=not ready: no broker; no disk")
		time.Sleep(time.Millisecond)
		expect("READY=1")
		svc.ready.set(func() error { return nil })
		time.Sleep(time.Minute)
		expect("STATUS=ready")
		stop()
		expect("STOPPING=1\nSTATUS=stopping")
	})
}

// The watchdog is fed in time for as long as all rooms answer, and no longer.
func TestWatchdogFollowsTheRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := notifyingService(t)
		svc.ready.set(func() error { return nil })
		release := make(chan struct{})
		var hangs sync.Once
		var hang atomic.Bool
		telemetry.Register(svc.metrics, func() int {
			if hang.Load() {
				hangs.Do(func() { <-release }) // as a room whose lock is never released
			}
			return 0
		}, telemetry.Gauge("valtrack_test", "A room.", func(int) int { return 0 }))
		const limit = 3 * time.Minute
		last := time.Now()
		var longest time.Duration
		ctx, stop := context.WithCancel(t.Context())
		go svc.notify(ctx, limit, func(state string) {
			if state == "WATCHDOG=1" {
				longest, last = max(longest, time.Since(last)), time.Now()
			}
		})
		time.Sleep(time.Hour)
		if synctest.Wait(); longest > limit/2 || time.Since(last) > limit/2 {
			t.Errorf("fed every %v, with a limit of %v", longest, limit)
		}
		hang.Store(true)
		time.Sleep(2 * limit)
		if synctest.Wait(); time.Since(last) <= limit {
			t.Error("fed while a room hangs")
		}
		stop()
		close(release)
	})
}

// What arrives at the service manager's socket, from the environment of a unit.
func TestNotifySocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Skip(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "60000000")
	read := func() string {
		b := make([]byte, 4096)
		if err := socket.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := socket.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	svc := notifyingService(t)
	err = svc.withStopLimit(t.Context(), time.Second, func(context.Context) error {
		svc.ready.set(func() error { return nil })
		for !strings.HasPrefix(read(), "WATCHDOG=1") {
		}
		return nil
	})
	if got := read(); err != nil || got != "STOPPING=1\nSTATUS=stopping" {
		t.Errorf("%v, last message %q", err, got)
	}
}
