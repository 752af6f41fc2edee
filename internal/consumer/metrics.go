package consumer

import "github.com/chainbound/valtrack/internal/telemetry"

// NewMetrics registers the consumer's metrics, which are computed from its Stats.
func NewMetrics(reg *telemetry.Registry, stats func() Stats) {
	telemetry.Register(reg, stats,
		telemetry.Counter("valtrack_consumer_events_stored_total", "Events in committed segments.", func(s Stats) uint64 { return s.Stored }),
		telemetry.Counter("valtrack_consumer_events_rejected_total", "Events that were invalid or belonged to another network.", func(s Stats) uint64 { return s.Rejected }),
		telemetry.Counter("valtrack_consumer_events_other_network_total", "Rejected events that belonged to another network than the data directory's.", func(s Stats) uint64 { return s.OtherNetwork }),
		telemetry.Counter("valtrack_consumer_events_not_kept_total", "Rejected events of other networks that were not kept because rejected_events.ndjson is full.", func(s Stats) uint64 { return s.NotKept }),
		telemetry.Counter("valtrack_consumer_events_excluded_total", "Messages about nodes in the --exclude file, which were acknowledged and not stored.", func(s Stats) uint64 { return s.Excluded }),
		telemetry.Counter("valtrack_consumer_duplicates_total", "Messages whose events were already stored.", func(s Stats) uint64 { return s.Duplicates }),
		telemetry.Counter("valtrack_consumer_key_conflicts_total", "Messages whose content differs from what is stored under their key; each version is kept once with the rejected events.", func(s Stats) uint64 { return s.Conflicts }),
		telemetry.Counter("valtrack_consumer_segments_total", "Segments committed.", func(s Stats) uint64 { return s.Segments }),
		telemetry.Counter("valtrack_consumer_segment_failures_total", "Segments that could not be written.", func(s Stats) uint64 { return s.Failures }),
		telemetry.Counter("valtrack_consumer_parts_merged_total", "Parts merged into others.", func(s Stats) uint64 { return s.Merged }),
		telemetry.Counter("valtrack_consumer_parts_removed_total", "Parts removed because of their age.", func(s Stats) uint64 { return s.Removed }),
		telemetry.Gauge("valtrack_consumer_events_waiting", "Events waiting for their segment's commit.", func(s Stats) int { return s.Pending }),
		telemetry.Gauge("valtrack_consumer_last_commit_timestamp_seconds", "Unix time of the newest commit, 0 before the first.", func(s Stats) float64 {
			if s.LastCommit.IsZero() {
				return 0
			}
			return float64(s.LastCommit.UnixMilli()) / 1000
		}),
		telemetry.Gauge("valtrack_consumer_estimates_behind", "1 while the database of estimates cannot be opened or written; events are stored without it.", func(s Stats) int { return oneIf(s.Estimates != nil) }),
		telemetry.Gauge("valtrack_consumer_stopped", "1 while the consumer has stopped but its process continues, as 'valtrack run' does, until it can be reopened.", func(s Stats) int { return oneIf(s.Stopped != nil) }),
		telemetry.CounterBy("valtrack_consumer_clock_errors_total", "sentry", "Events whose times were impossible, or whose sentry measured its clock to be off by minutes; stored, but not used for estimates.", func(s Stats) map[string]uint64 { return s.ClockErrors }),
		telemetry.CounterBy("valtrack_consumer_places_total", "place", "Handshakes by whether the location of their address is known: known, unknown, or private (which has none).", func(s Stats) map[string]uint64 { return s.Places }),
		telemetry.GaugeBy("valtrack_events_missing", "sentry", "Events neither stored nor rejected whose counters are below those of others of the same boot. Falls when they arrive.", func(s Stats) map[string]uint64 { return s.Missing }),
		telemetry.GaugeBy("valtrack_events_covered", "sentry", "Events of a sentry that are stored, or were removed because of their age.", func(s Stats) map[string]uint64 { return s.Covered }),
	)
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
