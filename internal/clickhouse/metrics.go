package clickhouse

import "github.com/chainbound/valtrack/internal/telemetry"

// NewMetrics registers the metrics of the copy in ClickHouse.
func NewMetrics(reg *telemetry.Registry, stats func() Stats) {
	telemetry.Register(reg, stats,
		telemetry.Counter("valtrack_clickhouse_rows_total", "Rows inserted and confirmed by a count on the server.", func(s Stats) uint64 { return s.Rows }),
		telemetry.Counter("valtrack_clickhouse_inserts_total", "Inserts of rows.", func(s Stats) uint64 { return s.Inserts }),
		telemetry.Counter("valtrack_clickhouse_failures_total", "Attempts to copy that failed; each is retried.", func(s Stats) uint64 { return s.Failures }),
		telemetry.Counter("valtrack_clickhouse_parts_replaced_total", "Parts whose rows were removed from the server to be inserted again.", func(s Stats) uint64 { return s.Replaced }),
		telemetry.Counter("valtrack_clickhouse_segments_lost_total", "Segments of tables that were damaged, or removed by retention, before they were copied; must be 0.", func(s Stats) uint64 { return s.Lost }),
		telemetry.Gauge("valtrack_clickhouse_segments_behind", "Segments that are committed but not copied yet.", func(s Stats) uint64 { return s.Behind }),
		telemetry.Gauge("valtrack_clickhouse_failing", "1 while the server does not respond or refuses; events are stored meanwhile.", func(s Stats) int {
			if s.Err != nil {
				return 1
			}
			return 0
		}),
		telemetry.Gauge("valtrack_clickhouse_caught_up_timestamp_seconds", "Unix time at which the server last had all rows, 0 before the first.", func(s Stats) float64 {
			if s.CaughtUp.IsZero() {
				return 0
			}
			return float64(s.CaughtUp.UnixMilli()) / 1000
		}),
	)
}
