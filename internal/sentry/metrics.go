package sentry

import "github.com/chainbound/valtrack/internal/telemetry"

// NewMetrics registers the sentry's metrics, which are computed from its Stats.
func NewMetrics(reg *telemetry.Registry, stats func() Stats) {
	count := func(name, help string, value func(Stats) uint64) telemetry.Metric[Stats] {
		return telemetry.Counter("valtrack_sentry_"+name, help, func(s Stats) float64 { return float64(value(s)) })
	}
	gauge := func(name, help string, value func(Stats) int) telemetry.Metric[Stats] {
		return telemetry.Gauge("valtrack_sentry_"+name, help, func(s Stats) float64 { return float64(value(s)) })
	}
	telemetry.Register(reg, stats,
		count("records_total", "Node records seen, new or with a higher seq.", func(s Stats) uint64 { return s.Records }),
		count("records_our_digest_total", "Node records with the current fork digest or the next one.", func(s Stats) uint64 { return s.OurDigest }),
		count("dials_total", "Outbound visits whose dial has ended.", func(s Stats) uint64 { return s.Dialled }),
		count("connections_total", "Outbound visits that connected.", func(s Stats) uint64 { return s.Connected }),
		count("inbound_total", "Inbound visits started.", func(s Stats) uint64 { return s.Inbound }),
		count("inbound_refused_total", "Inbound connections refused.", func(s Stats) uint64 { return s.Refused }),
		count("handshakes_total", "Visits that published metadata_received.", func(s Stats) uint64 { return s.Handshaked }),
		count("events_published_total", "Events accepted by the spool or the log files.", func(s Stats) uint64 { return s.Published }),
		count("events_lost_total", "Events that the spool or the log files did not accept.", func(s Stats) uint64 { return s.Lost }),
		count("watches_total", "Visits that stayed to watch.", func(s Stats) uint64 { return s.Watches }),
		count("subnet_changes_total", "Subscription changes logged by watches.", func(s Stats) uint64 { return s.SubnetChanges }),
		telemetry.CounterBy("valtrack_sentry_visits_total", "outcome", "Visits that ended, by outcome.", func(s Stats) map[string]uint64 { return s.Outcomes }),
		gauge("visits_live", "Ongoing visits.", func(s Stats) int { return s.Live }),
		gauge("watches_live", "Ongoing watches.", func(s Stats) int { return s.Watching }),
		gauge("peers", "Peers in the table.", func(s Stats) int { return s.Table }),
		gauge("peers_reachable", "Peers whose last visit was a handshake, at most a few windows ago.", func(s Stats) int { return s.Reachable }),
		gauge("peers_queued", "Peers waiting for their next dial.", func(s Stats) int { return s.Queued }),
		gauge("peers_due", "Peers whose next dial is due and waits for a free dialer.", func(s Stats) int { return s.Due }),
		gauge("exclude_entries", "Entries of the exclude file.", func(s Stats) int { return s.Excluded }),
		telemetry.Histogram("valtrack_sentry_handshake_seconds", "Time from the dial, or from an inbound connection, to MetaData.", func(s Stats) (uint64, float64, map[float64]uint64) {
			return s.Latency.Count, s.Latency.Sum.Seconds(), s.Latency.Buckets()
		}),
		telemetry.Gauge("valtrack_sentry_unknown_digest_ratio", "Share of the nodes that seem to be on this network whose fork digest is not in the schedule, 0 to 1.", func(s Stats) float64 { return s.UnknownDigestShare }),
	)
}
