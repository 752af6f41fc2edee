package app

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

// A stop that hangs, as on a disk that does not respond, still ends with success;
// the work keeps its locks until the process ends.
func TestStopEndsWhateverHangs(t *testing.T) {
	s := &Service{log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	release, ended := make(chan struct{}), make(chan struct{})
	err := s.withStopLimit(ctx, time.Millisecond, func(context.Context) error {
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
	if err := s.withStopLimit(t.Context(), time.Millisecond, func(context.Context) error { return bad }); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
}
