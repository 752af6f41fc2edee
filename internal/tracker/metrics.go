package tracker

import "github.com/chainbound/valtrack/internal/telemetry"

// NewMetrics registers the tracker's metrics, which are computed from its State.
func NewMetrics(reg *telemetry.Registry, state func() *State) {
	telemetry.Register(reg, state,
		telemetry.Gauge("valtrack_tracker_peers", "Peers that the tracker knows.", func(s *State) float64 { return float64(s.Len()) }),
		telemetry.Gauge("valtrack_tracker_lost_statistics", "Days of peers' statistics that were dropped because they could not be decoded. 'valtrack rebuild' reads them again.", func(s *State) float64 { return float64(s.LostDays()) }),
		telemetry.Gauge("valtrack_tracker_learned_timestamp_seconds", "Unix time at which client versions and prior were last fitted, 0 before the first time.", func(s *State) float64 { return float64(s.Learned.At) / 1000 }),
	)
}
