package clickhouse

import (
	"fmt"
	"iter"
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

// hoursOf is the condition of an hour with rows of a condition in a table.
func (s *schema) hoursOf(table, condition string) string {
	return fmt.Sprintf("intDiv(timestamp, %d) IN (SELECT DISTINCT intDiv(timestamp, %d) FROM %s WHERE %s)", hourMS, hourMS, s.table(table), condition)
}

// seriesOf are those of a table, with the condition of their lines.
func seriesOf(u unit) iter.Seq2[series, string] {
	return func(yield func(series, string) bool) {
		for _, one := range allSeries() {
			if one.table == u.table.name && !yield(one, fmt.Sprintf("source = %s AND name = %s", quote(u.source), quote(one.name))) {
				return
			}
		}
	}
}

// insertLines is the start of a statement that inserts what follows as lines of the series.
func (s *schema) insertLines() string {
	return "INSERT INTO " + s.table(hourlyTable) + " (source, timestamp, name, label, value, version) "
}

// mark are the statements that give the lines of the hours in which rows are about to be removed a
// version, without another change: refresh finds these hours by it when the rows are gone.
func (s *schema) mark(u unit, condition string, version uint64) (statements []string) {
	for _, lines := range seriesOf(u) {
		statements = append(statements, fmt.Sprintf("%sSELECT source, timestamp, name, label, argMax(value, version), %d FROM %s WHERE %s AND %s GROUP BY source, timestamp, name, label",
			s.insertLines(), version, s.table(hourlyTable), lines, s.hoursOf(u.table.name, condition)))
	}
	return statements
}

// refresh are the statements that compute the series of a table again, for the hours that a part
// has rows of and, unless stale is 0, for those marked with this version or a later one: where
// such a line has no rows any more, it is 0. What they insert replaces what had a lower version:
// it does not matter how often they run.
func (s *schema) refresh(u unit, version, stale uint64) (statements []string) {
	kept := ""
	if s.TTL > 0 { // of older hours some rows have been dropped
		kept = fmt.Sprintf(" AND timestamp > %d", time.Now().Add(-s.TTL).Truncate(time.Hour).UnixMilli()+hourMS)
	}
	for one, lines := range seriesOf(u) {
		hours := s.hoursOf(u.table.name, u.within())
		if stale > 0 {
			hours = fmt.Sprintf("(%s OR %s)", hours, s.hoursOf(hourlyTable, fmt.Sprintf("%s AND version >= %d", lines, stale)))
		}
		where := fmt.Sprintf("source = %s AND %s", quote(u.source), hours) + kept
		if one.where != "" {
			where += " AND " + one.where
		}
		statements = append(statements, fmt.Sprintf("%sSELECT %s, %s AS at, %s, %s AS tag, %s, %d FROM %s WHERE %s GROUP BY at, tag",
			s.insertLines(), quote(u.source), one.at, quote(one.name), one.label, one.value, version, s.table(u.table.name), where))
		if stale > 0 {
			statements = append(statements, fmt.Sprintf("%sSELECT source, timestamp, name, label, 0, %d FROM %s WHERE %s%s GROUP BY source, timestamp, name, label HAVING max(version) >= %d AND max(version) < %d",
				s.insertLines(), version, s.table(hourlyTable), lines, kept, stale, version))
		}
	}
	return statements
}
