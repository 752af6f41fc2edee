package consumer

import "github.com/chainbound/valtrack/internal/telemetry"

// NewMetrics registers the consumer's metrics, which are computed from its Stats.
func NewMetrics(reg *telemetry.Registry, stats func() Stats) {
	count := func(name, help string, value func(Stats) uint64) telemetry.Metric[Stats] {
		return telemetry.Counter("valtrack_consumer_"+name, help, func(s Stats) float64 { return float64(value(s)) })
	}
	gauge := func(name, help string, value func(Stats) float64) telemetry.Metric[Stats] {
		return telemetry.Gauge("valtrack_consumer_"+name, help, value)
	}
	telemetry.Register(reg, stats,
		count("events_stored_total", "Events in committed segments.", func(s Stats) uint64 { return s.Stored }),
		count("events_rejected_total", "Events that were invalid.", func(s Stats) uint64 { return s.Rejected }),
		count("duplicates_total", "Messages whose events were already stored.", func(s Stats) uint64 { return s.Duplicates }),
		count("segments_total", "Segments committed.", func(s Stats) uint64 { return s.Segments }),
		count("segment_failures_total", "Segments that could not be written.", func(s Stats) uint64 { return s.Failures }),
		count("parts_merged_total", "Parts merged into others.", func(s Stats) uint64 { return s.Merged }),
		count("parts_removed_total", "Parts removed because of their age.", func(s Stats) uint64 { return s.Removed }),
		gauge("events_waiting", "Events waiting for their segment's commit.", func(s Stats) float64 { return float64(s.Pending) }),
		gauge("lag", "Messages in the stream behind the last one received.", func(s Stats) float64 { return float64(s.Behind) }),
		gauge("last_commit_timestamp_seconds", "Unix time of the newest commit, 0 before the first.", func(s Stats) float64 {
			if s.LastCommit.IsZero() {
				return 0
			}
			return float64(s.LastCommit.UnixMilli()) / 1000
		}),
		telemetry.GaugeBy("valtrack_events_missing", "sentry", "Events neither stored nor rejected whose counters are below those of others of the same boot. Falls when they arrive.", func(s Stats) map[string]uint64 { return s.Missing }),
		telemetry.GaugeBy("valtrack_events_covered", "sentry", "Events of a sentry that are stored, or were removed because of their age.", func(s Stats) map[string]uint64 { return s.Covered }),
	)
}
