package app

import (
	"context"
	"log/slog"

	"github.com/chainbound/valtrack/internal/clickhouse"
)

// openCopy makes what copies the datasets to ClickHouse, unless that is not wanted. source is the
// durable, which names the data directory. The consumer's id tells two directories of one name
// apart. Errors that the user can fix are ConfigErrors.
func (d *datasets) openCopy(cfg clickhouse.Config, source string, svc *Service) (err error) {
	if cfg.URL == "" {
		return nil
	}
	id, err := consumerID(d.writer.Dir())
	if err != nil {
		return err
	}
	if d.copy, err = clickhouse.New(cfg, d.writer, source, id, svc.log); err != nil {
		return ConfigErrorf("--%s: %w", OptClickHouse, err)
	}
	svc.storing.copy.Store(d.copy)
	svc.storing.register("clickhouse", func() {
		clickhouse.NewMetrics(svc.metrics, func() clickhouse.Stats { return svc.storing.copy.Load().Stats() })
	})
	return nil
}

// runCopy copies until ctx ends.
func (d *datasets) runCopy(ctx context.Context) error {
	if d.copy == nil {
		return nil
	}
	return d.copy.Run(ctx)
}

// copyFigures is the copy's part of the status line.
func (d *datasets) copyFigures() []slog.Attr {
	if d.copy == nil {
		return nil
	}
	stats := d.copy.Stats()
	attrs := []slog.Attr{slog.Uint64("clickhouse_behind", stats.Behind)}
	if stats.Err != nil {
		attrs = append(attrs, slog.Bool("clickhouse_failing", true))
	}
	return attrs
}
