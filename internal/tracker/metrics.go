package tracker

import "github.com/chainbound/valtrack/internal/telemetry"

// NewMetrics registers the tracker's metrics, which are computed from its State.
func NewMetrics(reg *telemetry.Registry, state func() *State) {
	telemetry.Register(reg, state,
		telemetry.Gauge("valtrack_tracker_peers", "Peers that the tracker knows.", func(s *State) float64 { return float64(s.Len()) }),
		telemetry.Gauge("valtrack_tracker_lost_statistics", "Days of peer statistics dropped because they could not be decoded; 'valtrack rebuild' recomputes them.", func(s *State) float64 { return float64(s.LostDays()) }),
		telemetry.Gauge("valtrack_tracker_learned_timestamp_seconds", "Unix time at which client rates and the prior were last fitted, 0 before the first fit.", func(s *State) float64 { return float64(s.Learned.At) / 1000 }),
		telemetry.GaugeBy("valtrack_tracker_sentry_faults", "sentry", "Problems of each sentry found by comparison with the others, see 'valtrack report --sentries'.", func(s *State) map[string]int { return perSentry(s, func(f SentryFigures) int { return len(f.Faults) }) }),
		telemetry.GaugeBy("valtrack_tracker_sentry_nodes", "sentry", "Nodes that each sentry reached in the last day.", func(s *State) map[string]int { return perSentry(s, func(f SentryFigures) int { return f.Reached }) }),
		telemetry.GaugeBy("valtrack_tracker_sentry_missed", "sentry", "Nodes that each sentry tried and failed to reach in the last day, while others reached them.", func(s *State) map[string]int { return perSentry(s, func(f SentryFigures) int { return f.Missed }) }),
	)
}

func perSentry(s *State, of func(SentryFigures) int) map[string]int {
	out := map[string]int{}
	list, _ := s.Sentries()
	for _, f := range list {
		out[f.ID] = of(f)
	}
	return out
}
