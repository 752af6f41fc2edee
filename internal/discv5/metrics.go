package discv5

import "github.com/chainbound/valtrack/internal/telemetry"

// NewMetrics registers the metrics of the search, which are computed from its Stats.
func NewMetrics(reg *telemetry.Registry, stats func() Stats) {
	telemetry.Register(reg, stats,
		telemetry.Gauge("valtrack_discovery_nodes", "Nodes known to discovery.", func(s Stats) int { return s.Nodes }),
		telemetry.Counter("valtrack_discovery_requests_total", "FINDNODE requests.", func(s Stats) int64 { return s.Requests }),
		telemetry.Counter("valtrack_discovery_records_total", "Valid records in the responses.", func(s Stats) int64 { return s.Records }),
		telemetry.CounterBy("valtrack_discovery_refused_records_total", "reason", "Records in the responses that were refused: not a record (encoding), a bad signature or an unknown identity scheme (signature), not at a requested distance (distance), an address that the node cannot know (address).", func(s Stats) map[string]int64 { return s.Refused }),
	)
}
