package mirror

import "github.com/chainbound/valtrack/internal/telemetry"

// NewMetrics registers a Mirror's metrics, which are computed from its Stats.
func NewMetrics(reg *telemetry.Registry, stats func() Stats) {
	telemetry.Register(reg, stats,
		telemetry.Gauge("valtrack_mirror_parts", "Parts in the object store, by its manifest.", func(s Stats) int { return s.Parts }),
		telemetry.Gauge("valtrack_mirror_bytes", "Bytes of these parts.", func(s Stats) int64 { return s.Bytes }),
		telemetry.Gauge("valtrack_mirror_rows", "Rows in these parts.", func(s Stats) int64 { return s.Rows }),
		telemetry.Gauge("valtrack_mirror_parts_waiting", "Finished parts not yet in the object store.", func(s Stats) int { return s.Pending }),
		telemetry.Counter("valtrack_mirror_uploads_total", "Parts uploaded and verified.", func(s Stats) uint64 { return s.Uploaded }),
		telemetry.Counter("valtrack_mirror_upload_bytes_total", "Bytes of these parts.", func(s Stats) int64 { return s.Sent }),
		telemetry.Counter("valtrack_mirror_deletes_total", "Objects deleted: replaced by merged parts, or older than --mirror-retention.", func(s Stats) uint64 { return s.Deleted }),
		telemetry.Counter("valtrack_mirror_failures_total", "Rounds that failed; each is retried.", func(s Stats) uint64 { return s.Failures }),
		telemetry.Gauge("valtrack_mirror_last_success_timestamp_seconds", "Unix time at which the object store was last known to have every finished part, 0 before the first.", func(s Stats) float64 {
			if s.LastRound.IsZero() {
				return 0
			}
			return float64(s.LastRound.UnixMilli()) / 1000
		}),
	)
}
