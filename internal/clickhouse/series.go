package clickhouse

import (
	"fmt"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

const hourMS = int64(time.Hour / time.Millisecond)

// series is one of the dashboard's: a number per hour and label, from one table.
type series struct {
	table, name string
	label       string // an expression, which the series has one number for each value of
	at          string // an expression for the time, Unix milliseconds
	value       string // an aggregate
	where       string
}

// allSeries are those of GET /api/v1/timeseries that are sums of rows. Counts are of the hour of an
// event's own time, without those whose clock was known to be off; totals of the hour of an
// estimate, by client.
func allSeries() []series {
	const hour, trusted = "intDiv(timestamp, 3600000) * 3600000", "clock_error_ms IS NULL"
	const weight = "least(ifNull(weight, 1), 1)" // rows of earlier versions have none
	estimates := func(name, value, where string) series {
		return series{dataset.PeerEstimates, name, "client", "timestamp", value, where}
	}
	return []series{
		{dataset.Discovery, tracker.CountRecords, "''", hour, "count()", trusted},
		{dataset.Metadata, tracker.CountHandshakes, "''", hour, "count()", trusted},
		{dataset.Visit, tracker.CountWatches, "''", hour, "count()", trusted + " AND watch_from IS NOT NULL AND part = 0"},
		{dataset.Visit, "visits", "outcome", hour, "count()", trusted + " AND more = 0"},
		estimates("nodes", "count()", ""),
		estimates("with_validators", "sum(p_validator * "+weight+")", ""),
		estimates("validators", "sum(validators_mean * "+weight+")", ""),
		estimates("stake_eth", "sum(validators_mean * "+weight+" * mean_balance)", "mean_balance IS NOT NULL"),
	}
}

// refresh are the statements that compute the series of a table again, for the hours that a part
// has rows of. What they insert replaces what had a lower version: it does not matter how
// often they run.
func (s *schema) refresh(u unit, version uint64) (statements []string) {
	for _, one := range allSeries() {
		if one.table != u.table.name {
			continue
		}
		where := fmt.Sprintf("source = %s AND intDiv(timestamp, %d) IN (SELECT DISTINCT intDiv(timestamp, %d) FROM %s WHERE %s)", quote(u.source), hourMS, hourMS, s.table(u.table.name), u.within())
		if one.where != "" {
			where += " AND " + one.where
		}
		if s.TTL > 0 { // of older hours some rows have been dropped
			where += fmt.Sprintf(" AND timestamp > %d", time.Now().Add(-s.TTL).Truncate(time.Hour).UnixMilli()+hourMS)
		}
		statements = append(statements, fmt.Sprintf("INSERT INTO %s (source, timestamp, name, label, value, version) SELECT %s, %s AS at, %s, %s AS tag, %s, %d FROM %s WHERE %s GROUP BY at, tag",
			s.table(hourlyTable), quote(u.source), one.at, quote(one.name), one.label, one.value, version, s.table(u.table.name), where))
	}
	return statements
}
