package cli

import (
	"context"
	"log/slog"
	"testing"
)

// A consumer that has ended gets nothing any more: its broker is not asked.
func TestDrainEndsWithTheConsumer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	(&storage{}).drain(ctx, slog.New(slog.DiscardHandler)) // has no broker
}
