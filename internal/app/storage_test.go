package app

import (
	"context"
	"log/slog"
	"testing"
)

// A consumer that has ended gets nothing any more: its broker is not asked.
func TestDrainEndsWithTheConsumer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	(&storage{log: slog.New(slog.DiscardHandler)}).drain(ctx) // has no broker
}
