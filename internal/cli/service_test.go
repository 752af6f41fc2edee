package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"
)

// A stop that hangs, as on a disk that does not answer, ends all the same and well;
// the work goes on holding its locks until the process ends.
func TestStopEndsWhateverHangs(t *testing.T) {
	s := &service{log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	release, ended := make(chan struct{}), make(chan struct{})
	err := s.runWithin(ctx, time.Millisecond, func(context.Context) error {
		defer close(ended)
		cancel()
		<-release
		return errors.New("too late")
	})
	if err != nil {
		t.Error(err)
	}
	close(release)
	<-ended
	bad := errors.New("bad")
	if err := s.runWithin(t.Context(), time.Millisecond, func(context.Context) error { return bad }); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
}

// A full disk is nobody's mistake: a supervisor is to try again.
func TestExitCodeOfAFullDisk(t *testing.T) {
	for want, err := range map[int]error{
		exitFailed: usagef("--data-dir: %w", fmt.Errorf("write: %w", syscall.ENOSPC)),
		exitUsage:  usagef("--data-dir: %w", syscall.EACCES),
	} {
		if got := ExitCode(err); got != want {
			t.Errorf("%v: exit code %d, want %d", err, got, want)
		}
	}
}
