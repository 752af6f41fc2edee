package bus

import (
	"time"

	"github.com/chainbound/valtrack/internal/telemetry"
)

// NewPublisherMetrics registers the publisher's metrics, which are computed from its
// Stats.
func NewPublisherMetrics(reg *telemetry.Registry, stats func() PublisherStats) {
	telemetry.Register(reg, stats,
		telemetry.Counter("valtrack_publisher_acknowledged_total", "Events that NATS has acknowledged.", func(s PublisherStats) uint64 { return s.Published }),
		telemetry.Counter("valtrack_publisher_retried_total", "Events sent again after a failure.", func(s PublisherStats) uint64 { return s.Retried }),
		telemetry.Counter("valtrack_publisher_duplicates_total", "Events that NATS already had.", func(s PublisherStats) uint64 { return s.Duplicates }),
		telemetry.Counter("valtrack_publisher_oversized_total", "Events dropped because they are larger than NATS accepts.", func(s PublisherStats) uint64 { return s.Dropped }),
		telemetry.Counter("valtrack_publisher_rewinds_total", "Number of times that kept events were sent again because NATS had restarted or lost its newest messages.", func(s PublisherStats) uint64 { return s.Rewinds }),
		telemetry.Counter("valtrack_publisher_forged_total", "Events that NATS already had although they were never sent: someone else is publishing under this sentry's keys.", func(s PublisherStats) uint64 { return s.Forged }),
		telemetry.Gauge("valtrack_publisher_stuck", "1 while events are waiting and none has been acknowledged for 20 seconds; /readyz says why.", func(s PublisherStats) int {
			if s.Err != nil {
				return 1
			}
			return 0
		}),
		telemetry.Gauge("valtrack_publisher_no_consumer", "1 while publishing is paused because the stream has no consumer.", func(s PublisherStats) float64 {
			if s.Held {
				return 1
			}
			return 0
		}),
		telemetry.Gauge("valtrack_publisher_oldest_seconds", "Age of the oldest event that NATS has not acknowledged yet, 0 when there is none.", func(s PublisherStats) float64 {
			if s.Oldest.IsZero() {
				return 0
			}
			return max(0, time.Since(s.Oldest).Seconds())
		}),
	)
}
