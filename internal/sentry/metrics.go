package sentry

import (
	"math"

	"github.com/chainbound/valtrack/internal/telemetry"
)

// NewMetrics registers the sentry's metrics, which are computed from its Stats.
func NewMetrics(reg *telemetry.Registry, stats func() Stats) {
	telemetry.Register(reg, stats,
		telemetry.Counter("valtrack_sentry_records_total", "Node records seen, new or with a higher seq.", func(s Stats) uint64 { return s.Records }),
		telemetry.Counter("valtrack_sentry_records_our_digest_total", "Node records with the current fork digest or the next one.", func(s Stats) uint64 { return s.OurDigest }),
		telemetry.Counter("valtrack_sentry_dials_total", "Outbound visits whose dial has ended.", func(s Stats) uint64 { return s.Dialled }),
		telemetry.Counter("valtrack_sentry_connections_total", "Outbound visits that connected.", func(s Stats) uint64 { return s.Connected }),
		telemetry.Counter("valtrack_sentry_inbound_total", "Inbound visits started.", func(s Stats) uint64 { return s.Inbound }),
		telemetry.Counter("valtrack_sentry_inbound_guests_total", "Inbound connections from peers just visited, which may stay until their next visit.", func(s Stats) uint64 { return s.Guests }),
		telemetry.Counter("valtrack_sentry_inbound_refused_total", "Inbound connections refused.", func(s Stats) uint64 { return s.Refused }),
		telemetry.Counter("valtrack_sentry_shortages_total", "Visits that did not take place because this sentry was short of connections, file descriptors or memory; they are not recorded.", func(s Stats) uint64 { return s.Shortages }),
		telemetry.Counter("valtrack_sentry_handshakes_total", "Visits that published metadata_received.", func(s Stats) uint64 { return s.Handshaked }),
		telemetry.Counter("valtrack_sentry_events_published_total", "Events accepted by the spool or the log files.", func(s Stats) uint64 { return s.Published }),
		telemetry.Counter("valtrack_sentry_events_lost_total", "Events that the spool or the log files did not accept.", func(s Stats) uint64 { return s.Lost }),
		telemetry.Counter("valtrack_sentry_watches_total", "Visits that stayed to watch.", func(s Stats) uint64 { return s.Watches }),
		telemetry.Counter("valtrack_sentry_subnet_changes_total", "Subscription changes logged by watches.", func(s Stats) uint64 { return s.SubnetChanges }),
		telemetry.CounterBy("valtrack_sentry_visits_total", "outcome", "Visits that ended, by outcome.", func(s Stats) map[string]uint64 { return s.Outcomes }),
		telemetry.Gauge("valtrack_sentry_visits_live", "Ongoing visits.", func(s Stats) int { return s.Live }),
		telemetry.Gauge("valtrack_sentry_watches_live", "Ongoing watches.", func(s Stats) int { return s.Watching }),
		telemetry.Gauge("valtrack_sentry_peers", "Peers in the table.", func(s Stats) int { return s.Table }),
		telemetry.Gauge("valtrack_sentry_peers_reachable", "Peers whose last visit was a handshake, at most a few revisit intervals ago.", func(s Stats) int { return s.Reachable }),
		telemetry.Gauge("valtrack_sentry_peers_queued", "Peers waiting for their next dial.", func(s Stats) int { return s.Queued }),
		telemetry.Gauge("valtrack_sentry_peers_due", "Peers whose next dial is due and waiting for a free dialer.", func(s Stats) int { return s.Due }),
		telemetry.Gauge("valtrack_sentry_exclude_entries", "Entries of the exclude file.", func(s Stats) int { return s.Excluded }),
		telemetry.Histogram("valtrack_sentry_handshake_seconds", "Time from the dial, or from an inbound connection, to MetaData.", func(s Stats) (uint64, float64, map[float64]uint64) {
			return s.Latency.Count, s.Latency.Sum.Seconds(), s.Latency.Buckets()
		}),
		telemetry.Gauge("valtrack_sentry_unknown_digest_ratio", "Share, 0 to 1, of nodes apparently on this network whose fork digest is not in the schedule, when at least 20 nodes were last counted.", func(s Stats) float64 { return s.UnknownDigestShare }),
		telemetry.Gauge("valtrack_sentry_unknown_next_fork_ratio", "Share, 0 to 1, of nodes on this network that announce a next fork that is not in the schedule, when at least 20 nodes were last counted.", func(s Stats) float64 { return s.UnknownNextShare }),
		telemetry.Gauge("valtrack_sentry_clock_skew_seconds", "How far this machine's clock is ahead of the broker's, negative when behind; NaN when not measured recently.", func(s Stats) float64 {
			if s.ClockSkewMS == nil {
				return math.NaN()
			}
			return float64(*s.ClockSkewMS) / 1000
		}),
	)
}
