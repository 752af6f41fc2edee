package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/sentry"
)

// crawlCollector turns the sentry's counters into metrics at each scrape, so that
// there is one set of counters.
type crawlCollector struct {
	stats func() sentry.Stats
}

// Describe sends nothing: the collector is unchecked, its metrics are what
// Collect makes.
func (crawlCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c crawlCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	m := metrics{out, "valtrack_sentry_"}
	m.count("records_total", "Node records seen, new or with a higher seq.", s.Records)
	m.count("records_our_digest_total", "Node records with the current fork digest or the next one.", s.OurDigest)
	m.count("dials_total", "Outbound visits whose dial has ended.", s.Dialled)
	m.count("connections_total", "Outbound visits that got a connection.", s.Connected)
	m.count("inbound_total", "Inbound visits begun.", s.Inbound)
	m.count("handshakes_total", "Visits that published metadata_received.", s.Handshaked)
	m.count("events_published_total", "Events handed over to the broker or the log files.", s.Published)
	m.count("events_lost_total", "Events that could not be handed over.", s.Lost)
	m.gauge("visits_live", "Visits under way.", float64(s.Live))
	m.gauge("peers", "Peers in the table.", float64(s.Table))
	m.gauge("peers_reachable", "Peers whose last visit was a handshake, a few windows ago at most.", float64(s.Reachable))
	m.count("watches_total", "Visits that stayed to watch.", s.Watches)
	m.count("subnet_changes_total", "Subscription changes that watches have logged.", s.SubnetChanges)
	m.gauge("watches_live", "Watches under way.", float64(s.Watching))
	m.gauge("peers_queued", "Peers that wait for their next dial.", float64(s.Queued))
	m.gauge("peers_due", "Peers whose next dial is due and waits for a free dialer.", float64(s.Due))
	m.gauge("exclude_entries", "Entries of the exclude file.", float64(s.Excluded))
	out <- prometheus.MustNewConstHistogram(
		prometheus.NewDesc(m.prefix+"handshake_seconds", "Time from the dial, or from an inbound connection, to MetaData.", nil, nil),
		s.Latency.Count, s.Latency.Sum.Seconds(), s.Latency.Buckets())
	metrics{out, "valtrack_"}.gauge("unknown_digest_share",
		"Part of the nodes that seem to be on this network whose fork digest the schedule does not have.", s.UnknownDigestShare)
	outcomes := prometheus.NewDesc(m.prefix+"visits_total", "Ended visits by outcome.", []string{"outcome"}, nil)
	for outcome, n := range s.Outcomes {
		out <- prometheus.MustNewConstMetric(outcomes, prometheus.CounterValue, float64(n), outcome)
	}
}

// storageCollector does the same for the consumer.
type storageCollector struct {
	stats  func() consumer.Stats
	tables func() []dataset.TableFigures
}

