package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/sentry"
	"github.com/chainbound/valtrack/internal/spool"
)

// Flags of the sentry's spool.
const (
	flagSpoolSize        = "spool-size"
	flagWithoutConsumers = "publish-without-consumers"
	defaultSpoolSize     = "1GiB"
)

// drainTimeout bounds how long a stopping sentry goes on publishing: what is left
// is in the spool, and goes with the next start.
const drainTimeout = 3 * time.Second

func spoolFlags() []cli.Flag {
	return []cli.Flag{
		text(flagSpoolSize, defaultSpoolSize, "maximum disk space for events that NATS has not accepted yet; then the oldest are dropped"),
		toggle(flagWithoutConsumers, "publish also while the stream has no consumer, which drops what is published"),
	}
}

// spoolConfig checks the spool's flags. Errors are usageErrors.
func (in invocation) spoolConfig(cfg *sentryConfig) error {
	cfg.withoutConsumers = in.cmd.Bool(flagWithoutConsumers)
	value := in.cmd.String(flagSpoolSize)
	size, err := parseSize(value)
	if err != nil {
		return usagef("--%s %q: %w", flagSpoolSize, value, err)
	}
	if size < spool.MinSize {
		return usagef("--%s %q: want at least %d MiB", flagSpoolSize, value, spool.MinSize>>20)
	}
	cfg.spoolSize = size
	return nil
}

// parseSize reads a number of bytes, such as 64MiB, 1.5 GiB or 1000000.
func parseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "BKMGTi ")
	unit, ok := map[string]float64{
		"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
		"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	}[strings.TrimSpace(text[len(number):])]
	n, err := strconv.ParseFloat(number, 64)
	if n *= unit; err != nil || !ok || !(n >= 0 && n < math.MaxInt64) {
		return 0, fmt.Errorf("want a number of bytes, such as 512MiB or 1GiB")
	}
	return int64(n), nil
}

// spooled takes the sentry's events into the spool in the data directory, from where
// they are published to NATS.
type spooled struct {
	*spool.Spool
	publisher *bus.Publisher
}

// Close closes the spool, too.
func (s spooled) Close(ctx context.Context) error { return s.publisher.Close(ctx) }

// openPublisher does not wait for the server.
func openPublisher(cfg sentryConfig, id sentry.Identity, conn *bus.Conn, svc *service) (sink, error) {
	queue, err := spool.Open(spool.Config{
		Dir: filepath.Join(cfg.dataDir, "spool"), Sentry: id.ID, Boot: id.Boot, MaxBytes: cfg.spoolSize, Log: svc.log,
	})
	if err != nil {
		return nil, asUsage(err)
	}
	p, err := bus.NewPublisher(conn, bus.PublisherConfig{
		Queue: queue, Added: queue.Added(), Mark: queue.Mark(), WithoutConsumers: cfg.withoutConsumers,
	})
	if err != nil {
		return nil, errors.Join(err, queue.Close())
	}
	svc.metrics.MustRegister(spoolCollector{queue.Stats, p.Stats})
	return spooled{queue, p}, nil
}

// flush waits until everything published has left, within a bound of its own:
// ctx has ended by then.
func flush(ctx context.Context, events interface{ Close(context.Context) error }) error {
	bounded, cancel := after(ctx, drainTimeout)
	defer cancel()
	start := time.Now()
	if err := events.Close(bounded); err != nil {
		return fmt.Errorf("flush events (%v): %w", time.Since(start).Round(time.Millisecond), err)
	}
	return nil
}

// waiting is the spool's part of the status line; log files have none.
func waiting(events sink) []slog.Attr {
	if s, ok := events.(spooled); ok {
		return []slog.Attr{slog.Int("spooled", s.Stats().Events)}
	}
	return nil
}

// spoolCollector turns the counters of spool and publisher into metrics.
type spoolCollector struct {
	spool     func() spool.Stats
	publisher func() bus.PublisherStats
}

// Describe sends nothing, as crawlCollector's.
func (spoolCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c spoolCollector) Collect(out chan<- prometheus.Metric) {
	s, p := c.spool(), c.publisher()
	m := metrics{out, "valtrack_spool_"}
	m.gauge("events", "Events that NATS has not acknowledged yet.", float64(s.Events))
	m.gauge("bytes", "Bytes of the spool.", float64(s.Bytes))
	m.gauge("held_bytes", "Bytes that wait in memory because writes fail.", float64(s.Held))
	m.count("dropped_total", "Events dropped: the spool was full, or writes failed and the memory was full.", s.Dropped)
	m.count("damaged_total", "Places of the spool that could not be read.", s.Damaged)
	age := 0.0
	if !p.Oldest.IsZero() {
		age = max(0, time.Since(p.Oldest).Seconds())
	}
	m.gauge("oldest_seconds", "Age of the oldest event that NATS has not acknowledged yet.", age)
	m = metrics{out, "valtrack_publisher_"}
	m.count("acknowledged_total", "Events that NATS has acknowledged.", p.Published)
	m.count("retried_total", "Events sent once more after a failure.", p.Retried)
	m.count("duplicates_total", "Events that NATS knew already.", p.Duplicates)
	m.count("oversized_total", "Events dropped because they are larger than NATS accepts.", p.Dropped)
	m.count("rewinds_total", "Times that kept events were sent again, as NATS had restarted or had an older store.", p.Rewinds)
	held := 0.0
	if p.Held {
		held = 1
	}
	m.gauge("no_consumer", "1 while nothing is published because the stream has no consumer.", held)
}
