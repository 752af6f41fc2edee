package bus

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// noPlace is the answer of a cluster that has no place for a stream, for the reason.
func noPlace(reason string) error {
	return &jetstream.APIError{Code: 400, ErrorCode: codeNoPeers, Description: "no suitable peers for placement" + reason}
}

// placer is a cluster that places streams as the function says.
type placer struct {
	jetstream.JetStream
	place func(jetstream.StreamConfig) error
}

func (p placer) Stream(context.Context, string) (jetstream.Stream, error) {
	return nil, jetstream.ErrStreamNotFound
}

func (p placer) CreateStream(_ context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	if err := p.place(cfg); err != nil {
		return nil, err
	}
	return placed{cfg: cfg}, nil
}

type placed struct {
	jetstream.Stream
	cfg jetstream.StreamConfig
}

func (p placed) CachedInfo() *jetstream.StreamInfo { return &jetstream.StreamInfo{Config: p.cfg} }

// A cluster whose servers have less room than we ask for gets a smaller stream; while it
// forms, or has too few servers, it keeps being asked for the whole one, and the log says what
// is missing.
func TestPlacementInACluster(t *testing.T) {
	const short = ", insufficient storage"
	for _, c := range []struct {
		name  string
		place func(after time.Duration, bytes int64) error
		want  int64 // MaxBytes of the stream; 0: none within a minute
	}{
		{"a server with 1.5 GiB", func(_ time.Duration, bytes int64) error {
			if bytes > 3<<29 {
				return noPlace(short)
			}
			return nil
		}, 1 << 30},
		{"forming", func(after time.Duration, _ int64) error {
			switch {
			case after < 2*time.Second:
				return noPlace("")
			case after < 10*time.Second:
				return noPlace(short) // sizes are not known yet
			}
			return nil
		}, streamMaxBytes},
		{"forming by and by", func(after time.Duration, _ int64) error {
			switch {
			case after < 8*time.Second || after > 9*time.Second && after < 17*time.Second:
				return noPlace(short)
			case after < 20*time.Second:
				return noPlace(", peer offline")
			}
			return nil
		}, streamMaxBytes},
		{"two servers", func(time.Duration, int64) error { return noPlace(", peer offline") }, 0},
		{"full disks", func(time.Duration, int64) error { return noPlace(short) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				start := time.Now()
				js := placer{place: func(cfg jetstream.StreamConfig) error { return c.place(time.Since(start), cfg.MaxBytes) }}
				conn := &Conn{js: js, log: slog.New(slog.NewTextHandler(&log, nil)), stream: event.Stream, replicas: 3}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				s, err := conn.findStream(ctx)
				switch {
				case c.want == 0:
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("error %v", err)
					}
				case err != nil:
					t.Error(err)
				case s.CachedInfo().Config.MaxBytes != c.want:
					t.Errorf("%d bytes, want %d", s.CachedInfo().Config.MaxBytes, c.want)
				}
				if !strings.Contains(log.String(), "no room for the stream") || !strings.Contains(log.String(), "3 servers") || strings.Contains(log.String(), "does not respond") {
					t.Errorf("log %s", &log)
				}
			})
		})
	}
}