// Describe sends nothing, as crawlCollector's.
func (storageCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c storageCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	m := metrics{out, "valtrack_consumer_"}
	m.count("events_stored_total", "Events in committed segments.", s.Stored)
	m.count("events_rejected_total", "Events that were invalid.", s.Rejected)
	m.count("duplicates_total", "Messages of events that were there already.", s.Duplicates)
	m.count("segments_total", "Segments committed.", s.Segments)
	m.count("segment_failures_total", "Segments that could not be written.", s.Failures)
	m.count("parts_merged_total", "Parts merged into others.", s.Merged)
	m.count("parts_removed_total", "Parts removed for their age.", s.Removed)
	m.gauge("events_waiting", "Events that wait for their segment's commit.", float64(s.Pending))
	m.gauge("lag", "Messages in the stream behind the last one received.", float64(s.Behind))
	// A gauge, for all its name: what comes late is not missing any more.
	missing := prometheus.NewDesc("valtrack_events_missing_total", "Events neither stored nor rejected that were numbered before others of their sentry's boot.", []string{"sentry"}, nil)
	for sentry, n := range s.Missing {
		out <- prometheus.MustNewConstMetric(missing, prometheus.GaugeValue, float64(n), sentry)
	}
	covered := prometheus.NewDesc("valtrack_events_covered", "Events of a sentry that are stored, or were removed for their age.", []string{"sentry"}, nil)
	for sentry, n := range s.Covered {
		out <- prometheus.MustNewConstMetric(covered, prometheus.GaugeValue, float64(n), sentry)
	}
	rows := prometheus.NewDesc("valtrack_dataset_rows", "Rows of a table, as the footers of its parts say.", []string{"table"}, nil)
	parts := prometheus.NewDesc("valtrack_dataset_parts", "Parts of a table that can be read.", []string{"table"}, nil)
	unreadable := prometheus.NewDesc("valtrack_dataset_unreadable_parts", "Parts of a table whose footer cannot be read.", []string{"table"}, nil)
	duplicates := prometheus.NewDesc("valtrack_dataset_duplicate_keys", "Events that two parts of a table say they have; must be 0.", []string{"table"}, nil)
	for _, t := range c.tables() {
		out <- prometheus.MustNewConstMetric(rows, prometheus.GaugeValue, float64(t.Rows), t.Table)
		out <- prometheus.MustNewConstMetric(parts, prometheus.GaugeValue, float64(t.Parts), t.Table)
		out <- prometheus.MustNewConstMetric(unreadable, prometheus.GaugeValue, float64(t.Unreadable), t.Table)
		out <- prometheus.MustNewConstMetric(duplicates, prometheus.GaugeValue, float64(t.DuplicateKeys), t.Table)
	}
	if !s.LastCommit.IsZero() {
		m.gauge("last_commit_timestamp_seconds", "Unix time of the newest commit.", float64(s.LastCommit.UnixMilli())/1000)
	}
}

// metrics sends metrics without labels.
type metrics struct {
	out    chan<- prometheus.Metric
	prefix string
}

func (m metrics) count(name, help string, value uint64) {
	m.out <- prometheus.MustNewConstMetric(prometheus.NewDesc(m.prefix+name, help, nil, nil), prometheus.CounterValue, float64(value))
}

func (m metrics) gauge(name, help string, value float64) {
	m.out <- prometheus.MustNewConstMetric(prometheus.NewDesc(m.prefix+name, help, nil, nil), prometheus.GaugeValue, value)
}

// spoolCollector turns the counters of spool and publisher into metrics.
type spoolCollector struct {
	spool     func() bus.SpoolStats
	publisher func() bus.PublisherStats
}

// Describe sends nothing, as crawlCollector's.
func (spoolCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c spoolCollector) Collect(out chan<- prometheus.Metric) {
	s, p := c.spool(), c.publisher()
	m := metrics{out, "valtrack_spool_"}
	m.gauge("events", "Events that NATS has not acknowledged yet.", float64(s.Events))
	m.gauge("bytes", "Bytes of the spool.", float64(s.Bytes))
	m.gauge("held_bytes", "Bytes that wait in memory because the disk takes nothing.", float64(s.Held))
	m.count("dropped_total", "Events dropped: the spool was full, or neither disk nor memory took them.", s.Dropped)
	m.count("damaged_total", "Places of the spool that could not be read.", s.Damaged)
	age := 0.0
	if !p.Oldest.IsZero() {
		age = max(0, time.Since(p.Oldest).Seconds())
	}
	m.gauge("oldest_seconds", "Age of the oldest event that NATS has not acknowledged yet.", age)
	m = metrics{out, "valtrack_publisher_"}
	m.count("acknowledged_total", "Events that NATS has acknowledged.", p.Published)
	m.count("retried_total", "Events sent once more after a failure.", p.Retried)
	m.count("duplicates_total", "Events that NATS knew already.", p.Duplicates)
	m.count("oversized_total", "Events dropped because they are larger than NATS takes.", p.Dropped)
	m.count("rewinds_total", "Times that kept events were sent again, as NATS had restarted or had an older store.", p.Rewinds)
	held := 0.0
	if p.Held {
		held = 1
	}
	m.gauge("no_consumer", "1 while nothing is published because the stream has no consumer.", held)
}
