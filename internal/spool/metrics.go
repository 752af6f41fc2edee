package spool

import "github.com/chainbound/valtrack/internal/telemetry"

// NewMetrics registers the spool's metrics, which are computed from its Stats.
func NewMetrics(reg *telemetry.Registry, stats func() Stats) {
	telemetry.Register(reg, stats,
		telemetry.Gauge("valtrack_spool_events", "Events that NATS has not acknowledged yet.", func(s Stats) float64 { return float64(s.Events) }),
		telemetry.Gauge("valtrack_spool_bytes", "Size of the spool.", func(s Stats) float64 { return float64(s.Bytes) }),
		telemetry.Gauge("valtrack_spool_held_bytes", "Bytes held in memory because disk writes fail.", func(s Stats) float64 { return float64(s.Held) }),
		telemetry.Counter("valtrack_spool_dropped_total", "Events dropped: the spool was full, or there was space neither on disk nor in memory.", func(s Stats) float64 { return float64(s.Dropped) }),
		telemetry.Counter("valtrack_spool_damaged_total", "Damaged sections of the spool that could not be read.", func(s Stats) float64 { return float64(s.Damaged) }),
	)
}
